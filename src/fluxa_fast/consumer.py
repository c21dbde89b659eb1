"""`EventConsumer`: reads a stream through its consumer group, and acknowledges what was handled."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, TypeVar

from redis.exceptions import RedisError

from .errors import FluxaError
from .flows.consume.acknowledge import acknowledge
from .flows.consume.claim import auto_claim, cleanup
from .flows.consume.group_member import GroupMember
from .flows.consume.reading import consume, pump
from .flows.retry import Recovery
from .flows.steps import Deliver, Flow
from .protocol.generic import BodyT
from .protocol.interface import Event
from .shared.handlers import check_handler
from .shared.session_guard import CLEANUP, LOOP, Session, Sessions
from .shared.validation import Duration, positive_int, seconds
from .transport.blocking.cluster import ClusterPool
from .transport.blocking.driver import drive, perform
from .transport.blocking.link import GRACE, Link
from .transport.blocking.pool import Pool

__all__ = ["Batches", "ConsumerBase", "EventConsumer", "Handler", "LeftEarly", "acknowledge_one"]

Handler = Callable[[Sequence[Event[BodyT]]], None]
"""A function that is given the events of one batch, never an empty one. An exception means: not handled.

What it returns is ignored, unless the work is still to be done: an awaitable, a generator or a future is a TypeError.
The list is the handler's own: to change it changes nothing that is acknowledged.
"""

T = TypeVar("T")


class LeftEarly(BaseException):
    """Tells the flow behind `batches` that the loop over it was left."""


class ConsumerBase:
    """What a consumer tells about itself."""

    _member: GroupMember

    @property
    def name(self) -> str:
        """The name in the group, ``consumer-single`` or ``consumer-<UTC time>-<random number>``."""
        return self._member.name

    @property
    def stream(self) -> str:
        """The stream that is consumed."""
        return self._member.stream

    @property
    def deleted(self) -> int:
        """Entries so far that were pending, but no longer in the stream; acknowledged, and never handed over."""
        return self._member.deleted

    def stop(self) -> None:
        """End `run`, `batches`, `auto_claim` or a waiting `consume`, once the handler returns.

        Any thread may call it, and a signal handler. It takes effect within about a second; if no call is going on, the
        next one ends at once. No batch is handed over after it, except for events that were read at most once: they
        would be lost.
        """
        self._member.stopping.set()


class EventConsumer(ConsumerBase, Generic[BodyT]):
    """One consumer of the group ``consumer_group`` of a stream. Made by the broker.

    An event is acknowledged and deleted only after it was handled. Whatever happens before that, it stays pending and
    is delivered again: to this consumer at its next call, to the next one of the same name, or by `auto_claim`.

    It takes one call at a time, from one thread. It refuses every other call with a `FluxaError`, also a call out of
    its own handler or in a loop over its `batches`. Always allowed are `stop`, `name` and the events' `ack`. The
    connection is kept from call to call.
    """

    def __init__(self, pool: Pool | ClusterPool, member: GroupMember) -> None:
        self._link: Link = pool.new_link(member.stream)
        self._member = member
        self._sessions = Sessions([member])
        self._loop: Callable[[], Batches[BodyT] | None] = lambda: None  # over batches, that has begun
        # Not a method of ours: it would keep a consumer that nobody uses any more, and with it the connection.
        member.acknowledged_by(partial(acknowledge_one, pool, member))

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
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=False)
        waiting = None if block is None else seconds("block", block, infinite=True)
        return self._run("consume", consume(self._member, positive_int(count), waiting), handler)

    def run(self, handler: Handler[BodyT], count: int = 1000) -> None:
        """Consume until `stop` is called, pipelined: the server reads and deletes while the handler works.

        Ctrl-C ends it like any exception: what was handled is acknowledged, the rest stays pending.

        Args:
            handler: is called with the events of one batch after the other. What it raises ends the run and reaches
                the caller unchanged; the batches before are acknowledged, this one stays pending.
            count: events in one batch at most.

        Raises:
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=False)
        self._run("run", pump(self._member, positive_int(count), math.inf), handler)

    def batches(self, count: int = 1000, block: Duration | None = math.inf) -> Iterator[Sequence[Event[BodyT]]]:
        """Iterate over batches, pipelined. A batch is acknowledged when the loop asks for the next one.

        A batch in which the loop was left (``break``, an exception) stays pending.

        Args:
            count: events in one batch at most.
            block: seconds (or a timedelta) without an event after which the iteration ends; None: as soon as there is
                none; ``math.inf``: only when `stop` is called.

        Raises:
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        idle = 0.0 if block is None else seconds("block", block, infinite=True)
        positive_int(count)
        self._sessions.check()
        return Batches(self, partial(self._steps, count, idle))

    def _steps(self, count: int, idle: float) -> Generator[Sequence[Event[BodyT]], None, None]:
        """Batch after batch, within a session."""
        flow = pump(self._member, count, idle)
        try:
            step = next(flow)
            while True:
                try:
                    if type(step) is Deliver:
                        yield step.events
                        outcome = None
                    else:
                        outcome = perform(step, self._link, None)
                except GeneratorExit:
                    self._leave(flow)
                    return
                except BaseException as error:
                    self._link.limit_after(error)
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration:
            return
        finally:
            self._link.limit(None)
            if not self._link.in_order:
                self._link.drop()

    def _leave(self, flow: Flow[None]) -> None:
        """The loop was left: let the flow settle what is under way."""
        try:
            drive(flow, self._link, thrown=LeftEarly())
        except LeftEarly:
            return

    def auto_claim(self, count: int, min_idle: Duration, handler: Handler[BodyT]) -> int:
        """Take over and handle what other consumers left pending (``XAUTOCLAIM``, Redis 6.2).

        Args:
            count: events in one batch at most.
            min_idle: seconds (or a timedelta) since the last delivery, at least.
            handler: is called with the events of one batch after the other. What it raises ends the call and reaches
                the caller unchanged; this batch stays pending, for this consumer now.

        Returns:
            How many events were handled.

        Raises:
            redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
        """
        check_handler(handler, awaited=False)
        idle = seconds("min_idle", min_idle)
        return self._run("auto_claim", auto_claim(self._member, positive_int(count), idle), handler)

    # ---- leaving ----

    def cleanup(self) -> int:
        """Leave the group, unless entries are still pending for this consumer: then it stays, for `auto_claim` to find.

        A script decides on the server, so no event is ever lost by this. The consumer may be used again afterwards.

        Returns:
            How many entries are pending; 0 means that the consumer has left the group.
        """
        with self._sessions.begin(CLEANUP):
            return self._clean_up()

    def _clean_up(self, recovery: Recovery | None = None) -> int:
        try:
            return drive(cleanup(self._member, recovery), self._link)
        finally:
            self._link.release()

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
        with suppress(RedisError, FluxaError), self._sessions.begin(CLEANUP):
            self._limit(time.monotonic() + GRACE)
            try:
                self._clean_up(Recovery(deadline=0))
            finally:
                self._limit(None)

    # ---- driving ----

    def _run(self, call: str, flow: Flow[T], handler: Handler[BodyT] | None = None) -> T:
        with self._sessions.begin(call):
            return drive(flow, self._link, handler)

    def _limit(self, until: float | None) -> None:
        """Whatever is asked of the server fails from then on (monotonic seconds); None: it takes the time it takes."""
        self._link.limit(until)


class Batches(Iterator[Sequence[Event[BodyT]]]):
    """Iterates over the batches of a consumer. Its session begins with the first step; a refusal changes nothing.

    Args:
        consumer: whose batches they are.
        steps: makes what brings them.
    """

    __slots__ = ("__weakref__", "_consumer", "_running", "_steps")

    def __init__(
        self, consumer: EventConsumer[BodyT], steps: Callable[[], Generator[Sequence[Event[BodyT]], None, None]]
    ) -> None:
        self._consumer = consumer
        self._steps = steps
        self._running: Generator[Sequence[Event[BodyT]], None, None] | None = None

    def __next__(self) -> Sequence[Event[BodyT]]:
        if self._running is None:
            session = self._consumer._sessions.begin(LOOP)
            self._running = _within(session, self._steps)
            self._consumer._loop = weakref.ref(self)
        return next(self._running)

    def close(self) -> None:
        """End the iteration: the batches before the one in hand are acknowledged, and that one stays pending."""
        if self._running is None:
            self._running = _nothing()
        self._running.close()


def _within(session: Session, steps: Callable[[], Generator[T, None, None]]) -> Generator[T, None, None]:
    with session:
        yield from steps()


def _nothing() -> Generator[Any, None, None]:
    yield from ()


def acknowledge_one(pool: Pool | ClusterPool, member: GroupMember, event: Any) -> None:
    """`Event.ack`: on another connection than the consumer's own, which may have a read under way.

    Also of a consumer that reads at most once: it may have replayed what was pending from before.
    """
    if not event.acknowledged:
        pool.run(acknowledge(member, [event]), member.stream)
