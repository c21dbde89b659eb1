"""``fluxa-fast stats``"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ..registry import Registry
from ..statistics import RedisStreamStatistics
from ..transport.addresses import shown
from .client import client_of

_COLUMNS = ("length", "lag", "pending", "oldest pending", "last delivered", "consumers with pending")


def show_statistics(console: Console, url: str, streams: tuple[str, ...]) -> None:
    """Print a table of streams.

    Raises:
        RegistryError: for a URL that can't be one.
        redis.RedisError: what the server or the network says.
    """
    registry = Registry()
    registry.register_redis(url)
    for stream in dict.fromkeys(streams or _all_streams(url)):
        registry.register_redis_stream(stream)
    with registry.validate() as engine:
        statistics = engine.new_context().get_event_broker().get_streams_statistics()
    if not statistics:
        console.print(f"no streams on {shown(url)}")
        return
    table = Table("stream", *_COLUMNS)
    for one in statistics:
        table.add_row(one.stream, *_cells(one))
    console.print(table)


def _all_streams(url: str) -> list[str]:
    """``SCAN ... TYPE stream``"""
    with client_of(url) as client:
        return sorted(key.decode("utf-8", "surrogateescape") for key in client.scan_iter(count=1000, _type="stream"))


def _cells(one: RedisStreamStatistics) -> list[str]:
    if one.group is None:
        return [f"{one.len:,}", "no group", "", "", "", ""]
    lag = "unknown" if one.group.lag is None else f"{one.group.lag:,}"
    oldest = f"{one.oldest_event_seconds} s" if one.group.pending else ""
    ago = (
        "" if one.group.last_delivered_id == "0-0" else f"{one.group.last_delivered_duration.total_seconds():.0f} s ago"
    )
    consumers = ", ".join(f"{consumer.name} ({consumer.pending:,})" for consumer in one.group.consumers)
    return [f"{one.len:,}", lag, f"{one.group.pending:,}", oldest, ago, consumers]
