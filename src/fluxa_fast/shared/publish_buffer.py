"""The events that wait in a flusher."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Generic, NamedTuple

from .. import protocol
from ..errors import FluxaError, SerializationError
from ..flows.publish.outcome import FlushAccount, FlushResult, Order, order_without
from ..flows.publish.pipeline import BufferFlush
from ..hooks import FlushReport, Hooks
from ..protocol.checks import check_bodies
from ..protocol.hashing import Key
from ..protocol.interface import CommandBuffer, EventWriter
from .buffer_targets import BufferTarget, BufferTargets, P
from .routing import StreamRoute
from .unflushed import loss_message, watch

__all__ = ["PublishBuffer", "PublishManyCall"]


class PublishBuffer(Generic[P]):
    """The events that wait in a flusher, and the order in which they were published.

    A flush takes all events (`begin`), and puts back those that were not confirmed (`settle`), in front of the events
    that were published meanwhile. It touches only the targets that have events.

    A forked child begins with an empty buffer, because the parent flushes the events that were collected before. Events
    that are never flushed are told by a ResourceWarning.

    Args:
        routes: the route of every registered stream.
        on_full: is called with the index of a target when there is a piece to push; None: the flusher is not eager.
        hooks: that are told of each flush; None: there are none.

    Attributes:
        targets: the targets that were published to.
        writer: publishes into the buffers of the targets.
        links: the link of every target to which an eager flusher has pushed a piece, by the target's index.
        given_up: the number of events that an exception has left in a ``with`` block: their loss is not warned of.
    """

    def __init__(
        self,
        routes: Mapping[str, StreamRoute[P]],
        on_full: Callable[[int], object] | None,
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks
        self._began = 0.0  # when the flush in progress began, by `time.perf_counter`; its bytes are counted then, too
        self._bytes = 0
        self._eager = on_full is not None
        self.targets: BufferTargets[P] = BufferTargets(routes, self._eager)
        self._packed = {stream for stream, route in routes.items() if route.heads[0].packing is not None}
        heads = {stream: route.heads for stream, route in routes.items()}
        self.writer: EventWriter = protocol.default.EventWriter(heads, self.targets.open, on_full)
        self.links: dict[int, Any] = {}
        self.given_up: int = 0
        self._order: Order = ()  # of the events that the flush in progress has taken
        self._refused: dict[int, list[int]] = {}  # by the last flush: places in the buffers, by the targets' indexes
        self._spares: dict[int, CommandBuffer] = {}  # the empty buffers of the last flush
        self._call: PublishManyCall | None = None  # that is in progress
        self._torn = False  # another thread was writing into a buffer when the process forked
        watch(self)

    # ---- the events that wait ----

    @property
    def count(self) -> int:
        """The number of events."""
        return self.writer.count

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.writer.open_size + sum([len(self.targets[index].buffer) for index in self.writer.filled])

    def packs(self, stream: str) -> bool:
        """Whether events of a stream are packed. False for a stream that is not registered."""
        return stream in self._packed

    def close_entries(self) -> None:
        """Write what waits for more events of its entry into the buffers of the targets.

        Raises:
            SerializationError: if an event is being written.
        """
        self.writer.close_entries()

    def full(self) -> list[int]:
        """Return the indexes of the targets that have a piece to push."""
        buffers = [(index, self.targets[index].buffer) for index in self.writer.filled]
        return [index for index, buffer in buffers if len(buffer) >= buffer.full_at]

    @contextmanager
    def all_or_nothing(
        self, stream: str, bodies: Iterable[object], key: Key | None, first_part: int
    ) -> Iterator[PublishManyCall]:
        """A call of `publish_many` that publishes in parts. Other events may be published in between.

        Args:
            stream, bodies, key: of the call.
            first_part: how many bodies the first part has at most.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if `key` is of a type that is no partition key.
            TypeError: for one body.
            ValueError: for a key, if the stream has no partitions.
        """
        index = self.writer.index(stream, key)
        check_bodies(bodies)
        buffer = self.targets[index].buffer
        in_parts = not isinstance(bodies, Sized) or len(bodies) >= first_part
        if in_parts:  # else the writer publishes all of them, or nothing
            self.writer.close_entry(stream, key)
        before = _Savepoint(self.writer.order, self.count, buffer.command_count, len(buffer))
        call = self._call = PublishManyCall(self.writer, stream, buffer, key, in_parts=in_parts)
        try:
            yield call
        except BaseException:
            if not call.count:
                pass
            elif self.count == before.events + call.count:  # nothing else was published
                buffer.truncate(before.commands, before.size)
                self.writer.restart(before.order)
            else:
                self._take_out(index, chain.from_iterable(call.places))
            raise
        finally:
            self._call = None

    def _take_out(self, index: int, places: Iterable[int]) -> None:
        """Drop the commands at these places of one buffer."""
        self.writer.close_entries()
        buffer = self.targets[index].buffer
        gone = set(places)
        order = order_without(self.writer.order, index, gone, buffer, self.targets.lanes)
        buffer.keep(one for one in range(buffer.command_count) if one not in gone)
        self.writer.restart(order)

    def _check_no_call(self) -> None:
        if self._call is not None:
            raise FluxaError("another task is in publish_many() of this flusher, which is all or nothing")

    def clear(self) -> int:
        """Drop all events. Return how many there were."""
        self._check_no_call()
        dropped = self.count
        self._drop_all()
        return dropped

    def _drop_all(self) -> None:
        self.writer.close_entries()
        for target in self.targets:
            target.clear()
        self._refused = {}
        self.given_up = 0
        self.writer.restart(())

    def discard_refused(self) -> int:
        """Drop the events that the server has refused in the last flush. Return how many there were."""
        self._check_no_call()
        refused, self._refused = self._refused, {}
        before = self.count
        for index, places in refused.items():
            self._take_out(index, places)
        return before - self.count

    # ---- flushing ----

    def begin(self, errors: Mapping[str, Exception]) -> dict[int, BufferFlush]:
        """Take all events. What is published from now on waits for the next flush.

        Args:
            errors: of streams whose numbers of partitions could not be compared. Their events are not sent.

        Returns:
            The flush of every target that has events, by the target's index.

        Raises:
            FluxaError: if another thread was writing when the process forked.
            SerializationError: if an event is being written; all events stay.
        """
        if self._torn:
            raise FluxaError("another thread used this flusher when the process forked; make a new one in the child")
        self.writer.check_idle()
        if self._packed:
            self.writer.close_entries()
        if self._hooks is not None:
            self._began, self._bytes = time.perf_counter(), self.size
        self.given_up = 0
        self._refused = {}
        self._order = self.writer.order
        flushing = {index: self.targets[index].take(self._spares.pop(index, None)) for index in self.writer.filled}
        self._free_spares()
        self.writer.restart(())
        for stream, error in errors.items():
            for index in self.targets.indexes_of(stream) & flushing.keys():
                flushing[index].error = flushing[index].error or error
                flushing[index].held_back = True
        return flushing

    def begin_alone(self) -> tuple[BufferTarget[P], BufferFlush] | None:
        """As `begin`, if all events go to one buffer of one server, and nothing has to be done before or after it.

        Returns:
            The target and its flush. None: nothing was begun.
        """
        if self._hooks is not None or self._packed or self._torn or self._eager:
            return None
        filled = self.writer.filled
        if len(filled) != 1:
            return None
        target = self.targets[filled[0]]
        if target.key or self.targets.unchecked or self.targets.kept:
            return None
        self.writer.check_idle()
        self.given_up = 0
        self._refused = {}
        self._order = self.writer.order
        flush = target.take(self._spares.pop(target.index, None))
        if self._spares:
            self._free_spares()
        self.writer.restart(())
        return target, flush

    def settle_alone(self, target: BufferTarget[P], flush: BufferFlush) -> FlushResult:
        """As `settle`, for a flush of `begin_alone`."""
        if not flush.complete:
            return self.settle({target.index: flush})
        buffer = flush.buffer
        buffer.clear()
        self._spares[target.index] = buffer
        return FlushResult(self._order, {target.index: flush.replies_so_far})

    def _free_spares(self) -> None:
        """Free the memory of targets that had events in the flush before this one, and have none now."""
        for index in self._spares:
            self.targets[index].free_memory()
        self._spares = {}

    def by_pool(self, flushing: Mapping[int, BufferFlush]) -> list[tuple[int, P, list[tuple[str, BufferFlush]]]]:
        """Return what is to be sent to each pool: the index of its first target, the pool, and (key, flush) of each."""
        found: dict[str, tuple[int, P, list[tuple[str, BufferFlush]]]] = {}
        for index, flush in flushing.items():
            if not flush.held_back:
                target = self.targets[index]
                found.setdefault(flush.pool, (index, target.pool, []))[2].append((target.key, flush))
        return list(found.values())

    def settle(self, flushing: Mapping[int, BufferFlush]) -> FlushResult:
        """Account for every event. After a complete flush the caller empties the buffers, and calls `recycle`.

        Raises:
            FlushError: unless all events were confirmed. The others wait again.
        """
        account = FlushAccount(self._order, flushing, self.targets.lanes)
        if account.complete:
            if self._hooks is not None:
                self._report(len(account.result), 0, 0)
            return account.result
        error = account.error()
        self._report(len(account.result), len(error.refused), sum(len(one.positions) for one in error.unconfirmed))
        unsettled = account.keep_unsettled()
        order = [*unsettled.order, *self.writer.order]
        for index, flush in flushing.items():
            self.targets[index].put_back(flush.buffer)
        self._refused = unsettled.refused
        self.writer.restart(order)
        self.recycle(flushing)
        raise error

    def _report(self, confirmed: int, refused: int, unconfirmed: int) -> None:
        if self._hooks is not None:
            seconds = time.perf_counter() - self._began
            self._hooks.on_flush(FlushReport(confirmed, refused, unconfirmed, self._bytes, seconds))

    def recycle(self, flushing: Mapping[int, BufferFlush]) -> None:
        """Keep the buffers of a flush for the next one."""
        for index, flush in flushing.items():
            flush.buffer.clear()
            self._spares[index] = flush.buffer

    # ---- what is never flushed ----

    def forget(self) -> None:
        """Drop the events that were collected before this process was forked: the parent flushes them."""
        self._call = None
        self.links.clear()
        self._spares = {}
        try:
            self._drop_all()
        except (BufferError, SerializationError):
            self._torn = True

    def warn(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """Warn of events that are about to be lost."""
        count = self.count
        if not self._torn and count > self.given_up:
            self.given_up = count  # it is told once
            with suppress(SerializationError, BufferError):  # an event is being written: it is not counted
                self.writer.close_entries()
            buffers = [target.buffer for target in self.targets]
            _warn(loss_message(buffers, count, eager=self._eager), ResourceWarning, source=self)

    def __del__(self) -> None:
        if hasattr(self, "_torn"):  # it was made to the end
            self.warn()


class _Savepoint(NamedTuple):
    """The state before a call of `publish_many`, which is restored if the call fails.

    Attributes:
        order: the order of publishing.
        events: the number of events in all buffers.
        commands: the number of events in the buffer of the call.
        size: the number of bytes in that buffer.
    """

    order: Order
    events: int
    commands: int
    size: int


class PublishManyCall:
    """A call of `publish_many` that publishes its bodies in parts.

    Attributes:
        places: the places of its events in the buffer.
        count: the number of its events.
    """

    def __init__(
        self, writer: EventWriter, stream: str, buffer: CommandBuffer, key: Key | None, *, in_parts: bool
    ) -> None:
        self.places: list[range] = []
        self.count: int = 0
        self._writer = writer
        self._stream = stream
        self._buffer = buffer
        self._key = key
        self._in_parts = in_parts

    def publish_many(self, bodies: Iterable[object], tags: Mapping[str, str] | None) -> int:
        """Publish the next part. Return how many events it has. It shares no entry with events of other calls."""
        if self._in_parts:
            self._writer.close_entry(self._stream, self._key)
        begin = self._buffer.command_count
        count = self._writer.publish_many(self._stream, bodies, tags, self.count, self._key)
        if self._in_parts:
            self._writer.close_entry(self._stream, self._key)
        self.places.append(range(begin, self._buffer.command_count))
        self.count += count
        return count
