"""redis.asyncio with hiredis and msgpack."""

from __future__ import annotations

from typing import Any

import msgpack
import redis.asyncio

from ..bodies import packed
from . import client
from .client import GROUP, STREAM, Make

__all__ = ["Client"]


class Client(client.AsyncClient):
    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__()

    async def connect(self) -> None:
        self._redis = redis.asyncio.Redis.from_url(self._url)
        await self._redis.ping()

    async def publish_batches(self, make: Make, events: int, batch: int) -> None:
        if batch == 1:
            for number in range(events):
                await self.publish_body(make(number))
            return
        for begin in range(0, events, batch):
            pipeline = self._redis.pipeline(transaction=False)
            for number in range(begin, begin + batch):
                pipeline.xadd(STREAM, {"s": packed(make(number))})
            await pipeline.execute()

    async def publish_body(self, body: Any) -> None:
        await self._redis.xadd(STREAM, {"s": packed(body)})

    async def make_group(self) -> None:
        await self._redis.xgroup_create(STREAM, GROUP, "0")

    async def consume_batches(self, events: int, count: int) -> None:
        ids: list[bytes] = []
        while events or ids:
            pipeline = self._redis.pipeline(transaction=False)
            if ids:
                pipeline.xack(STREAM, GROUP, *ids)
                pipeline.xdel(STREAM, *ids)
            pipeline.xreadgroup(GROUP, "c", {STREAM: ">"}, count=count)
            reply = (await pipeline.execute())[-1]
            ids = []
            for _, entries in reply:
                for id, fields in entries:
                    assert msgpack.unpackb(fields[b"s"])
                    ids.append(id)
            events -= len(ids)
