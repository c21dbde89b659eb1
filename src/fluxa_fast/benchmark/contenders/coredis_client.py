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
    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        super().__init__()

    async def connect(self) -> None:
        self._redis: Any = coredis.Redis(host=self._address.hostname, port=self._address.port)

    async def publish_batches(self, make: Make, events: int, batch: int) -> None:
        async with self._redis:
            for begin in range(0, events, batch):
                if batch == 1:
                    await self._redis.xadd(STREAM, {"s": packed(make(begin))})
                    continue
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for number in range(begin, begin + batch):
                        pipeline.xadd(STREAM, {"s": packed(make(number))})

    async def publish_body(self, body: Any) -> None:
        await self._redis.xadd(STREAM, {"s": packed(body)})

    async def _latencies(self, make: Make, events: int) -> list[float]:
        async with self._redis:
            return await super()._latencies(make, events)

    async def make_group(self) -> None:
        async with self._redis:
            await self._redis.xgroup_create(STREAM, GROUP, identifier="0")

    async def consume_batches(self, events: int, count: int) -> None:
        ids: list[bytes] = []
        async with self._redis:
            while events or ids:
                async with self._redis.pipeline(transaction=False) as pipeline:
                    if ids:
                        pipeline.xack(STREAM, GROUP, ids)
                        pipeline.xdel(STREAM, ids)
                    pipeline.xreadgroup(GROUP, "c", streams={STREAM: ">"}, count=count)
                reply = pipeline.results[-1]
                ids = []
                for entries in (reply or {}).values():
                    for entry in entries:
                        assert msgpack.unpackb(entry.field_values[b"s"])
                        ids.append(entry.identifier)
                events -= len(ids)
