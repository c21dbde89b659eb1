"""What `EventConsumer.batches` iterates over."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..consumer import LeftEarly
from ..errors import FluxaError
from ..flows.steps import Deliver, Flow
from ..protocol.generic import BodyT
from ..protocol.interface import Event
from ..shared.session_guard import LOOP, Session
from ..transport.aio.driver import Driver

if TYPE_CHECKING:
    from .consumer import EventConsumer

__all__ = ["AnyLoop", "Batches", "Loop"]


class AnyLoop(Protocol):
    """The work of a loop over batches. The consumer keeps it, because a loop that was left is settled by its next call.

    Attributes:
        over: nothing is to be settled any more.
    """

    over: bool

    async def next(self) -> Sequence[Any]:
        """The next batch; the one before it was handled.

        Raises:
            StopAsyncIteration: if there is none.
        """

    async def settle(self) -> None:
        """Acknowledge the batches before the one in hand, which stays pending."""


class Batches(AsyncIterator[Sequence[Event[BodyT]]]):
    """Batch after batch. A loop that is left before the end is settled by the consumer's next call, or by `aclose`.

    (No asynchronous generator: one that is left is closed by a task of the event loop, at some time.)
    """

    def __init__(self, consumer: EventConsumer[BodyT], loop: AnyLoop) -> None:
        self._consumer = consumer
        self._loop = loop
        self._session: Session | None = None  # from the first step on; it lapses where the loop was left
        self._at_work = False

    def __aiter__(self) -> Batches[BodyT]:
        return self

    async def __anext__(self) -> Sequence[Event[BodyT]]:
        if self._loop.over:
            raise StopAsyncIteration
        self._begin_work()
        try:
            if self._session is None:
                self._session = self._begin()
                await self._consumer._settle()
                self._consumer._loop = self._loop
            events: Sequence[Event[BodyT]] = await self._loop.next()
            return events
        except StopAsyncIteration:
            self._end(clean=True)
            raise
        except BaseException:
            if self._session is not None:  # else the consumer has refused it, which changes nothing
                self._loop.over = True
                self._end(clean=False)
            raise
        finally:
            self._at_work = False

    def _begin(self) -> Session:
        session = self._consumer._sessions.begin(LOOP, asyncio.current_task())
        self._consumer._batches = weakref.ref(self)
        return session

    def __del__(self) -> None:
        self._session_over(clean=False)

    async def aclose(self) -> None:
        """End the iteration: acknowledge the batches before the one in hand, which stays pending."""
        if self._loop.over:
            return
        self._begin_work()
        try:
            if self._session is not None:
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
        if self._session is not None and self._consumer._loop is self._loop:
            self._consumer._loop = None
        self._session_over(clean=clean)

    def _session_over(self, *, clean: bool) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.end(clean=clean)


class Loop:
    """The work of a loop over the batches of one stream."""

    def __init__(self, consumer: EventConsumer[Any], flow: Flow[None]) -> None:
        self.over: bool = False
        self._flow = flow
        self._link = consumer._link
        self._driver = Driver(self._link)

    async def next(self) -> Sequence[Any]:
        """The next batch."""
        try:
            step: Any = self._flow.send(None)
            while type(step) is not Deliver:
                try:
                    outcome = await self._driver.perform(step)
                except BaseException as error:
                    self._driver.interrupted_by(error)
                    step = self._flow.throw(error)
                else:
                    step = self._flow.send(outcome)
        except BaseException as end:
            self.over = True
            if not self._link.in_order:
                await self._link.drop()
            if isinstance(end, StopIteration):
                await self._driver.let_go()
                raise StopAsyncIteration from None
            raise
        events: Sequence[Any] = step.events
        await self._driver.delivering(events)
        return events

    async def settle(self) -> None:
        """Acknowledge the batches before the one in hand."""
        if self.over:
            return
        self.over = True
        try:
            await self._driver.drive(self._flow, thrown=LeftEarly())
        except LeftEarly:
            return
