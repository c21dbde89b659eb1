"""The events of a producer for one pool: from the writer, batch by batch and in order, to their reports."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Generic, Protocol

from redis.exceptions import RedisError

from ... import protocol
from ...delivery import DeliveryReport, ProducerCounters
from ...errors import FluxaError, ProducerFullError, SerializationError
from ...flows.partition_count import PartitionCheck, not_checked
from ...flows.publish.pipeline import BufferFlush
from ...flows.retry import Outage, Recovery, log
from ...hooks import FlushReport, Hooks
from ...keep import Retention
from ...protocol.interface import BatchWriter
from ...redis_adapter.closing import closed_error
from ..buffer_targets import BufferTargets, P
from ..routing import StreamRoute
from ..unflushed import named_streams
from .batch import Batch
from .options import ProducerOptions

__all__ = ["Lane", "Signal"]

_LONGEST_PAUSE = 1.0  # seconds between two attempts
_TRIMMED_EACH = 100  # events
_TRIMMED_AFTER = 1.0  # seconds


class Signal(Protocol):
    """Wakes what waits for it. It stays set until then."""

    @property
    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class Lane(ABC, Generic[P]):
    """Where the events of a producer for one pool are. The sender calls everything but `writer`.

    The sender is a thread or a task. It is the only one that takes batches, so they are sent in order.

    Args:
        pool: that the events go to.
        routes: the routes of the streams of that pool.
        readers: what makes the bodies of each Redis key that has a type of them.
        options: of the producer.
        hooks: that are told of each attempt; None: there are none.
        lock, accepted: as for `BatchWriter`.

    Attributes:
        streams: of the pool.
        writer: publishes.
        publishers: the signals of publishers that wait for room; the first one has waited longest.
        flushers: the signals of calls that wait until so many events are settled and reported.
        counters: of events that are settled.
        reported: how many events are settled, and told to the callbacks.
        closing: whether the sender ends when nothing is left.
        stopped: whether it ends now.
        failure: why nothing can be sent any more; None: it can.
    """

    def __init__(
        self,
        pool: P,
        routes: Mapping[str, StreamRoute[P]],
        readers: Mapping[str, Any],
        options: ProducerOptions,
        hooks: Hooks | None,
        lock: Any = None,
        accepted: Any = None,
    ) -> None:
        self.pool: P = pool
        self.options: ProducerOptions = options
        self.publishers: deque[Signal] = deque()
        self.flushers: list[tuple[int, Signal]] = []
        self.streams: tuple[str, ...] = tuple(routes)
        self._routes = routes
        self._readers = readers
        self._hooks = hooks
        self._recovery = Recovery(deadline=options.delivery_timeout, cap=_LONGEST_PAUSE)
        heads = {stream: route.heads for stream, route in routes.items()}
        limits = options.limits
        self._start()
        self.writer: BatchWriter = protocol.default.BatchWriter(
            heads, self._open, limits, self.noticed, self.on_full, lock=lock, accepted=accepted
        )

    def _start(self) -> None:
        self.counters: ProducerCounters = ProducerCounters()
        self.reported: int = 0
        self._dropped_told = 0
        self.closing: bool = False
        self.stopped: bool = False
        self.failure: Exception | None = None
        self._targets: BufferTargets[P] = BufferTargets(self._routes, False)
        self._current: Batch | None = None
        self._hurried = 0  # events that are not to wait for others
        self._failures = 0  # in a row
        self._outage = Outage(f"the producer for Redis pool {self.pool.name!r}", self._hooks)
        self._untrimmed = 0  # events
        self._trimmed_at = 0.0

    def renew(self, lock: Any) -> None:
        """Drop everything, in a forked child: the parent sends its events."""
        self.publishers.clear()
        self.flushers.clear()
        closed = self.closing
        self._start()
        self.closing = closed
        self.writer.renew(lock)

    def _open(self, stream: str, partition: int) -> tuple[int, int, Any]:
        return self._targets.open(stream, partition)

    # ---- publishers ----

    @abstractmethod
    def noticed(self) -> Any:
        """There is a batch to be sent now, or soon: as `on_batch` of `BatchWriter`."""

    @abstractmethod
    def on_full(self, stream: str, body: Any, tags: Any, key: Any, id: Any) -> Any:
        """There is no room for an event: as `on_full` of `BatchWriter`."""

    def check_open(self) -> None:
        """Refuse to publish.

        Raises:
            FluxaError: if the producer or its engine is closed.
        """
        if self.failure is not None:
            raise FluxaError(str(self.failure))
        if self.writer.closed:
            raise FluxaError("the producer is closed: make a new one")

    def may_wait(self, events: int) -> bool:
        """There is no room for so many events. Whether to wait for it; False: they are dropped.

        Raises:
            ProducerFullError: if that is what the producer is to do.
            FluxaError: if the producer or its engine is closed.
        """
        self.check_open()
        if self.options.on_full == "raise":
            raise self.full_error()
        if self.options.on_full == "wait":
            return True
        if self.writer.drop(events) == self._dropped_told:  # the first since then; the log's handler may publish, too
            log.warning("the producer for Redis pool %r is full, and drops events", self.pool.name)
        return False

    def full_error(self) -> ProducerFullError:
        """The error for an event that there is no room for."""
        return ProducerFullError(self.pool.name, self.writer.count, self.writer.buffered)

    # ---- which batch is next ----

    def next_batch(self) -> Batch | None:
        """Return the batch to be sent now, if there is one."""
        if self._current is None:
            writer = self.writer
            if not writer.sealed and self._is_due():
                writer.seal()
            if writer.sealed:
                sealed = writer.sealed.popleft()
                implementation = self.pool.implementation
                self._current = Batch(sealed, self.pool.name, implementation, self._targets.lanes, self._readers)
        return self._current

    def _is_due(self) -> bool:
        writer = self.writer
        began = writer.began
        if began is None:
            return False
        if writer.ready or self.closing or self._hurried > writer.total - writer.waiting:
            return True
        return time.monotonic() >= began + self.options.linger

    def wait_time(self) -> float | None:
        """Seconds until the open batch is to be sent; None: there is none."""
        began = self.writer.began
        return None if began is None else max(0.0, began + self.options.linger - time.monotonic())

    def hurry(self) -> int:
        """Let no event that is there wait for others. Return how many events there were so far."""
        self._hurried = self.writer.total
        return self._hurried

    @property
    def idle(self) -> bool:
        """Whether there is nothing to send."""
        return self._current is None and not self.writer.sealed and not self.writer.waiting

    @property
    def left(self) -> int:
        """How many events are not settled and reported."""
        return self.writer.total - self.reported

    @property
    def unsettled(self) -> int:
        """How many events are to be sent, or to be confirmed."""
        settled = self.counters
        return self.writer.total - settled.confirmed - settled.refused - settled.given_up

    def log_left(self, what_ends: str) -> None:
        """Log what is left."""
        if self.unsettled:
            log.error("%s with %d events that were not delivered: %s", what_ends, self.unsettled, self.told_left())
        elif self.left:
            log.error("%s, and the callbacks were not told of %d events that are settled", what_ends, self.left)

    def told_stop(self) -> None:
        """Nothing more is sent: wake what waits, and log what no report has told."""
        for _, signal in list(self.flushers):
            signal.set()
        if dropped := self._newly_dropped():
            log.error("%d events of a producer for Redis pool %r were dropped: no room", dropped, self.pool.name)

    def _newly_dropped(self) -> int:
        """How many events were dropped that were not told of; they are, from here on."""
        before, self._dropped_told = self._dropped_told, self.writer.dropped
        return self._dropped_told - before

    def told_left(self) -> str:
        """What is left, in words."""
        with suppress(SerializationError):  # this thread is writing an event
            self.writer.seal()
        current = self._current
        buffers = list(chain.from_iterable(batch.buffers.values() for batch in list(self.writer.sealed)))
        if current is not None:
            buffers = [*current.buffers, *buffers]
        streams = named_streams(buffers)
        error = "" if current is None or current.error is None else f"; {current.error}"
        return f"{streams or 'their callbacks have not returned'}{error}"

    # ---- one attempt ----

    def unchecked(self) -> Iterator[PartitionCheck]:
        """Iterate over the streams whose number of partitions has to be compared. The sender does, in `compared`."""
        unchecked = self._targets.unchecked
        for stream, check in list(unchecked.items()):
            if check.due:
                yield check
            if not check.due:
                unchecked.pop(stream, None)

    @contextmanager
    def compared(self, check: PartitionCheck, batch: Batch, errors: dict[int, Exception]) -> Iterator[None]:
        """A context for one comparison. Events of streams that may not be published to are refused.

        Args:
            check: of the stream.
            batch: that is about to be sent.
            errors: gets the targets whose streams could not be compared.
        """
        try:
            yield
        except RedisError as error:
            told = not_checked(check, error)
            errors |= dict.fromkeys(self._targets.indexes_of(check.stream), told)
        except FluxaError as error:
            if not self.pool.closed:
                batch.refuse([head.stream for head in self._routes[check.stream].heads], error)

    def named(self, flushing: Mapping[int, BufferFlush]) -> list[tuple[str, BufferFlush]]:
        """Return what the pool is to flush: each buffer under its name."""
        return [(self._targets[index].key, flush) for index, flush in flushing.items() if not flush.held_back]

    def settle(
        self, batch: Batch, flushing: Mapping[int, BufferFlush], took: float, *, interrupted: bool = False
    ) -> float:
        """Take what became of an attempt, which took some seconds. Return seconds until the next one.

        `interrupted`: the attempt was cancelled, which is no outage.
        """
        events, confirmed, refused = batch.left, batch.confirmed, len(batch.refused)
        size = sum(map(len, batch.buffers)) if self._hooks is not None else 0
        batch.settle(flushing)
        confirmed, refused = batch.confirmed - confirmed, len(batch.refused) - refused
        if self._hooks is not None:
            self._hooks.on_flush(FlushReport(confirmed, refused, events - confirmed - refused, size, took))
        self._untrimmed += confirmed
        if batch.error is not None:
            if self.pool.closed:
                self._fail(batch)
                return 0.0
            return 0.0 if interrupted else self.failed(batch, batch.error)
        if self._failures:
            self._outage.resolved(self._failures, over=True)
            self._failures = 0
        if not batch.left:
            self.finish(batch)
        return 0.0

    def failed(self, batch: Batch, error: Exception) -> float:
        """An attempt has met an error. Return seconds until the next one."""
        batch.error = error
        pause = self._note_failure(error)
        return 0.0 if self._give_up_expired(batch) else pause

    def _note_failure(self, error: Exception) -> float:
        if not self._failures:
            self._outage.entered(error, self._recovery)
        pause = self._recovery.delay(self._failures)
        self._failures += 1
        return pause

    def _give_up_expired(self, batch: Batch) -> bool:
        """Give up a batch that has waited for too long, and those behind it. Return whether there is one."""
        assert batch.error is not None
        error = batch.error
        oldest = time.monotonic() - self.options.delivery_timeout
        if batch.began > oldest:
            return False
        batch.give_up(error)
        self.finish(batch)
        if (began := self.writer.began) is not None and began <= oldest:
            self.writer.seal()
        while self.writer.sealed and self.writer.sealed[0].began <= oldest and (other := self.next_batch()) is not None:
            other.give_up(error)
            self.finish(other)
        return True

    def _fail(self, batch: Batch | None) -> None:
        """The engine is closed: nothing that is left can be sent."""
        self.failure = closed_error()
        self.writer.close()
        while batch is not None:
            batch.give_up(self.failure)
            self.finish(batch)
            self.closing = True
            batch = self.next_batch()

    # ---- what is told ----

    def finish(self, batch: Batch) -> None:
        """All events of a batch are settled: tell of them."""
        self._current = None
        counters = self.counters
        counters.confirmed += batch.confirmed
        counters.refused += len(batch.refused)
        counters.given_up += sum(map(len, batch.given_up))
        held = batch.size if batch.failed else 0  # by the report, which has the events that were not delivered
        self.writer.let_go(0, batch.size - held)
        self.wake_publisher()
        for receipt, outcome in batch.receipts():
            self.resolve(receipt, outcome)
        dropped = self._newly_dropped()
        failed = batch.failed or dropped > 0
        callbacks = self._callbacks(failed)
        if callbacks or self.reports_wait():
            self.tell(callbacks, batch.report(dropped), batch.events, held)
            return
        if failed:
            _log_failed(batch.report(dropped))
        self.told(batch.events, held)

    def _callbacks(self, failed: bool) -> Sequence[Callable[[Any], Any]]:
        on_delivery, on_error = self.options.on_delivery, self.options.on_error
        return [one for one in (on_delivery, on_error if failed else None) if one is not None]

    def told(self, events: int, size: int) -> None:
        """So many events more are settled and reported, and so many bytes of them are not held any more."""
        self.reported += events
        self.writer.let_go(events, size)
        self.wake_publisher()
        if self.flushers:
            for target, signal in list(self.flushers):
                if self.reported >= target:
                    signal.set()

    def wake_publisher(self) -> None:
        """Wake the publisher that has waited longest, if there is room. It wakes the next one."""
        if self.publishers and (self.writer.room or self.writer.closed):
            for signal in list(self.publishers):
                if not signal.is_set:  # else it is about to look, or an exception has kept it from leaving
                    signal.set()
                    return

    @property
    @abstractmethod
    def in_callback(self) -> bool:
        """Whether a callback of the producer calls this."""

    @abstractmethod
    def stop(self) -> None:
        """Send nothing more: the producer is closed."""

    @abstractmethod
    def abandon(self) -> None:
        """The producer is dropped: send what is there. This waits for nothing: the collector may call it anywhere."""

    @abstractmethod
    def tell(self, callbacks: Sequence[Callable[[Any], Any]], report: DeliveryReport, events: int, size: int) -> None:
        """Call these with the report, not in the sender, and then `told`."""

    @abstractmethod
    def reports_wait(self) -> bool:
        """Whether reports are waiting for callbacks that have not returned."""

    @abstractmethod
    def resolve(self, receipt: Any, outcome: str | Exception) -> None:
        """Tell the publisher of one event its ID, or what went wrong."""

    # ---- after a batch ----

    def trims(self) -> Iterator[tuple[str, Retention]]:
        """What is to be trimmed now: Redis keys, and how much each keeps."""
        if not self._targets.kept or not self._untrimmed:
            return
        now = time.monotonic()
        if self._untrimmed < _TRIMMED_EACH and now < self._trimmed_at + _TRIMMED_AFTER:
            return
        self._untrimmed, self._trimmed_at = 0, now
        for retention in list(self._targets.kept.values()):
            for key in retention.after_flush():
                yield key, retention


def _log_failed(report: DeliveryReport) -> None:
    """Log what there is no callback for."""
    if report.refused:
        first = report.refused[0]
        log.error(
            "%d events of a producer were refused, and on_error= is not there to take them; the first one, for stream "
            "%r: %s",
            len(report.refused),
            first.stream,
            first.error,
        )
    for lost in report.given_up:
        log.error(
            "%d events of a producer for Redis pool %r were given up, and on_error= is not there to take them: %s",
            len(lost),
            lost.pool,
            lost.error,
        )
    if report.dropped:
        log.error("%d events of a producer for Redis pool %r were dropped: no room", report.dropped, report.pool)
