"""The consumer of a stream with partitions: the calls of `EventConsumer`, over all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..consumer import LeftEarly
from ..flows.consume.claim import auto_claim
from ..flows.consume.group_member import GroupMember
from ..flows.consume.leases import Leases
from ..flows.consume.session import Crew
from ..flows.partition_count import PartitionCheck, check_partitions_recovered
from ..flows.steps import Deliver, Flow, Refresh, Start
from ..partitioned import PartitionedBase
from ..protocol.generic import BodyT
from ..shared.handlers import call_awaiting, check_handler
from ..shared.validation import Duration, positive_int, seconds
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.driver import Driver, ended
from ..transport.aio.link import Link
from ..transport.aio.pool import Pool
from .acknowledging import Acknowledging
from .batches import AnyLoop, Batches
from .consumer import PAGE, EventConsumer, Handler

__all__ = ["PartitionedConsumer"]


class PartitionedConsumer(PartitionedBase, EventConsumer[BodyT]):
    """A consumer of all partitions of a stream, or of those that it owns. Made by the broker.

    It has the calls of `EventConsumer`, and their promises, for each partition. A batch may have events of several
    partitions; those of one partition are in their order. It takes one call at a time, too. There is one connection to
    each node that has partitions, kept from call to call.
    """

    def __init__(
        self,
        pool: Pool | ClusterPool,
        stream: str,
        name: str,
        members: Sequence[GroupMember],
        check: PartitionCheck | None,
        leases: Leases | None = None,
    ) -> None:
        super().__init__(pool, stream, name, members, check, leases, lambda member: Acknowledging(pool, member).one)
        self._loop: AnyLoop | None = None
        self._batches: Callable[[], Batches[BodyT] | None] = lambda: None
        for member in members:
            member.page = PAGE[pool.implementation.name]

    # ---- reading ----

    async def consume(self, count: int, block: Duration | None, handler: Handler[BodyT]) -> int:
        check_handler(handler, awaited=True)
        waiting = 0.0 if block is None else seconds("block", block, infinite=True)
        positive_int(count)
        with self._sessions.begin("consume", asyncio.current_task()):
            await self._settle()
            await self._check_partitions()
            await _Work(self, _limited(self._crew, handler)).drive(self._crew.begin(count, waiting, once=True))
            return self._crew.handled

    async def run(self, handler: Handler[BodyT], count: int = 1000, *, concurrency: int = 1) -> None:
        """As `EventConsumer.run`; at the same time, the handler has one batch from each node at most."""
        check_handler(handler, awaited=True)
        positive_int(count)
        positive_int(concurrency, "concurrency")
        with self._sessions.begin("run", asyncio.current_task()):
            await self._settle()
            await self._check_partitions()
            await _Work(self, _limited(self._crew, handler, concurrency)).drive(
                self._crew.begin(count, math.inf, once=False)
            )

    def batches(self, count: int = 1000, block: Duration | None = math.inf) -> Batches[BodyT]:
        idle = 0.0 if block is None else seconds("block", block, infinite=True)
        return self._iterated(_PartitionedLoop(self, positive_int(count), idle))

    async def auto_claim(self, count: int, min_idle: Duration, handler: Handler[BodyT]) -> int:
        check_handler(handler, awaited=True)
        idle = seconds("min_idle", min_idle)
        positive_int(count)
        with self._sessions.begin("auto_claim", asyncio.current_task()):
            await self._settle()
            await self._check_partitions()
            handled = 0
            for one in self._crew.partitions:
                if one.is_mine:
                    handled += await self._ask(auto_claim(one.member, count, idle), one.member.stream, handler)
            return handled

    # ---- leaving ----

    async def _clean_up(self) -> int:
        try:
            return sum([await self._ask(flow, key) for key, flow in self._crew.farewells()])
        finally:
            while self._links:
                await self._links.popitem()[1].release()

    # ---- driving ----

    async def _check_partitions(self) -> None:
        """As that of `fluxa_fast.partitioned`."""
        if self._check is not None and self._check.due:
            await self._pool.run(check_partitions_recovered(self._check, self._member), self._check.key)

    async def _ask(self, flow: Flow[Any], key: str, handler: Callable[[Sequence[Any]], object] | None = None) -> Any:
        link = self._pool.new_link(key)
        try:
            return await Driver(link, handler).drive(flow)
        finally:
            await link.release()


Hand = Callable[[Sequence[Any]], Awaitable[bool]]
"""Hands events to the handler, unless it is too late for that: then the outcome is false."""


def _limited(crew: Crew, handler: Callable[[Sequence[Any]], object], limit: int = 1) -> Hand:
    """Hands over so many batches at a time, whatever lanes they come from."""
    slots = asyncio.Semaphore(limit)

    async def deliver(events: Sequence[Any]) -> bool:
        async with slots:
            if not crew.may_deliver(events):
                return False  # it came too late
            try:
                await call_awaiting(handler, events)
            except _TooLateError:
                return False
            return True

    return deliver


class _TooLateError(Exception):
    """A loop over batches was stopped before it was given the batch that was offered."""


class _Work:
    """One call: a task for each flow. What fails ends the others, which settle what was handled."""

    def __init__(self, consumer: PartitionedConsumer[Any], hand: Hand) -> None:
        self.pool = consumer._pool
        self._consumer = consumer
        self._crew = consumer._crew
        self._hand = hand
        self._tasks: set[asyncio.Task[None]] = set()

    async def drive(self, begin: Flow[None]) -> None:
        """Until all flows are over."""
        crew = self._crew
        self.start(None, begin)
        cancelled: BaseException | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as error:
                cancelled = error
                crew.fail(error)
                for task in self._tasks:
                    task.cancel()
                await ended(self._tasks)
            self._tasks = {task for task in self._tasks if not task.done()}
        if cancelled is not None:
            raise cancelled
        if crew.error is not None:
            raise crew.error

    def start(self, node: tuple[str, str] | None, flow: Flow[None]) -> None:
        """Run a flow in a task of its own."""
        self._tasks.add(asyncio.ensure_future(self._run(node, flow)))

    async def _run(self, node: tuple[str, str] | None, flow: Flow[None]) -> None:
        try:
            link = self.pool.new_link("") if node is None else self._consumer._link_to(node)
            await _LaneDriver(link, self._hand, self).drive(flow)
        except BaseException as error:
            self._crew.fail(error)


class _LaneDriver(Driver):
    """Does what only flows of a consumer's lanes ask for."""

    def __init__(self, link: Link, hand: Hand, work: _Work) -> None:
        super().__init__(link)
        self._hand = hand
        self._work = work

    async def _perform(self, step: Any) -> Any:
        if type(step) is Deliver:
            await self.delivering(step.events)
            return await self._hand(step.events)
        if type(step) is Start:
            return self._work.start(step.node, step.flow)
        if type(step) is Refresh:
            return await self._work.pool.refresh(step.seen)
        return await super()._perform(step)


