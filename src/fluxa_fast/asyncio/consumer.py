"""`EventConsumer`: reads a stream through its consumer group, and acknowledges what was handled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import chain
from types import TracebackType
from typing import Any, Generic

from redis.exceptions import RedisError

from ..errors import FluxaError
from ..flows.consume.in_hand import Claims
from ..flows.consume.session import ConsumerSession
from ..protocol.generic import BodyT
from ..shared.consumer_base import ConsumerBase, ConsumerParts
from ..shared.handlers import check_handler
from ..shared.session_guard import CLEANUP
from ..shared.validation import Duration, positive_int, seconds
from ..transport.aio.acknowledging import Acknowledging
from ..transport.aio.driver import GRACE
from ..transport.aio.session_driver import NodeLinks, SessionDriver
from ..transport.base import AsyncPool
from .batches import Batches, Loop
from .event import Event

__all__ = ["EventConsumer", "Handler"]

Handler = Callable[[Sequence[Event[BodyT]]], Awaitable[None] | None]
"""A function, async or not, that is given the events of one batch, never an empty one. An exception means: not handled.

What it returns, once awaited, is ignored, unless the work is still to be done: another awaitable, a generator or a
future is a TypeError. The list is the handler's own: to change it changes nothing that is acknowledged.
"""

_PAGE = {"c": 4000, "python": 1000}  # events that are parsed, or acknowledged, in about half a millisecond


class EventConsumer(ConsumerBase, Generic[BodyT]):
    """One consumer of the group ``consumer_group`` of a stream, or of each of its partitions. Made by the broker.

    An event is acknowledged and deleted only after it was handled. Whatever happens before that, also that the task is
    cancelled, it stays pending and is delivered again: to this consumer at its next call, to the next one of the same
    name, or by `auto_claim`.

    A batch may have events of several partitions. The events of one partition are in their order.

    It takes one call at a time, from one task. It refuses every other call with a `FluxaError`, also a call out of its
    own handler or in a loop over its `batches`. Always allowed are `stop`, `name` and the events' `ack`, which is
    awaited. There is one connection to each node that it reads from, kept from call to call.
    """

    _cancels = True

    def __init__(self, pool: AsyncPool, parts: ConsumerParts) -> None:
        super().__init__(pool, parts, lambda member: Acknowledging(pool, member).one)
        self._links = NodeLinks(pool)
        self._running: tuple[asyncio.AbstractEventLoop, SessionDriver] | None = None  # calls a handler
        self._loop: Loop | None = None  # over batches, which was left, perhaps
        self._batches: Callable[[], Batches[BodyT] | None] = lambda: None  # what the loop iterates over
        for member in chain.from_iterable(parts.members.values()):
            member.page = _PAGE[pool.implementation.name]

    # ---- reading ----

    async def consume(self, count: int, block: Duration | None, handler: Handler[BodyT]) -> int:
        """Read, hand over, acknowledge and delete (``XREADGROUP``, ``XACK``, ``XDEL``).

        Entries that are pending for this consumer come first, without blocking. Once none is left, new ones are
        read. So the handler is called up to twice, each time with up to `count` events, or not at all.

        Args:
            count: events in one batch at most.
            block: seconds (or a timedelta) to wait for an event if there is none; None: return at once; ``math.inf``:
                wait until one comes or `stop` is called.
            handler: is called with the events, and awaited if it is a coroutine function. What it raises reaches the
                caller unchanged, and nothing is acknowledged.

        Returns:
            How many events were handled.

        Raises:
            FluxaError: if another call has the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=True)
        idle = 0.0 if block is None else seconds("block", block, infinite=True)
        return await self._run("consume", handler, positive_int(count), idle, once=True)

    async def run(
        self,
        handler: Handler[BodyT],
        count: int = 1000,
        *,
        concurrency: int = 1,
        claim_idle: Duration | None = None,
        hold_for: Duration | None = None,
    ) -> None:
        """Consume until `stop` is called, pipelined: the server reads and deletes while the handler works.

        Cancelling the task ends it: what was handled is acknowledged (for which it takes a second at most), the rest
        stays pending.

        Args:
            handler: is called with the events of one batch after the other, and awaited if it is a coroutine function.
                What it raises ends the run and reaches the caller unchanged; the batches that were handled are
                acknowledged, this one stays pending.
            count: events in one batch at most.
            concurrency: calls of the handler that may be under way at the same time, each with a batch of its own. With
                more than one, batches may be finished in any order, and each is acknowledged as it is; the next batch
                is read while all are busy, and no other. When one call fails, the others are cancelled, and their
                batches stay pending. Of a stream with partitions, the handler has one batch from each node at most.
            claim_idle: seconds (or a timedelta) since the last delivery, after which events that other consumers have
                left pending are taken over (``XPENDING``, ``XCLAIM``, Redis 6.2); None: none are. What the handler of
                this consumer works on is kept meanwhile: it counts as delivered anew whenever a third of that time is
                over. A task does that, so a handler must not block the event loop. All consumers of the group should
                have the same time.
            hold_for: seconds (or a timedelta) for which one call of the handler keeps its events that way, should it
                hang; None: ten times `claim_idle`.

        Raises:
            TypeError, ValueError: for an argument that can't be right; the error names it.
            FluxaError: if another call has the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=True)
        positive_int(count)
        claims = Claims.checked(claim_idle, hold_for)
        positive_int(concurrency, "concurrency")
        await self._run("run", handler, count, math.inf, concurrency=concurrency, claims=claims)

    def batches(self, count: int = 1000, block: Duration | None = math.inf) -> Batches[BodyT]:
        """Iterate over batches, pipelined. A batch is acknowledged when the loop asks for the next one.

        A batch in which the loop was left (``break``, an exception) stays pending. The ones before it are acknowledged
        by the consumer's next call, at the end of its ``async with`` block, or by the iterator's ``aclose``. As long as
        the iterator is kept (in a variable, for one), its loop goes on, and the consumer takes no other call.

        Args:
            count: events in one batch at most.
            block: seconds (or a timedelta) without an event after which the iteration ends; None: as soon as there is
                none; ``math.inf``: only when `stop` is called.

        Raises:
            FluxaError: if another call has the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        idle = 0.0 if block is None else seconds("block", block, infinite=True)
        positive_int(count)
        self._guard.check(_current_task())
        return Batches(self, Loop(self, count, idle))

    async def auto_claim(self, count: int, min_idle: Duration, handler: Handler[BodyT], *, once: bool = False) -> int:
        """Take over and handle what other consumers left pending (``XPENDING``, ``XCLAIM``, Redis 6.2).

        It ends when nothing is left that has been idle for so long, or when `stop` is called. A name in the group that
        has nothing pending any more is removed, if its consumer was silent for that time.

        Args:
            count: events in one batch at most.
            min_idle: seconds (or a timedelta) since the last delivery, at least.
            handler: is called with the events of one batch after the other, and awaited if it is a coroutine function.
                What it raises ends the call and reaches the caller unchanged; this batch stays pending, for this
                consumer now.
            once: end after one batch; on a cluster, after one from each node.

        Returns:
            How many events were handled.

        Raises:
            FluxaError: if another call has the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=True)
        idle = seconds("min_idle", min_idle)
        return await self._run("auto_claim", handler, positive_int(count), math.inf, min_idle=idle, one_page=once)

    # ---- leaving ----

    def _cut_short_after(self, within: float) -> None:
        running = self._running
        if running is not None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                running[0].call_soon_threadsafe(running[1].cut_short_after, within)

    async def cleanup(self) -> int:
        """Leave the group, unless entries are still pending for this consumer: then it stays, for `auto_claim` to find.

        A script decides on the server, so no event is ever lost by this. The consumer may be used again afterwards.

        Returns:
            How many entries are pending; 0 means that the consumer has left the group. Where the server forbids
            scripts, it stays.
        """
        with self._guard.enter(CLEANUP, asyncio.current_task()):
            await self._settle()
            try:
                return sum([await self._links.run(flow, stream) for stream, flow in self._state.leave_flows()])
            finally:
                await self._links.release()

    async def __aenter__(self) -> EventConsumer[BodyT]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Call `cleanup`. Where an exception left the block, that has a second, and the exception is what you see."""
        batches = self._batches()
        if error is None:
            if batches is not None:
                await batches.aclose()
            await self.cleanup()
            return
        with suppress(TimeoutError, RedisError, FluxaError):
            async with asyncio.timeout(GRACE):
                if batches is not None:
                    await batches.aclose()
                await self.cleanup()

    # ---- sessions ----

    async def _run(
        self,
        call: str,
        handler: Handler[BodyT],
        count: int,
        idle: float,
        *,
        concurrency: int = 1,
        **how: Any,
    ) -> int:
        with self._guard.enter(call, asyncio.current_task()):
            await self._settle()
            session = await self._session(count, idle, **how)
            driver = SessionDriver(session, self._links)
            self._running = (asyncio.get_running_loop(), driver)
            try:
                await driver.run(handler, concurrency)
            finally:
                self._running = None
            return session.handled

    async def _session(self, count: int, idle: float, **how: Any) -> ConsumerSession:
        """Begin a session: compare with other services what they must agree on, unless this broker has.

        Args:
            count, idle, how: as `ConsumerSession`.

        Raises:
            PartitionsDifferError, FiltersDifferError: if they do not.
        """
        for flow, key in self._due_agreements():
            await self._links.pool.run(flow, key)
        return ConsumerSession(self._state, count, idle, **how)

    async def _settle(self) -> None:
        """Acknowledge what was handled in a loop over `batches` that was left."""
        if self._loop is not None:
            left, self._loop = self._loop, None
            await left.settle()


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # there is no event loop yet
        return None
