"""Several calls of a handler at the same time, each with a batch of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from ...flows.consume.session import ConsumerSession
from ...flows.steps import Deliver
from ..base import AsyncPool
from .acknowledging import Acknowledging
from .driver import ended
from .handling import Handling

__all__ = ["ConcurrentBatches"]


class _Batch:
    """A batch that a task hands over.

    Attributes:
        events: of the batch.
        pending: false for events that were read at most once.
        begun: whether the handler was called.
        done: whether the events were handled and acknowledged.
    """

    def __init__(self, step: Deliver) -> None:
        self.step = step
        self.events: list[Any] = list(step.events)
        self.pending: bool = step.pending
        self.reporter = step.reporter
        self.begun = False
        self.done = False


class ConcurrentBatches:
    """Hands over up to `limit` batches of one partition at once; each is acknowledged when it was handled.

    While pending entries are replayed, one batch is handed over at a time: the server lists them from the beginning, so
    those that the handler has would come again.

    Args:
        session: whose batches they are.
        pool: that the stream is on.
        handling: calls the handler.
        limit: how many calls of the handler there are at the same time, at most.
    """

    def __init__(
        self,
        session: ConsumerSession,
        pool: AsyncPool,
        handling: Handling,
        limit: int,
    ) -> None:
        session.read_ahead = False  # the next batch is read while all calls are busy, and no other
        self._session = session
        self._partition = session.state.partitions[0]
        self._handling = handling
        self._slots = asyncio.Semaphore(limit)
        self._running: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[Any] | None = None
        member = self._partition.member
        self._acknowledging = {pending: Acknowledging(pool, member, pending=pending) for pending in (True, False)}

    async def run(self, reading: Coroutine[Any, Any, Any]) -> None:
        """Run what reads, until it and all calls of the handler have ended. A failed call ends the others."""
        self._reading = asyncio.ensure_future(reading)
        cancelled: BaseException | None = None
        try:
            while busy := [task for task in (self._reading, *self._running) if not task.done()]:
                if self._session.error is not None:
                    self._cancel()
                await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as error:
            cancelled = error
            self._session.interrupt(error)
            self._cancel()
            await ended([self._reading, *self._running])
        await asyncio.sleep(0)  # for the callbacks of the tasks
        if cancelled is not None:
            raise cancelled
        self._reading.result()

    def _cancel(self) -> None:
        for task in (self._reading, *self._running):
            if task is not None and not task.done():
                task.cancel()

    async def deliver(self, step: Deliver) -> object:
        """Hand a batch to a task of its own, as soon as there is room for it."""
        batch = _Batch(step)
        try:
            await self._slots.acquire()
        except asyncio.CancelledError:
            if self._session.error is None:
                raise
            return Deliver.TOO_LATE
        if not self._session.may_deliver(batch.events):
            self._slots.release()
            return Deliver.TOO_LATE
        task = asyncio.ensure_future(self._hand_over(batch))
        self._running.add(task)
        task.add_done_callback(partial(self._over, batch))
        return Deliver.TAKEN

    async def _hand_over(self, batch: _Batch) -> None:
        if not self._session.may_deliver(batch.events):
            return
        batch.begun = True
        try:
            outcome = await self._handling.call(batch.step)
            if outcome is Deliver.CUT_SHORT:
                self._partition.gave_up(batch.events)
            if outcome is not None:
                return
            mine = [event for event in batch.events if not event.taken_over] if self._session.robbed else batch.events
            await self._acknowledging[batch.pending].all(mine)
            batch.done = True
            if batch.reporter is not None:
                batch.reporter.handled()
        except BaseException as error:
            if batch.reporter is not None:
                batch.reporter.failed(error)
            task = asyncio.current_task()
            if not (isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()):
                self._session.fail(error)

    def _over(self, batch: _Batch, task: asyncio.Task[None]) -> None:
        """A call has ended; or its task was cancelled before it began."""
        self._running.discard(task)
        self._slots.release()
        self._partition.delivered(len(batch.events))
        if batch.step.hand is not None:
            batch.step.hand.put_down()
        if not batch.begun:
            self._partition.requeue(batch.events, pending=batch.pending)
        elif not batch.done:
            self._partition.replay()
