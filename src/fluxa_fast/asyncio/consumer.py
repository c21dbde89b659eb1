"""`EventConsumer`: reads a stream through its consumer group, and acknowledges what was handled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar

from redis.exceptions import RedisError

from ..consumer import ConsumerBase
from ..errors import FluxaError
from ..flows.consume.claim import auto_claim, cleanup
from ..flows.consume.group_member import GroupMember
from ..flows.consume.reading import consume, pump
from ..flows.steps import Flow
from ..protocol.generic import BodyT
from ..protocol.interface import Event
from ..shared.handlers import check_handler
from ..shared.session_guard import CLEANUP, Sessions
from ..shared.validation import Duration, positive_int, seconds
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.driver import GRACE, Driver
from ..transport.aio.link import Link
from ..transport.aio.pool import Pool
from .acknowledging import Acknowledging
from .batches import AnyLoop, Batches, Loop
from .concurrency import run_concurrently

__all__ = ["PAGE", "EventConsumer", "Handler"]

Handler = Callable[[Sequence[Event[BodyT]]], Awaitable[None] | None]
"""A function, async or not, that is given the events of one batch, never an empty one. An exception means: not handled.

What it returns, once awaited, is ignored, unless the work is still to be done: another awaitable, a generator or a
future is a TypeError. The list is the handler's own: to change it changes nothing that is acknowledged.
"""

T = TypeVar("T")

PAGE = {"c": 4000, "python": 1000}  # events that are parsed, or acknowledged, in about half a millisecond


class EventConsumer(ConsumerBase, Generic[BodyT]):
    """One consumer of the group ``consumer_group`` of a stream. Made by the broker.

    An event is acknowledged and deleted only after it was handled. Whatever happens before that, also that the task is
    cancelled, it stays pending and is delivered again: to this consumer at its next call, to the next one of the same
    name, or by `auto_claim`.

    It takes one call at a time, from one task. It refuses every other call with a `FluxaError`, also a call out of its
    own handler or in a loop over its `batches`. Always allowed are `stop`, `name` and the events' `ack`, which is
    awaited. The connection is kept from call to call.
    """

    def __init__(self, pool: Pool | ClusterPool, member: GroupMember) -> None:
        self._pool = pool
        self._link: Link = pool.new_link(member.stream)
        self._member = member
        self._loop: AnyLoop | None = None  # over batches, which was left, perhaps
        self._batches: Callable[[], Batches[BodyT] | None] = lambda: None  # what the loop iterates over
        self._sessions = Sessions([member])
        member.page = PAGE[pool.implementation.name]
        # Not a method of ours: it would keep a consumer that nobody uses any more, and with it the connection.
        member.acknowledged_by(Acknowledging(pool, member).one)

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
            FluxaError: if another task uses the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=True)
        waiting = None if block is None else seconds("block", block, infinite=True)
        return await self._drive("consume", consume(self._member, positive_int(count), waiting), handler)

    async def run(self, handler: Handler[BodyT], count: int = 1000, *, concurrency: int = 1) -> None:
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
                batches stay pending.

        Raises:
            FluxaError: if another task uses the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=True)
        positive_int(count)
        positive_int(concurrency, "concurrency")
        if concurrency == 1:
            await self._drive("run", pump(self._member, count, math.inf), handler)
        else:
            with self._sessions.begin("run", asyncio.current_task()):
                await self._settle()
                await run_concurrently(self._pool, self._link, self._member, handler, count, concurrency)

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
            FluxaError: if another task uses the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        idle = 0.0 if block is None else seconds("block", block, infinite=True)
        positive_int(count)
        return self._iterated(Loop(self, pump(self._member, count, idle)))

    def _iterated(self, loop: Any) -> Batches[BodyT]:
        self._sessions.check(_current_task())
        return Batches(self, loop)

    async def auto_claim(self, count: int, min_idle: Duration, handler: Handler[BodyT]) -> int:
        """Take over and handle what other consumers left pending (``XAUTOCLAIM``, Redis 6.2).

        Args:
            count: events in one batch at most.
            min_idle: seconds (or a timedelta) since the last delivery, at least.
            handler: is called with the events of one batch after the other, and awaited if it is a coroutine function.
                What it raises ends the call and reaches the caller unchanged; this batch stays pending, for this
                consumer now.

        Returns:
            How many events were handled.

        Raises:
            FluxaError: if another task uses the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=True)
        idle = seconds("min_idle", min_idle)
        return await self._drive("auto_claim", auto_claim(self._member, positive_int(count), idle), handler)

    # ---- leaving ----

    async def cleanup(self) -> int:
        """Leave the group, unless entries are still pending for this consumer: then it stays, for `auto_claim` to find.

        A script decides on the server, so no event is ever lost by this. The consumer may be used again afterwards.

        Returns:
            How many entries are pending; 0 means that the consumer has left the group.
        """
        with self._sessions.begin(CLEANUP, asyncio.current_task()):
            await self._settle()
            return await self._clean_up()

    async def _clean_up(self) -> int:
        try:
            return await Driver(self._link).drive(cleanup(self._member))
        finally:
            await self._link.release()

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

    # ---- driving ----

    async def _drive(self, call: str, flow: Flow[T], handler: Handler[BodyT] | None = None) -> T:
        with self._sessions.begin(call, asyncio.current_task()):
            await self._settle()
            return await Driver(self._link, handler).drive(flow)

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
