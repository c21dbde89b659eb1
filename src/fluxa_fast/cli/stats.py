"""``fluxa-fast stats``"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from redis.exceptions import NoPermissionError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import FluxaError
from ..groups import GROUP
from ..partitions import partition_streams, partitions_with
from ..redis_adapter.addresses import redacted
from ..registry import Registry
from ..statistics import RedisStreamGroupStatistics, RedisStreamStatistics, added_up
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
        _add_stream(table, stream, statistics[0])
        return
    _add_stream(table, f"{stream}, {partitions} partitions", added_up(stream, statistics))
    for one in statistics:
        _add_stream(table, f"  {one.stream}", one, style="dim")


def _add_stream(table: Table, name: str, one: RedisStreamStatistics, style: str | None = None) -> None:
    """Add a row for a stream or a partition; if it has other groups than the default one, a row for each of these."""
    if one.error is not None:
        table.add_row(*map(Text, (name, "error", "", "", "", "", "")), style=style)
        return
    length = f"{one.len:,}"
    if one.events_per_entry > 1 and one.len:
        length += f" (about {one.len * one.events_per_entry:,.0f} events)"
    if not one.groups:
        table.add_row(*map(Text, (name, length, "no group", "", "", "", "")), style=style)
        return
    if [group.group for group in one.groups] == [GROUP]:
        table.add_row(Text(name), Text(length), *_cells(one.groups[0]), style=style)
        return
    table.add_row(*map(Text, (name, length, "", "", "", "", "")), style=style)
    for group in one.groups:
        behind = ", furthest behind" if group is one.furthest_behind and one.len else ""
        table.add_row(Text(f"{name}, group {group.group}{behind}"), Text(""), *_cells(group), style=style)


def _cells(group: RedisStreamGroupStatistics) -> Iterator[Text]:
    lag = "unknown" if group.lag is None else f"{group.lag:,}"
    if group.missed:
        lag += f", {group.missed:,} missed"
    oldest = f"{group.lower_duration.total_seconds():.0f} s" if group.pending else ""
    ago = "" if group.last_delivered_id == "0-0" else f"{group.last_delivered_duration.total_seconds():.0f} s ago"
    consumers = ", ".join(f"{consumer.name} ({consumer.pending:,})" for consumer in group.consumers)
    return map(Text, (lag, f"{group.pending:,}", oldest, ago, consumers))
