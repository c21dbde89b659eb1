"""What every contender does. Times are taken around these calls, so that set-up is done in `prepare...`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

__all__ = ["GROUP", "STREAM", "AsyncClient", "Client", "Make"]

STREAM = "bench"
GROUP = "consumer_group"

Make = Callable[[int], Any]
"""Builds the body of the event with that number."""


class Client:
    """One contender in its process."""

    def prepare_publish(self, make: Make, batch: int) -> None:
        """Before `publish`."""

    def publish(self, make: Make, events: int, batch: int) -> None:
        """Publish that many events, `batch` in one go."""
        raise NotImplementedError

    def publish_one(self, body: Any) -> None:
        """Publish one event, and wait for the server."""
        raise NotImplementedError

    def latencies(self, make: Make, events: int) -> list[float]:
        """Publish one event after the other, and return how long each took, in seconds."""
        times = []
        for number in range(events):
            begin = time.perf_counter()
            self.publish_one(make(number))
            times.append(time.perf_counter() - begin)
        return times

    def prepare_consume(self, events: int, count: int) -> None:
        """Before `consume`: the stream holds that many events, and has no group."""

    def consume(self, events: int, count: int) -> None:
        """Read, decode, acknowledge and delete that many events, `count` in one go."""
        raise NotImplementedError


class AsyncClient(Client):
    """Runs the coroutines of a contender on asyncio."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._runner.run(self.connect())

    async def connect(self) -> None:
        raise NotImplementedError

    async def publish_batches(self, make: Make, events: int, batch: int) -> None:
        raise NotImplementedError

    async def publish_body(self, body: Any) -> None:
        raise NotImplementedError

    async def make_group(self) -> None:
        raise NotImplementedError

    async def consume_batches(self, events: int, count: int) -> None:
        raise NotImplementedError

    def publish(self, make: Make, events: int, batch: int) -> None:
        self._runner.run(self.publish_batches(make, events, batch))

    def latencies(self, make: Make, events: int) -> list[float]:
        return self._runner.run(self._latencies(make, events))

    async def _latencies(self, make: Make, events: int) -> list[float]:
        times = []
        for number in range(events):
            begin = time.perf_counter()
            await self.publish_body(make(number))
            times.append(time.perf_counter() - begin)
        return times

    def prepare_consume(self, events: int, count: int) -> None:
        self._runner.run(self.make_group())

    def consume(self, events: int, count: int) -> None:
        self._runner.run(self.consume_batches(events, count))
