"""The events that wait in a flusher, for both kinds of flushers."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from .. import protocol
from ..errors import FluxaError, SerializationError
from ..flows.partition_count import PartitionCheck
from ..flows.publish.outcome import FlushAccount, FlushResult, Order
from ..flows.publish.pipeline import BufferFlush, Replication
from ..partitions import partitions_with
from ..protocol.commands import EntryHead
from ..protocol.conversions import check_bodies
from ..protocol.hashing import Key
from ..protocol.interface import CommandBuffer, Default, EventWriter, Implementation
from .routing import StreamRoute
from .validation import Duration, positive_int, seconds

__all__ = ["AnyPool", "PublishBuffer", "replication_to"]

# An eager flusher sends what it has collected in pieces that double: so the server soon has work, and never little.
_FIRST_PIECE = 8 * 1024  # bytes
_LAST_PIECE = 64 * 1024

_NAMED = 10_000  # events that a warning looks at: to look at a million takes half a second


class AnyPool(Protocol):
    """What a flusher has to know of a pool."""

    name: str
    implementation: Implementation
    default: Default | None

    def buffer_of(self, key: str) -> str: ...


P = TypeVar("P", bound=AnyPool)


class Lane(NamedTuple, Generic[P]):
    """What a buffer is for.

    Attributes:
        pool: that it is sent to.
        key: in a cluster, the only one that it has events for.
    """

    pool: P
    key: str


class PublishBuffer(Generic[P]):
    """One buffer for each pool that has streams (on a cluster, for each key), and the order of publishing across them.

    A flush takes everything that waits (`begin`), and puts back what was not confirmed (`settle`), in front of what
    was published meanwhile.

    A forked child begins with nothing: what was collected before the fork is flushed by the parent. What is never
    flushed is told by a ResourceWarning, when the flusher is dropped or the interpreter ends.

    Attributes:
        lanes: what each buffer is for.
        writer: publishes into the buffers.
        flushes: of what waits, for each buffer; begun before `begin` only by an eager flusher.
        links: of the lanes where an eager flusher has begun, by their indexes.
        given_up: events that an exception has left in a ``with`` block: nobody expects these to be sent.
        unchecked: streams that are published to, and whose number of partitions was not compared before.
    """

    def __init__(self, destinations: Mapping[str, StreamRoute[P]], on_full: Callable[[int], object] | None) -> None:
        indexes: dict[tuple[str, str], int] = {}
        self.lanes: list[Lane[P]] = []
        routes: dict[str, list[tuple[EntryHead, int]]] = {}
        for stream, destination in destinations.items():
            routes[stream] = []
            for head in destination.heads:
                lane = Lane(destination.pool, destination.pool.buffer_of(head.stream))
                index = indexes.setdefault((lane.pool.name, lane.key), len(self.lanes))
                if index == len(self.lanes):
                    self.lanes.append(lane)
                routes[stream].append((head, index))
        self._buffers = [pool.implementation.CommandBuffer(pool.default) for pool, _ in self.lanes]
        self._sent = self._empty_buffers()  # by the flush that is under way
        self._refused: list[list[int]] = [[] for _ in self.lanes]  # by the last flush: places in each buffer
        self._eager = on_full is not None
        self._call: _Call | None = None  # of publish_many, that is under way
        checks = {
            stream: destination.check
            for stream, destination in destinations.items()
            if destination.check is not None and destination.check.due
        }
        self._indexes = {stream: {index for _, index in routes[stream]} for stream in checks}
        unchecked: dict[str, PartitionCheck] = {}
        self.unchecked: dict[str, PartitionCheck] = unchecked

        def used(stream: str) -> None:  # without `self`, which would be in a cycle
            unchecked[stream] = checks[stream]

        on_first = dict.fromkeys(checks, used)
        self.writer: EventWriter = protocol.default.EventWriter(routes, self._buffers, on_full, on_first)
        self._order: Order = ()  # of what the flush that is under way has taken
        self.links: dict[int, Any] = {}
        self.given_up: int = 0
        self._torn = False  # another thread was writing into it when the process forked
        self._restart(())
        _alive.add(weakref.ref(self, _alive.discard))

    def _empty_buffers(self) -> list[CommandBuffer]:
        return [pool.implementation.CommandBuffer() for pool, _ in self.lanes]

    def _restart(self, order: Order) -> None:
        """Prepare the next flush. `order` is that of the events that wait for it."""
        self.writer.restart(order)
        self.flushes: list[BufferFlush] = [
            BufferFlush(lane.pool.name, buffer, lane.pool.implementation.Confirmations(0))
            for lane, buffer in zip(self.lanes, self._buffers, strict=True)
        ]
        if self._eager:
            for lane, buffer in zip(self.lanes, self._buffers, strict=True):
                if not lane.key:  # a cluster's nodes are all sent to at the same time, by the flush
                    buffer.full_at = len(buffer) + _FIRST_PIECE

    # ---- what waits ----

    @property
    def count(self) -> int:
        """Events."""
        return sum(buffer.command_count for buffer in self._buffers)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self._buffers))

    def next_piece(self, index: int) -> BufferFlush:
        """A buffer is full, and its flush is to be pushed. It is full again when there is another piece."""
        buffer = self._buffers[index]
        buffer.full_at = len(buffer) + min(len(buffer), _LAST_PIECE)
        return self.flushes[index]

    def full(self) -> list[int]:
        """The indexes of the buffers that are full."""
        return [index for index, buffer in enumerate(self._buffers) if len(buffer) >= buffer.full_at]

    @contextmanager
    def all_or_nothing(self, stream: str, bodies: Iterable[object], key: Key | None) -> Iterator[_Call]:
        """A call of `publish_many` that is done in parts. Other events may be published in between.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: for what is no key.
            TypeError: for one body.
            ValueError: for a key, if the stream has no partitions.
        """
        index = self.writer.index(stream, key)
        check_bodies(bodies)
        before = _Mark(self.writer.order, self.count, self._buffers[index].command_count, len(self._buffers[index]))
        call = self._call = _Call(self.writer, stream, self._buffers[index], key)
        try:
            yield call
        except BaseException:
            if self.count == before.events + call.count:  # nothing else was published
                self._buffers[index].truncate(before.commands, before.size)
                self.writer.restart(before.order)
            else:
                self._take_out(index, chain.from_iterable(call.places))
            raise
        finally:
            self._call = None

    def _take_out(self, index: int, places: Iterable[int]) -> None:
        """Drop the events at these places of one buffer."""
        gone = set(places)
        order = []
        place = 0
        for run_index, count in self.writer.order:
            left = count
            if run_index == index:
                left = sum(one not in gone for one in range(place, place + count))
                place += count
            if left:
                order.append((run_index, left))
        buffer = self._buffers[index]
        buffer.keep(one for one in range(buffer.command_count) if one not in gone)
        self.writer.restart(order)

    def _check_no_call(self) -> None:
        if self._call is not None:
            raise FluxaError("another task is in publish_many() of this flusher, which is all or nothing")

    def clear(self) -> int:
        """Drop everything. Returns how many events there were."""
        self._check_no_call()
        dropped = self.count
        self._drop_all()
        return dropped

    def _drop_all(self) -> None:
        for buffer in self._buffers:
            buffer.clear()
        self._refused = [[] for _ in self._buffers]
        self.given_up = 0
        self._restart(())

    def discard_refused(self) -> int:
        """Drop what the last flush was refused. Returns how many events there were."""
        self._check_no_call()
        refused, self._refused = self._refused, [[] for _ in self._buffers]
        for index, places in enumerate(refused):
            if places:
                self._take_out(index, places)
        return sum(map(len, refused))

    # ---- flushing ----

    def begin(self) -> list[BufferFlush]:
        """Take everything that waits. What is published from now on waits for the next flush."""
        if self._torn:
            raise FluxaError("another thread used this flusher when the process forked; make a new one in the child")
        for buffer in self._buffers:
            buffer.view().release()  # raises if a body that is being written asked for the flush: then all stays
        flushing = self.flushes
        self.given_up = 0
        self._order = self.writer.order
        for flush, sent in zip(flushing, self._sent, strict=True):
            flush.buffer.swap(sent)
            flush.buffer = sent
        self._refused = [[] for _ in self._buffers]
        self._restart(())
        return flushing

    def has_events_of(self, stream: str) -> bool:
        """Whether events of one of the streams in `unchecked` wait."""
        buffers = [self._buffers[index] for index in self._indexes[stream]]
        keys = {key for buffer in buffers for key in buffer.keys(range(buffer.command_count))}
        return any((found := partitions_with(key)) is not None and found[0] == stream for key in keys)

    def may_be_pushed(self, index: int) -> bool:
        """Whether the numbers of partitions of all streams were compared that have events in this buffer."""
        return not any(check.due and index in self._indexes[stream] for stream, check in self.unchecked.items())

    def untried(self, tried: set[str]) -> list[tuple[str, P, PartitionCheck]]:
        """Streams in `unchecked`, their pools and checks, without those that were tried; these are noted as tried."""
        found = []
        for stream, check in self.unchecked.items():
            if stream not in tried:
                found.append((stream, self.lanes[min(self._indexes[stream])].pool, check))
        tried.update(stream for stream, _, _ in found)
        return found

    def hold_back(self, flushing: Sequence[BufferFlush], errors: Mapping[str, Exception]) -> None:
        """Send nothing of the buffers of these streams, whose numbers of partitions could not be compared."""
        for stream, error in errors.items():
            for index in self._indexes[stream]:
                flushing[index].error = flushing[index].error or error
                flushing[index].held_back = True

    def by_pool(self, flushing: Sequence[BufferFlush]) -> list[tuple[int, P, list[tuple[str, BufferFlush]]]]:
        """What is to be sent to each pool: the index of its first buffer, the pool, and (key, flush) of each buffer."""
        found: dict[str, tuple[int, P, list[tuple[str, BufferFlush]]]] = {}
        for index, (lane, flush) in enumerate(zip(self.lanes, flushing, strict=True)):
            if (flush.buffer.command_count or flush.error is not None) and not flush.held_back:
                found.setdefault(lane.pool.name, (index, lane.pool, []))[2].append((lane.key, flush))
        return list(found.values())

    def settle(self, flushing: Sequence[BufferFlush]) -> FlushResult:
        """Say what became of the events. The buffers of a flush that is complete are left for the caller to clear.

        Raises:
            FlushError: unless all events were confirmed. The others wait again.
        """
        account = FlushAccount(self._order, flushing)
        if account.complete:
            return account.result
        error = account.error()
        kept = account.keep_unsettled()
        order = [*kept.order, *self.writer.order]
        for buffer, sent in zip(self._buffers, self._sent, strict=True):
            sent.extend(buffer)
            buffer.clear()
            buffer.swap(sent)
        self._refused = kept.refused
        self._restart(order)
        raise error

    # ---- what is never flushed ----

    def forget(self) -> None:
        """This is a forked child: drop what was collected before, because the parent flushes it."""
        self._call = None
        self.links.clear()
        self._sent = self._empty_buffers()  # a thread that is not there any more may have been sending the former
        try:
            self._drop_all()
        except (BufferError, SerializationError):
            self._torn = True

    def warn(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """Tell of events that are about to be lost."""
        count = self.count
        if not self._torn and count > self.given_up:
            self.given_up = count  # it is told once
            _warn(self._loss(count), ResourceWarning, source=self)

    def _loss(self, count: int) -> str:
        """What is said about them."""
        streams: Counter[str] = Counter()
        left = _NAMED
        for buffer in self._buffers:
            keys = buffer.keys(range(min(left, buffer.command_count)))
            streams.update(found[0] if (found := partitions_with(key)) else key for key in keys)
            left -= len(keys)
        if count > _NAMED:
            named = f"the first {_NAMED} are for {', '.join(map(repr, streams))}"
        else:
            named = ", ".join(f"{number} for stream {stream!r}" for stream, number in streams.items())
        events = "1 event that was" if count == 1 else f"{count} events that were"
        sent = "; the server may have some of them, as the flusher is eager" if self._eager else ""
        return (
            f"a flusher was dropped with {events} not flushed: {named}{sent}; "
            "call flush() to send what was collected, or clear() if it is not to be sent"
        )

    def __del__(self) -> None:
        if hasattr(self, "_torn"):  # it was made to the end
            self.warn()


_alive: set[weakref.ref[PublishBuffer[Any]]] = set()
"""All that there are. (A set of references can be copied while other threads change it; a WeakSet can't.)"""


def _forget_all() -> None:
    for reference in list(_alive):
        if (collected := reference()) is not None:
            collected.forget()


def _warn_at_the_end() -> None:
    """Warn while everything is still there. `__del__` may come too late for that, or never (of daemon threads)."""
    for reference in list(_alive):
        if (collected := reference()) is not None:
            collected.warn()


atexit.register(_warn_at_the_end)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)


class _Mark(NamedTuple):
    """What was there before a call."""

    order: Order
    events: int
    commands: int
    size: int


class _Call:
    """Publishes the bodies of one call in parts.

    Attributes:
        places: of its events in the buffer.
        count: of its events.
    """

    def __init__(self, writer: EventWriter, stream: str, buffer: CommandBuffer, key: Key | None) -> None:
        self._key = key
        self._writer = writer
        self._stream = stream
        self._buffer = buffer
        self.places: list[range] = []
        self.count = 0

    def publish_many(self, bodies: Iterable[object], tags: Mapping[str, str] | None) -> int:
        """Publish the next part. Returns how many events it has."""
        begin = self._buffer.command_count
        count = self._writer.publish_many(self._stream, bodies, tags, self.count, self._key)
        self.places.append(range(begin, begin + count))
        self.count += count
        return count


def replication_to(replicas: int, timeout: Duration) -> Replication | None:
    """What a flush asks for, as `flush` is given it.

    Raises:
        TypeError, ValueError: if it can't be.
    """
    waited = seconds("timeout", timeout)
    return Replication(positive_int(replicas, "replicas"), waited) if replicas != 0 else None
