"""Runs the flows of one consumer session: one after the other if there is one partition, else each in a task."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ...flows.consume.in_hand import InHand
from ...flows.consume.session import ConsumerSession, LoopLeftError
from ...flows.steps import Deliver, Flow, Refresh, Start
from ...protocol.interface import INCOMPLETE
from ..base import AsyncLink, AsyncPool
from ..node_links import NodeLinksBase
from .concurrency import ConcurrentBatches
from .driver import MANY, Driver, ended
from .handling import Handling, begin

__all__ = ["NodeLinks", "SessionDriver"]

Handler = Callable[[Sequence[Any]], object]
Deliverer = Callable[[Deliver], Awaitable[object]]
"""Hands over what a flow delivers; awaited, it gives the outcome."""


class NodeLinks(NodeLinksBase[AsyncPool, AsyncLink]):
    """The links of one consumer to the nodes of its partitions, kept from session to session."""

    async def run(self, flow: Flow[int], stream: str) -> int:
        """Return the result of a flow about one partition."""
        if (kept := self._only) is not None:
            return await Driver(kept).drive(flow)
        link = self.pool.new_link(stream)
        try:
            return await Driver(link).drive(flow)
        finally:
            await link.release()

    async def release(self) -> None:
        """Return the connections to redis-py's pool."""
        while self._links:
            await self._links.popitem()[1].release()


