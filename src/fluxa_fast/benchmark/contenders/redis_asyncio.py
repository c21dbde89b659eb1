"""redis.asyncio with hiredis and msgpack."""

from __future__ import annotations

from typing import Any

import redis.asyncio

from ..bodies import packed
from . import client
from .client import GROUP, STREAM, Make
from .redis_pipeline import add_events, add_read, decoded_ids

__all__ = ["Client"]


class Client(client.AsyncClient):
    async def connect(self) -> None:
        # A pool that lets tasks wait: with the default one, more than a hundred at a time are an error.
        pool = redis.asyncio.BlockingConnectionPool.from_url(self.url, max_connections=100, timeout=None)
        self._redis = redis.asyncio.Redis(connection_pool=pool)
        await self._redis.ping()

    async def publish_batches(self, make: Make, events: int, batch: int) -> None:
        for begin in range(0, events, batch):
            await add_events(self._redis.pipeline(transaction=False), make, begin, batch).execute()

    async def publish_one(self, body: Any) -> None:
        await self._redis.xadd(STREAM, {"s": packed(body)})

    async def make_group(self) -> None:
        await self._redis.xgroup_create(STREAM, GROUP, "0")

    async def consume_batches(self, events: int, count: int) -> None:
        ids: list[bytes] = []
        while events or ids:
            ids = decoded_ids(await add_read(self._redis.pipeline(transaction=False), ids, count).execute())
            events -= len(ids)
