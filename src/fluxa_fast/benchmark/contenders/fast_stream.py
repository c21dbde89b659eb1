"""FastStream on Redis Streams. It publishes one by one, in its own format, and does not delete what it acknowledged."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio
from faststream.redis import RedisBroker, StreamSub

from ..bodies import plain
from . import client
from .client import GROUP, STREAM, Make

__all__ = ["Client"]


class Client(client.AsyncClient):
    async def connect(self) -> None:
        self._broker = RedisBroker(self.url, logger=None, max_connections=2000)  # tasks don't wait for one
        await self._broker.connect()

    async def publish_batches(self, make: Make, events: int, batch: int) -> None:
        for number in range(events):
            await self.publish_one(make(number))

    async def publish_one(self, body: Any) -> None:
        await self._broker.publish(body if type(body) is dict else plain(body), stream=STREAM)

    async def make_group(self) -> None:
        """From the beginning: its own consumer would begin at the end."""
        async with redis.asyncio.Redis.from_url(self.url) as own:
            await own.xgroup_create(STREAM, GROUP, "0")

    async def consume_batches(self, events: int, count: int) -> None:
        broker = RedisBroker(self.url, logger=None)
        left = events
        done = asyncio.Event()

        async def handle(bodies: list[Any]) -> None:
            nonlocal left
            left -= len(bodies)
            if left <= 0:
                done.set()

        subscription = StreamSub(STREAM, group=GROUP, consumer="c", batch=True, max_records=count, last_id=">")
        broker.subscriber(stream=subscription)(handle)
        async with broker:
            await broker.start()
            await done.wait()