class SessionDriver:
    """Runs the flows of one session.

    Args:
        session: of the consumer.
        links: of the consumer.
    """

    def __init__(self, session: ConsumerSession, links: NodeLinks) -> None:
        self._session = session
        self._links = links
        self._deliver: Deliverer | None = None  # to a handler; None: to a loop over batches
        self._handling: Handling | None = None
        # One partition: flows run one after the other.
        self._waiting: deque[tuple[tuple[str, str] | None, Flow[None]]] = deque()
        self._flow: Flow[None] | None = None
        self._driver: Driver | None = None
        # Several partitions: each flow runs in a task.
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: asyncio.Task[None] | None = None  # runs all of these, for a loop over batches
        self._one_at_a_time = asyncio.Lock()  # of all batches that tasks offer to the loop
        self._offered: asyncio.Queue[Deliver] = asyncio.Queue()
        self._answered: asyncio.Future[object] | None = None  # of the batch that the loop has

        self.start(None, session.begin())

    def start(self, node: tuple[str, str] | None, flow: Flow[None]) -> None:
        """Run a flow; `node` is the one that it talks to, if any."""
        if self._session.lone:
            self._waiting.append((node, flow))
        else:
            self._tasks.add(asyncio.ensure_future(self._run_flow(node, flow)))

    def _driver_for(self, node: tuple[str, str] | None) -> Driver:
        return _FlowDriver(None if node is None else self._links.to(node), self)

    async def refresh(self, seen: int) -> None:
        """Ask the cluster which node has which slots."""
        await self._links.pool.refresh(seen)

    def interrupt(self, error: BaseException) -> None:
        """The task was cancelled: end the session."""
        self._session.interrupt(error)

    def deliver(self, step: Deliver) -> Awaitable[object]:
        """Hand over what a flow delivers."""
        return self._to_loop(step) if self._deliver is None else self._deliver(step)

    # ---- a handler ----

    async def run(self, handler: Handler, concurrency: int = 1) -> None:
        """Run the session, and call the handler with every batch.

        Raises:
            BaseException: what has ended the session, unless it ended by itself.
        """
        self._handling = Handling(self._session, self._links.pool, handler)
        beats = None if self._session.in_hand is None else asyncio.ensure_future(self._beat(self._session.in_hand))
        try:
            if self._session.lone and concurrency > 1:
                batches = ConcurrentBatches(self._session, self._links.pool, self._handling, concurrency)
                self._deliver = batches.deliver
                await batches.run(self._one_after_the_other())
            elif self._session.lone:
                self._deliver = self._handling.call
                await self._one_after_the_other()
            else:
                self._deliver = _limited(self._session, self._handling, concurrency)
                await self._all_tasks()
        finally:
            self._session.end()
            if beats is not None:
                beats.cancel()
                await ended([beats])
        self._session.raise_error()

    async def _beat(self, in_hand: InHand) -> None:
        """Keep what the handler has from other consumers."""
        while True:
            await asyncio.sleep(in_hand.interval)
            for flow, key in in_hand.beats():
                try:
                    await self._links.pool.run(flow, key)
                except Exception as error:  # the next beat may be in time
                    in_hand.failed(error)

    def cut_short_after(self, seconds: float) -> None:
        """Cancel the calls of the handler that are under way in so many seconds."""
        if self._handling is not None:
            asyncio.get_running_loop().call_later(seconds, self._handling.cut_short)

    async def _one_after_the_other(self, error: BaseException | None = None) -> Deliver | None:
        """Run the flows up to the next batch for a loop, which is returned. `error`: what the current flow is told."""
        while True:
            if self._driver is None or self._flow is None:
                if not self._waiting:
                    return None
                node, self._flow = self._waiting.popleft()
                self._driver = self._driver_for(node)
            resume: Callable[[Any], Any] = self._flow.send if error is None else self._flow.throw
            step, _ = await self._driver.advance(self._flow, resume, error)
            if step is not None:
                delivered: Deliver = step
                return delivered
            self._driver = self._flow = error = None

    async def _all_tasks(self) -> None:
        """Wait until all tasks have ended. One that fails ends the others, which settle what was handled."""
        cancelled: BaseException | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as error:
                cancelled = error
                self._session.fail(error)
                for task in self._tasks:
                    task.cancel()
                await ended(self._tasks)
            self._tasks = {task for task in self._tasks if not task.done()}
        if cancelled is not None:
            raise cancelled

    async def _run_flow(self, node: tuple[str, str] | None, flow: Flow[None]) -> None:
        try:
            await self._driver_for(node).drive(flow)
        except BaseException as error:
            self._session.fail(error)

    # ---- a loop over batches ----

    async def next_batch(self) -> Sequence[Any] | None:
        """Return the next batch; the one before it was handled. None: the session has ended by itself.

        Raises:
            BaseException: what else has ended the session.
        """
        try:
            step = await (self._one_after_the_other() if self._session.lone else self._next_offered())
        except BaseException:
            self._session.end()
            raise
        if step is None:
            self._session.end()
            self._session.raise_error()
            return None
        return step.events

    async def leave(self) -> None:
        """The loop was left: acknowledge the batches before the one in hand, which stays pending."""
        if self._session.superseded:
            return
        self._session.leave_loop()
        try:
            if self._session.lone:
                if self._driver is not None:
                    await self._one_after_the_other(LoopLeftError())
            elif self._work is not None:
                self._answer(LoopLeftError())
                await self._work
        finally:
            self._session.end()
        self._session.raise_error()

    async def _to_loop(self, step: Deliver) -> object:
        """Hand a batch to the loop, and wait until it asks for the next one."""
        if self._session.lone:
            return INCOMPLETE if await begin(self._session, self._links.pool, step) else Deliver.TOO_LATE
        async with self._one_at_a_time:
            if not self._session.may_deliver(step.events):
                return Deliver.TOO_LATE
            if not await begin(self._session, self._links.pool, step):
                return Deliver.TOO_LATE
            self._answered = asyncio.get_running_loop().create_future()
            self._offered.put_nowait(step)
            return await self._answered

    async def _next_offered(self) -> Deliver | None:
        if self._work is None:
            self._work = asyncio.ensure_future(self._all_tasks())
        self._answer(None)
        while not self._work.done():
            offer = asyncio.ensure_future(self._offered.get())
            try:
                await asyncio.wait((offer, self._work), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                offer.cancel()
                self._work.cancel()
                await ended([self._work])
                raise
            if not offer.done():
                offer.cancel()
            elif self._session.may_deliver(offer.result().events):
                return offer.result()
            else:
                self._answer(Deliver.TOO_LATE)
        await self._work
        return None

    def _answer(self, outcome: object) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            if isinstance(outcome, BaseException):
                answered.set_exception(outcome)
            else:
                answered.set_result(outcome)


class _FlowDriver(Driver):
    """Does what only the flows of a session ask for."""

    def __init__(self, link: AsyncLink | None, session: SessionDriver) -> None:
        super().__init__(link)
        self._session: SessionDriver = weakref.proxy(session)  # a cycle would keep the consumer's connections

    def interrupted_by(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._session.interrupt(error)
        super().interrupted_by(error)

    def _do(self, step: Any) -> Awaitable[Any]:
        kind = type(step)
        if kind is Deliver:
            return self._session.deliver(step) if len(step.events) <= MANY else self._deliver_many(step)
        if kind is Start:
            return self._start(step)
        if kind is Refresh:
            return self._session.refresh(step.seen)
        return super()._do(step)

    async def _start(self, step: Start) -> None:
        self._session.start(step.node, step.flow)

    async def _deliver_many(self, step: Deliver) -> object:
        await self.delivering(step.events)
        return await self._session.deliver(step)


def _limited(session: ConsumerSession, handling: Handling, limit: int) -> Deliverer:
    """Hand over so many batches at a time, whatever nodes they come from."""
    slots = asyncio.Semaphore(limit)

    async def deliver(step: Deliver) -> object:
        async with slots:
            if not session.may_deliver(step.events):
                return Deliver.TOO_LATE
            return await handling.call(step)

    return deliver
