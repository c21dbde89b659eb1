"""What redis-py and redis.asyncio put into a pipeline, and make of its replies: only waiting for them differs."""

from __future__ import annotations

from typing import Any

import msgpack

from ..bodies import packed
from .client import GROUP, STREAM, Make

__all__ = ["add_events", "add_read", "decoded_ids"]


def add_events(pipeline: Any, make: Make, begin: int, batch: int) -> Any:
    """An XADD for each event."""
    for number in range(begin, begin + batch):
        pipeline.xadd(STREAM, {"s": packed(make(number))})
    return pipeline


def add_read(pipeline: Any, ids: list[bytes], count: int) -> Any:
    """Acknowledge and delete what was read before, and read on."""
    if ids:
        pipeline.xack(STREAM, GROUP, *ids)
        pipeline.xdel(STREAM, *ids)
    pipeline.xreadgroup(GROUP, "c", {STREAM: ">"}, count=count)
    return pipeline


def decoded_ids(replies: Any) -> list[bytes]:
    """The IDs of what was read; the bodies are decoded."""
    ids = []
    for _, entries in replies[-1]:
        for id, fields in entries:
            assert msgpack.unpackb(fields[b"s"])
            ids.append(id)
    return ids