class _PartitionedLoop:
    """The work of a loop over the batches of all lanes, by turns: as `batches.Loop`."""

    def __init__(self, consumer: PartitionedConsumer[Any], count: int, idle: float) -> None:
        self.over: bool = False
        self._consumer = consumer
        self._count = count
        self._idle = idle
        self._work: asyncio.Task[None] | None = None
        self._offered: asyncio.Queue[Sequence[Any]] = asyncio.Queue()
        self._handled: asyncio.Future[None] | None = None  # of the batch that the loop has

    async def next(self) -> Sequence[Any]:
        """The next batch."""
        if self._work is None:
            await self._consumer._check_partitions()
            crew = self._consumer._crew
            begin = crew.begin(self._count, self._idle, once=False)
            self._work = asyncio.ensure_future(_Work(self._consumer, _limited(crew, self._offer)).drive(begin))
        self._answer(None)
        while not self._work.done():
            offer = asyncio.ensure_future(self._offered.get())
            try:
                await asyncio.wait((offer, self._work), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                self.over = True
                offer.cancel()
                self._work.cancel()
                await ended([self._work])
                raise
            if not offer.done():
                offer.cancel()
            elif self._consumer._crew.may_deliver(offer.result()):
                return offer.result()
            else:
                self._answer(_TooLateError())
        self.over = True
        await self._work
        raise StopAsyncIteration

    async def _offer(self, events: Sequence[Any]) -> None:
        """Hand events to the loop, and wait until it asks for the next ones."""
        self._handled = asyncio.get_running_loop().create_future()
        self._offered.put_nowait(events)
        await self._handled

    def _answer(self, error: BaseException | None) -> None:
        handled, self._handled = self._handled, None
        if handled is not None and not handled.done():
            if error is None:
                handled.set_result(None)
            else:
                handled.set_exception(error)

    async def settle(self) -> None:
        """Acknowledge the batches before the one in hand."""
        if self.over or self._work is None:
            self.over = True
            return
        self.over = True
        self._consumer._crew.fail(LeftEarly())
        self._answer(LeftEarly())
        try:
            await self._work
        except LeftEarly:
            return
