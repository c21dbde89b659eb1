"""`EventConsumer`: reads a stream through its consumer group, and acknowledges what was handled."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic

from redis.exceptions import RedisError

from .errors import FluxaError
from .flows.consume.acknowledge import acknowledge
from .flows.consume.group_member import GroupMember
from .flows.consume.in_hand import Claims
from .flows.consume.session import ConsumerSession
from .flows.retry import Recovery
from .protocol.generic import BodyT
from .protocol.interface import Event
from .shared.consumer_base import ConsumerBase, ConsumerParts
from .shared.handlers import check_handler
from .shared.session_guard import CLEANUP, LOOP, Hold
from .shared.validation import Duration, positive_int, seconds
from .transport.base import BlockingPool
from .transport.blocking.link import GRACE
from .transport.blocking.session_driver import NodeLinks, SessionDriver

__all__ = ["Batches", "EventConsumer", "Handler"]

Handler = Callable[[Sequence[Event[BodyT]]], None]
"""A function that is given the events of one batch, never an empty one. An exception means: not handled.

What it returns is ignored, unless the work is still to be done: an awaitable, a generator or a future is a TypeError.
The list is the handler's own: to change it changes nothing that is acknowledged.
"""


class EventConsumer(ConsumerBase, Generic[BodyT]):
    """One consumer of the group ``consumer_group`` of a stream, or of each of its partitions. Made by the broker.

    An event is acknowledged and deleted only after it was handled. Whatever happens before that, it stays pending and
    is delivered again: to this consumer at its next call, to the next one of the same name, or by `auto_claim`.

    A batch may have events of several partitions. The events of one partition are in their order.

    It takes one call at a time, from one thread. It refuses every other call with a `FluxaError`, also a call out of
    its own handler or in a loop over its `batches`. Always allowed are `stop`, `name` and the events' `ack`. There is
    one connection to each node that it reads from, kept from call to call.
    """

    def __init__(self, pool: BlockingPool, parts: ConsumerParts) -> None:
        super().__init__(pool, parts, lambda member: partial(_acknowledge_one, pool, member))
        self._links = NodeLinks(pool)
        self._loop: Callable[[], Batches[BodyT] | None] = lambda: None  # over batches, that has begun

    # ---- reading ----

    def consume(self, count: int, block: Duration | None, handler: Handler[BodyT]) -> int:
        """Read, hand over, acknowledge and delete (``XREADGROUP``, ``XACK``, ``XDEL``).

        Entries that are pending for this consumer come first, without blocking. Once none is left, new ones are
        read. So the handler is called up to twice, each time with up to `count` events, or not at all.

        Args:
            count: events in one batch at most.
            block: seconds (or a timedelta) to wait for an event if there is none; None: return at once; ``math.inf``:
                wait until one comes or `stop` is called.
            handler: is called with the events. What it raises reaches the caller unchanged, and nothing is
                acknowledged.

        Returns:
            How many events were handled.

        Raises:
            FluxaError: if another call has the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=False)
        idle = 0.0 if block is None else seconds("block", block, infinite=True)
        return self._run("consume", handler, positive_int(count), idle, once=True)

    def run(
        self,
        handler: Handler[BodyT],
        count: int = 1000,
        *,
        claim_idle: Duration | None = None,
        hold_for: Duration | None = None,
    ) -> None:
        """Consume until `stop` is called, pipelined: the server reads and deletes while the handler works.

        Ctrl-C ends it like any exception: what was handled is acknowledged, the rest stays pending.

        Args:
            handler: is called with the events of one batch after the other. What it raises ends the run and reaches
                the caller unchanged; the batches that were handled are acknowledged, this one stays pending.
            count: events in one batch at most.
            claim_idle: seconds (or a timedelta) since the last delivery, after which events that other consumers have
                left pending are taken over (``XPENDING``, ``XCLAIM``, Redis 6.2); None: none are. What the handler of
                this consumer works on is kept meanwhile: it counts as delivered anew whenever a third of that time is
                over. A daemon thread does that, one for the process. All consumers of the group should
                have the same time.
            hold_for: seconds (or a timedelta) for which one call of the handler keeps its events that way, should it
                hang; None: ten times `claim_idle`.

        Raises:
            TypeError, ValueError: for an argument that can't be right; the error names it.
            FluxaError: if another call has the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=False)
        claims = Claims.checked(claim_idle, hold_for)
        self._run("run", handler, positive_int(count), math.inf, claims=claims)

    def batches(self, count: int = 1000, block: Duration | None = math.inf) -> Iterator[Sequence[Event[BodyT]]]:
        """Iterate over batches, pipelined. A batch is acknowledged when the loop asks for the next one.

        A batch in which the loop was left (``break``, an exception) stays pending.

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
        self._guard.check()
        return Batches(self, count, idle)

    def auto_claim(self, count: int, min_idle: Duration, handler: Handler[BodyT], *, once: bool = False) -> int:
        """Take over and handle what other consumers left pending (``XPENDING``, ``XCLAIM``, Redis 6.2).

        It ends when nothing is left that has been idle for so long, or when `stop` is called. A name in the group that
        has nothing pending any more is removed, if its consumer was silent for that time.

        Args:
            count: events in one batch at most.
            min_idle: seconds (or a timedelta) since the last delivery, at least.
            handler: is called with the events of one batch after the other. What it raises ends the call and reaches
                the caller unchanged; this batch stays pending, for this consumer now.
            once: end after one batch; on a cluster, after one from each node.

        Returns:
            How many events were handled.

        Raises:
            FluxaError: if another call has the consumer.
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=False)
        idle = seconds("min_idle", min_idle)
        return self._run("auto_claim", handler, positive_int(count), math.inf, min_idle=idle, one_page=once)

    # ---- leaving ----

    def cleanup(self) -> int:
        """Leave the group, unless entries are still pending for this consumer: then it stays, for `auto_claim` to find.

        A script decides on the server, so no event is ever lost by this. The consumer may be used again afterwards.

        Returns:
            How many entries are pending; 0 means that the consumer has left the group. Where the server forbids
            scripts, it stays.
        """
        with self._guard.enter(CLEANUP):
            return self._leave()

    def _leave(self, recovery: Recovery | None = None) -> int:
        try:
            return sum(self._links.run(flow, stream) for stream, flow in self._state.leave_flows(recovery))
        finally:
            self._links.release()

    def __enter__(self) -> EventConsumer[BodyT]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Call `cleanup`. Where an exception left the block, that has a second, and the exception is what you see."""
        loop = self._loop()
        if loop is not None:
            with suppress(ValueError):  # another thread is in it
                loop.close()
        if error is None:
            self.cleanup()
            return
        with suppress(RedisError, FluxaError), self._guard.enter(CLEANUP):
            self._links.limit(time.monotonic() + GRACE)
            try:
                self._leave(Recovery(deadline=0))
            finally:
                self._links.limit(None)

    # ---- sessions ----

    def _run(
        self,
        call: str,
        handler: Handler[BodyT],
        count: int,
        idle: float,
        **how: Any,
    ) -> int:
        with self._guard.enter(call):
            session = self._session(count, idle, **how)
            SessionDriver(session, self._links).run(handler)
            return session.handled

    def _session(self, count: int, idle: float, **how: Any) -> ConsumerSession:
        """Begin a session: compare with other services what they must agree on, unless this broker has.

        Args:
            count, idle, how: as `ConsumerSession`.

        Raises:
            PartitionsDifferError, FiltersDifferError: if they do not.
        """
        for flow, key in self._due_agreements():
            self._links.pool.run(flow, key)
        return ConsumerSession(self._state, count, idle, **how)


