"""fluxa_fast.asyncio, on the event loop of asyncio or of uvloop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...asyncio import Registry
from ...protocol.interface import Event
from . import client
from .client import STREAM, Make

__all__ = ["Client"]


class Client(client.AsyncClient):
    """`variants`: ``eager`` flushers; ``uvloop``; a ``packed`` stream."""

    def __init__(self, url: str, *variants: str) -> None:
        self._eager = "eager" in variants
        self._packed = "packed" in variants
        factory = None
        if "uvloop" in variants:
            import uvloop

            factory = uvloop.new_event_loop
        super().__init__(url, factory)

    async def connect(self) -> None:
        registry = Registry()
        registry.register_redis(self.url)
        registry.register_redis_stream(STREAM, packed=self._packed)
        self._broker = registry.validate().new_context().get_event_broker()
        self._flusher = self._broker.new_flusher(eager=self._eager)

    async def publish_batches(self, make: Make, events: int, batch: int) -> None:
        flusher = self._flusher
        publish = flusher.publish
        for begin in range(0, events, batch):
            if batch > 1000 and not self._eager:  # as its documentation says: many are no plain loop
                await flusher.publish_many(STREAM, map(make, range(begin, begin + batch)))
            else:
                for number in range(begin, begin + batch):
                    publish(STREAM, make(number))
            await flusher.flush()

    async def publish_one(self, body: Any) -> None:
        await self._broker.publish(STREAM, body)

    async def make_group(self) -> None:
        """The consumer makes it."""

    async def consume_batches(self, events: int, count: int) -> None:
        async with self._broker.consumer_single(STREAM) as consumer:
            left = events

            def handle(batch: Sequence[Event]) -> None:
                nonlocal left
                for event in batch:
                    assert event.body
                left -= len(batch)
                if left <= 0:
                    consumer.stop()

            await consumer.run(handle, count)
