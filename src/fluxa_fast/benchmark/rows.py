"""`Row`: a measured figure, as tables, charts and JSON have it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CEILING", "PACKED_CEILING", "REDIS_PY", "Row", "Sample", "median_row", "with_ratios"]

CEILING = "ceiling"
PACKED_CEILING = "ceiling, packed"
REDIS_PY = "redis-py"
_COMPARED_WITH = {
    "ratio_to_ceiling": CEILING,
    "ratio_to_waiting_ceiling": "ceiling, send then wait",
    "ratio_to_script_ceiling": "ceiling, script",
    "ratio_to_packed_ceiling": PACKED_CEILING,
    "ratio_to_redis_py": REDIS_PY,
    "ratio_to_redis_asyncio": "redis.asyncio",
    "ratio_to_blocking": "fluxa_fast",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A measurement of a contender. Times are seconds, `stored` is the bytes that the events take in the server."""

    events: int
    seconds: float
    client_cpu: float
    server_cpu: float
    worst_lag: float | None = None
    stored: int | None = None


@dataclass(slots=True)
class Row:
    """The median of a contender's samples.

    Attributes:
        case: ``publish``, ``consume``, ``latency``, ``concurrent``, ``threads``, ``scaling``, ``memory`` or ``import``.
        client: the contender.
        batch: how many events are published or read together.
        body: the shape of the event.
        events_per_second: None if the case does not measure it.
        client_cpu_us: CPU microseconds of the client's process per event, building the event included.
        server_cpu_us: CPU microseconds of the server per event, by ``INFO cpu``.
        ratio_to_ceiling: events per second, divided by the events per second of the ceiling (encoded before).
        ratio_to_waiting_ceiling: the same of the ceiling with one batch at a time.
        ratio_to_script_ceiling: the same of the ceiling whose script trims, in place of XDEL.
        ratio_to_packed_ceiling: the same of the ceiling with packed entries; only of contenders that pack.
        ratio_to_redis_py: events per second, divided by the events per second of redis-py.
        ratio_to_redis_asyncio: events per second, divided by the events per second of redis.asyncio.
        ratio_to_blocking: events per second, divided by the events per second of fluxa_fast with blocking calls.
        stored_bytes: the server's memory per published event, by ``MEMORY USAGE``.
        worst_lag_ms: the most milliseconds by which the contender's event loop was late.
        details: further figures of the case.
    """

    case: str
    client: str
    batch: int
    body: str
    events_per_second: float | None = None
    client_cpu_us: float | None = None
    server_cpu_us: float | None = None
    ratio_to_ceiling: float | None = None
    ratio_to_waiting_ceiling: float | None = None
    ratio_to_script_ceiling: float | None = None
    ratio_to_packed_ceiling: float | None = None
    ratio_to_redis_py: float | None = None
    ratio_to_redis_asyncio: float | None = None
    ratio_to_blocking: float | None = None
    stored_bytes: float | None = None
    worst_lag_ms: float | None = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def packed(self) -> bool:
        """Whether the contender packs events."""
        return self.client.endswith("packed")

    def as_json(self, versions: dict[str, str]) -> dict[str, Any]:
        names = [name for name in self.__slots__ if name != "details"]
        return {**{name: getattr(self, name) for name in names}, **self.details, "versions": versions}


def median_row(case: str, client: str, batch: int, body: str, samples: Sequence[Sample]) -> Row:
    median = statistics.median
    stored = [one.stored / one.events for one in samples if one.stored is not None]
    lags = [one.worst_lag * 1000 for one in samples if one.worst_lag is not None]
    return Row(
        case,
        client,
        batch,
        body,
        median(one.events / one.seconds for one in samples),
        median(one.client_cpu / one.events for one in samples) * 1e6,
        median(one.server_cpu / one.events for one in samples) * 1e6,
        stored_bytes=median(stored) if stored else None,
        worst_lag_ms=median(lags) if lags else None,
    )


def with_ratios(rows: Iterable[Row]) -> list[Row]:
    """Return the rows with their ratios to the ceiling and to others of the same case, batch and body."""
    rows = list(rows)
    speeds = {(row.case, row.batch, row.body, row.client): row.events_per_second for row in rows}
    for row in rows:
        for ratio, client in _COMPARED_WITH.items():
            if client == PACKED_CEILING and not row.packed:
                continue
            other = speeds.get((row.case, row.batch, row.body, client))
            if row.events_per_second and other:
                setattr(row, ratio, row.events_per_second / other)
    return rows
