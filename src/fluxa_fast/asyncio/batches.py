"""What `EventConsumer.batches` iterates over."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import FluxaError
from ..protocol.generic import BodyT
from ..shared.session_guard import LOOP, Hold
from ..transport.aio.session_driver import SessionDriver
from .event import Event

if TYPE_CHECKING:
    from .consumer import EventConsumer

__all__ = ["Batches", "Loop"]


class Batches(AsyncIterator[Sequence[Event[BodyT]]]):
    """Batch after batch. A loop that is left before the end is settled by the consumer's next call, or by `aclose`.

    (No asynchronous generator: one that is left is closed by a task of the event loop, at some time.)
    """

    def __init__(self, consumer: EventConsumer[BodyT], loop: Loop) -> None:
        self._consumer = consumer
        self._loop = loop
        self._hold: Hold | None = None  # from the first step on; it lapses where the loop was left
        self._at_work = False

    def __aiter__(self) -> Batches[BodyT]:
        return self

    async def __anext__(self) -> Sequence[Event[BodyT]]:
        if self._loop.over:
            raise StopAsyncIteration
        self._begin_work()
        try:
            if self._hold is None:
                self._hold = self._begin()
                await self._consumer._settle()
                self._consumer._loop = self._loop
            events: Sequence[Event[BodyT]] = await self._loop.next()
            return events
        except StopAsyncIteration:
            self._end(clean=True)
            raise
        except BaseException:
            if self._hold is not None:  # else the consumer has refused it, which changes nothing
                self._loop.over = True
                self._end(clean=False)
            raise
        finally:
            self._at_work = False

    def _begin(self) -> Hold:
        hold = self._consumer._guard.enter(LOOP, asyncio.current_task())
        self._consumer._batches = weakref.ref(self)
        return hold

    def __del__(self) -> None:
        self._give_back(clean=False)

    async def aclose(self) -> None:
        """End the iteration: acknowledge the batches before the one in hand, which stays pending."""
        if self._loop.over:
            return
        self._begin_work()
        try:
            if self._hold is not None:
                await self._loop.settle()
        finally:
            self._loop.over = True
            self._end(clean=False)
            self._at_work = False

    def _begin_work(self) -> None:
        if self._at_work:
            raise FluxaError("this iterator over batches() is in use by another task")
        self._at_work = True

    def _end(self, *, clean: bool) -> None:
        if self._hold is not None and self._consumer._loop is self._loop:
            self._consumer._loop = None
        self._give_back(clean=clean)

    def _give_back(self, *, clean: bool) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.end(clean=clean)


class Loop:
    """The work of a loop over batches. The consumer keeps it, because its next call settles a loop that was left.

    Args:
        consumer: whose batches they are.
        count: events in one batch at most.
        idle: seconds without an event after which the iteration ends.

    Attributes:
        over: whether nothing is to be settled any more.
    """

    def __init__(self, consumer: EventConsumer[Any], count: int, idle: float) -> None:
        self.over: bool = False
        self._count = count
        self._idle = idle
        # Not the consumer, which keeps the loop.
        self._begin = weakref.WeakMethod(consumer._session)
        self._links = consumer._links
        self._driver: SessionDriver | None = None

    async def next(self) -> Sequence[Any]:
        """Return the next batch; the one before it was handled.

        Raises:
            StopAsyncIteration: if there is none.
        """
        try:
            if self._driver is None:
                begin = self._begin()
                assert begin is not None
                self._driver = SessionDriver(await begin(self._count, self._idle), self._links)
            events = await self._driver.next_batch()
        except BaseException:
            self.over = True
            raise
        if events is None:
            self.over = True
            raise StopAsyncIteration
        return events

    async def settle(self) -> None:
        """Acknowledge the batches before the one in hand, which stays pending."""
        if not self.over and self._driver is not None:
            self.over = True
            await self._driver.leave()
        self.over = True
