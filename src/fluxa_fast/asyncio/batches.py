"""What `EventConsumer.batches` iterates over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ..consumer import LeftEarly
from ..flows.steps import Deliver, Flow
from ..protocol.generic import BodyT
from ..protocol.interface import Event
from ..transport.aio import Driver, Link
from .turn import Turn

__all__ = ["Batches"]


class Batches(AsyncIterator[Sequence[Event[BodyT]]]):
    """Batch after batch. A loop that is left before the end is settled by the consumer's next call, or by `aclose`.

    (No asynchronous generator: one that is left is closed by a task of the event loop, at some time.)

    Args:
        before: an iteration of the same consumer that may have been left.
    """

    def __init__(self, flow: Flow[None], link: Link, turn: Turn, before: Batches | None) -> None:
        self._flow = flow
        self._link = link
        self._turn = turn
        self._before = before
        self._driver = Driver(link)
        self._over = False

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> Sequence[Event[BodyT]]:
        if self._over:
            raise StopAsyncIteration
        with self._turn:
            await self._settle_before()
            return await self._next()

    async def _next(self) -> Sequence[Event[BodyT]]:
        try:
            step = self._flow.send(None)
            while type(step) is not Deliver:
                try:
                    outcome = await self._driver.perform(step)
                except BaseException as error:
                    self._driver.interrupted_by(error)
                    step = self._flow.throw(error)
                else:
                    step = self._flow.send(outcome)
        except BaseException as end:
            self._over = True
            if not self._link.in_order:
                await self._link.drop()
            if isinstance(end, StopIteration):
                await self._driver.let_go()
                raise StopAsyncIteration from None
            raise
        events = step.events
        await self._driver.delivering(events)
        return events

    async def aclose(self) -> None:
        """End the iteration: acknowledge the batches before the one in hand, which stays pending."""
        with self._turn:
            await self.settle()

    async def settle(self) -> None:
        """As `aclose`, for whoever has the turn."""
        await self._settle_before()
        if self._over:
            return
        self._over = True
        try:
            await self._driver.drive(self._flow, thrown=LeftEarly())
        except LeftEarly:
            return

    async def _settle_before(self) -> None:
        if self._before is not None:
            before, self._before = self._before, None
            await before.settle()
