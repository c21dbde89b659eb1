"""redis-py with hiredis and msgpack: pipelines without transactions, and the acknowledgement beside the next read."""

from __future__ import annotations

from typing import Any

import msgpack
import redis

from ..bodies import packed
from . import client
from .client import GROUP, STREAM, Make

__all__ = ["Client"]


class Client(client.Client):
    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)

    def publish(self, make: Make, events: int, batch: int) -> None:
        if batch == 1:
            for number in range(events):
                self.publish_one(make(number))
            return
        for begin in range(0, events, batch):
            pipeline = self._redis.pipeline(transaction=False)
            for number in range(begin, begin + batch):
                pipeline.xadd(STREAM, {"s": packed(make(number))})
            pipeline.execute()

    def publish_one(self, body: Any) -> None:
        self._redis.xadd(STREAM, {"s": packed(body)})

    def prepare_consume(self, events: int, count: int) -> None:
        self._redis.xgroup_create(STREAM, GROUP, "0")

    def consume(self, events: int, count: int) -> None:
        ids: list[bytes] = []
        while events or ids:
            pipeline = self._redis.pipeline(transaction=False)
            if ids:
                pipeline.xack(STREAM, GROUP, *ids)
                pipeline.xdel(STREAM, *ids)
            pipeline.xreadgroup(GROUP, "c", {STREAM: ">"}, count=count)
            reply = pipeline.execute()[-1]
            ids = []
            for _, entries in reply:
                for id, fields in entries:
                    assert msgpack.unpackb(fields[b"s"])
                    ids.append(id)
            events -= len(ids)