class Batches(Iterator[Sequence[Event[BodyT]]]):
    """Iterates over the batches of a consumer. Its session begins with the first step; a refusal changes nothing.

    Args:
        consumer: whose batches they are.
        count: events in one batch at most.
        idle: seconds without an event after which the iteration ends.
    """

    __slots__ = ("__weakref__", "_consumer", "_count", "_idle", "_running")

    def __init__(self, consumer: EventConsumer[BodyT], count: int, idle: float) -> None:
        self._consumer = consumer
        self._count = count
        self._idle = idle
        self._running: Generator[Sequence[Event[BodyT]], None, None] | None = None

    def __next__(self) -> Sequence[Event[BodyT]]:
        if self._running is None:
            hold = self._consumer._guard.enter(LOOP)
            self._running = _within(hold, self._consumer, self._count, self._idle)
            self._consumer._loop = weakref.ref(self)
        return next(self._running)

    def close(self) -> None:
        """End the iteration: the batches before the one in hand are acknowledged, and that one stays pending."""
        if self._running is None:
            self._running = _nothing()
        self._running.close()


def _within(
    hold: Hold, consumer: EventConsumer[BodyT], count: int, idle: float
) -> Generator[Sequence[Event[BodyT]], None, None]:
    with hold:
        yield from SessionDriver(consumer._session(count, idle), consumer._links).batches()


def _nothing() -> Generator[Any, None, None]:
    yield from ()


def _acknowledge_one(pool: BlockingPool, member: GroupMember, event: Any) -> None:
    """`Event.ack`: on another connection than the consumer's own, which may have a read in flight.

    Also of a consumer that reads at most once: it may have replayed what was pending from before.
    """
    if not event.acknowledged:
        pool.run(acknowledge(member, [event]), member.stream)
