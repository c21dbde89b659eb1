"""coredis with msgpack."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import coredis
import msgpack

from ..bodies import packed
from . import client
from .client import GROUP, STREAM, Make

__all__ = ["Client"]


class Client(client.AsyncClient):
    async def connect(self) -> None:
        address = urlsplit(self.url)
        self._redis: Any = coredis.Redis(host=address.hostname, port=address.port)

    def session(self) -> Any:
        return self._redis

    async def publish_batches(self, make: Make, events: int, batch: int) -> None:
        for begin in range(0, events, batch):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for number in range(begin, begin + batch):
                    pipeline.xadd(STREAM, {"s": packed(make(number))})

    async def publish_one(self, body: Any) -> None:
        await self._redis.xadd(STREAM, {"s": packed(body)})

    async def make_group(self) -> None:
        await self._redis.xgroup_create(STREAM, GROUP, identifier="0")

    async def consume_batches(self, events: int, count: int) -> None:
        ids: list[bytes] = []
        while events or ids:
            async with self._redis.pipeline(transaction=False) as pipeline:
                if ids:
                    pipeline.xack(STREAM, GROUP, ids)
                    pipeline.xdel(STREAM, ids)
                pipeline.xreadgroup(GROUP, "c", streams={STREAM: ">"}, count=count)
            ids = []
            for entries in (pipeline.results[-1] or {}).values():
                for entry in entries:
                    assert msgpack.unpackb(entry.field_values[b"s"])
                    ids.append(entry.identifier)
            events -= len(ids)
