"""redis-py with hiredis and msgpack: pipelines without transactions, and the acknowledgement beside the next read."""

from __future__ import annotations

from typing import Any

import redis

from ..bodies import packed
from . import client
from .client import GROUP, STREAM, Make
from .redis_pipeline import add_events, add_read, decoded_ids

__all__ = ["Client"]


class Client(client.Client):
    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)

    def publish_batches(self, make: Make, events: int, batch: int) -> None:
        for begin in range(0, events, batch):
            add_events(self._redis.pipeline(transaction=False), make, begin, batch).execute()

    def publish_one(self, body: Any) -> None:
        self._redis.xadd(STREAM, {"s": packed(body)})

    def prepare_consume(self, events: int, count: int) -> None:
        self._redis.xgroup_create(STREAM, GROUP, "0")

    def consume(self, events: int, count: int) -> None:
        ids: list[bytes] = []
        while events or ids:
            ids = decoded_ids(add_read(self._redis.pipeline(transaction=False), ids, count).execute())
            events -= len(ids)
