"""The base class of all contenders. Its calls are timed, except those of `prepare...`, which set up."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

__all__ = ["GROUP", "STREAM", "AsyncClient", "Client", "Make"]

T = TypeVar("T")

STREAM = "bench"
GROUP = "consumer_group"

_TICK = 0.001  # seconds

Make = Callable[[int], Any]
"""Makes the body of the event with a number."""


class Client(ABC):
    """A contender in its process."""

    def prepare_publish(self, make: Make, batch: int) -> None:  # noqa: B027 (most need nothing)
        """Set up `publish`."""

    def publish(self, make: Make, events: int, batch: int) -> None:
        """Publish that many events in batches of `batch`; 1: one by one."""
        if batch > 1:
            self.publish_batches(make, events, batch)
            return
        for number in range(events):
            self.publish_one(make(number))

    @abstractmethod
    def publish_batches(self, make: Make, events: int, batch: int) -> None:
        """Publish that many events in batches of `batch`."""

    @abstractmethod
    def publish_one(self, body: Any) -> None:
        """Publish one event, and wait for the server."""

    def latencies(self, make: Make, events: int) -> list[float]:
        """Publish one event after the other, and return how long each took, in seconds."""
        times = []
        for number in range(events):
            begin = time.perf_counter()
            self.publish_one(make(number))
            times.append(time.perf_counter() - begin)
        return times

    def prepare_consume(self, events: int, count: int) -> None:  # noqa: B027
        """Set up `consume`: the stream holds that many events, and has no group."""

    @abstractmethod
    def consume(self, events: int, count: int) -> None:
        """Read, decode, acknowledge and delete that many events in batches of `count`."""


class AsyncClient(ABC):
    """A `Client` on asyncio: its coroutines run within its session.

    Attributes:
        worst_lag: seconds by which the event loop was late at most, during the last call.
    """

    def __init__(self, url: str, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        self.url = url
        self.worst_lag: float = 0.0
        self._runner = asyncio.Runner(loop_factory=loop_factory)
        self._runner.run(self.connect())

    @abstractmethod
    async def connect(self) -> None: ...

    def session(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext()

    def prepare_publish(self, make: Make, batch: int) -> None:  # noqa: B027
        """Do nothing."""

    @abstractmethod
    async def publish_batches(self, make: Make, events: int, batch: int) -> None: ...

    @abstractmethod
    async def publish_one(self, body: Any) -> None: ...

    @abstractmethod
    async def make_group(self) -> None: ...

    @abstractmethod
    async def consume_batches(self, events: int, count: int) -> None: ...

    def publish(self, make: Make, events: int, batch: int) -> None:
        self._run(self.publish_batches(make, events, batch) if batch > 1 else self._latencies(make, events))

    def publish_concurrently(self, make: Make, events: int, tasks: int) -> None:
        """Publish that many events one by one, each in a task of its own, `tasks` at a time."""
        self._run(self._publish_concurrently(make, events, tasks))

    async def _publish_concurrently(self, make: Make, events: int, tasks: int) -> None:
        for begin in range(0, events, tasks):
            await asyncio.gather(*(self.publish_one(make(number)) for number in range(begin, begin + tasks)))

    def latencies(self, make: Make, events: int) -> list[float]:
        return self._run(self._latencies(make, events))

    async def _latencies(self, make: Make, events: int) -> list[float]:
        times = []
        for number in range(events):
            begin = time.perf_counter()
            await self.publish_one(make(number))
            times.append(time.perf_counter() - begin)
        return times

    def prepare_consume(self, events: int, count: int) -> None:
        self._run(self.make_group())

    def consume(self, events: int, count: int) -> None:
        self._run(self.consume_batches(events, count))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        async def in_session() -> T:
            async with self.session():
                ticker = asyncio.create_task(self._tick())
                try:
                    return await work
                finally:
                    ticker.cancel()

        self.worst_lag = 0.0
        return self._runner.run(in_session())

    async def _tick(self) -> None:
        """Measure every millisecond by how much the event loop is late."""
        while True:
            due = time.perf_counter() + _TICK
            await asyncio.sleep(_TICK)
            self.worst_lag = max(self.worst_lag, time.perf_counter() - due)
