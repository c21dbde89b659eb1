"""``fluxa-fast stats``"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from redis.exceptions import NoPermissionError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import FluxaError
from ..partitions import partition_streams, partitions_with
from ..redis_adapter.addresses import redacted
from ..registry import Registry
from ..statistics import RedisStreamStatistics, added_up
from .client import client_of

_COLUMNS = ("length", "lag", "pending", "oldest pending", "last delivered", "consumers with pending")

Form = tuple[str, int | None]  # the name of a stream, and its number of partitions, None if it has none


def show_statistics(console: Console, url: str, streams: tuple[str, ...]) -> None:
    """Print a table of streams, with a row for each stream and each partition.

    Raises:
        RegistryError: if the URL is wrong.
        redis.RedisError: if the server or the network fails.
        FluxaError: after the table, if the server could not tell the state of some streams.
    """
    names, unreadable = _streams_on(url, named=streams)
    forms = _named(streams, names) if streams else _forms(names)
    for stream in [] if streams else unreadable:
        console.print(Text(f"left out, because its name is not UTF-8: {stream!r}"))
    if not forms:
        console.print(Text(f"no streams on {redacted(url)}"))
        return
    statistics = _statistics(url, forms)
    table = Table("stream", *_COLUMNS)
    for form in forms:
        _add_rows(table, form, [statistics[key] for key in _keys(form)])
    console.print(table)
    if errors := [str(one.error) for one in statistics.values() if one.error is not None]:
        raise FluxaError("\n".join(errors))


def _streams_on(url: str, named: Sequence[str]) -> tuple[list[str], list[bytes]]:
    """Return the streams (``SCAN ... TYPE stream`` on all nodes), and apart those whose names are not UTF-8."""
    names, unreadable = [], []
    with client_of(url) as client:
        try:
            for key in client.scan_iter(count=1000, _type="stream"):
                try:
                    names.append(key.decode())
                except UnicodeDecodeError:
                    unreadable.append(key)
        except NoPermissionError:
            if not named:
                raise
    return names, unreadable


def _forms(names: Iterable[str]) -> list[Form]:
    """Return the streams with these Redis keys. The keys of partitions become one stream."""
    return sorted({partitions_with(name) or (name, None) for name in names}, key=lambda form: (form[0], form[1] or 0))


def _named(streams: Iterable[str], names: Sequence[str]) -> list[Form]:
    """Return the named streams, with their partitions on the server. A stream that is not there has none."""
    found = _forms(names)
    return list(
        dict.fromkeys(
            form for stream in streams for form in [one for one in found if one[0] == stream] or [(stream, None)]
        )
    )


def _keys(form: Form) -> tuple[str, ...]:
    stream, partitions = form
    return (stream,) if partitions is None else partition_streams(stream, partitions)


def _statistics(url: str, forms: Iterable[Form]) -> dict[str, RedisStreamStatistics]:
    """Return the statistics of each Redis key."""
    registry = Registry()
    registry.register_redis(url)
    for key in dict.fromkeys(key for form in forms for key in _keys(form)):
        registry.register_redis_stream(key)
    with registry.validate() as engine:
        return {one.stream: one for one in engine.new_context().get_event_broker().get_streams_statistics()}


def _add_rows(table: Table, form: Form, statistics: Sequence[RedisStreamStatistics]) -> None:
    stream, partitions = form
    if partitions is None:
        table.add_row(Text(stream), *_cells(statistics[0]))
        return
    table.add_row(Text(f"{stream}, {partitions} partitions"), *_cells(added_up(stream, statistics)))
    for one in statistics:
        table.add_row(Text(f"  {one.stream}"), *_cells(one), style="dim")


def _cells(one: RedisStreamStatistics) -> Iterator[Text]:
    if one.error is not None:
        return map(Text, ("error", "", "", "", "", ""))
    if one.group is None:
        return map(Text, (f"{one.len:,}", "no group", "", "", "", ""))
    lag = "unknown" if one.group.lag is None else f"{one.group.lag:,}"
    oldest = f"{one.oldest_event_seconds} s" if one.group.pending else ""
    ago = (
        "" if one.group.last_delivered_id == "0-0" else f"{one.group.last_delivered_duration.total_seconds():.0f} s ago"
    )
    consumers = ", ".join(f"{consumer.name} ({consumer.pending:,})" for consumer in one.group.consumers)
    return map(Text, (f"{one.len:,}", lag, f"{one.group.pending:,}", oldest, ago, consumers))
