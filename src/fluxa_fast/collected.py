"""The events that wait in a flusher, for both kinds of flushers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

from . import protocol
from .durations import Duration, checked_count, seconds
from .errors import FluxaError, UnregisteredStreamError
from .flows.account import FlushAccount, FlushResult
from .flows.publish import PoolFlush, Replication
from .protocol.commands import EntryHead
from .protocol.interface import CommandBuffer, Default, EventWriter, Implementation

__all__ = ["Collected", "pools_in_use", "replication_to"]

# An eager flusher sends what it has collected in pieces that double: so the server soon has work, and never little.
_FIRST_PIECE = 8 * 1024  # bytes
_LAST_PIECE = 64 * 1024


class AnyPool(Protocol):
    """What a flusher has to know of a pool."""

    name: str
    implementation: Implementation
    default: Default | None


P = TypeVar("P", bound=AnyPool)


class Collected:
    """One buffer for each pool that has streams, and the order of publishing across them.

    A flush takes everything that waits (`begin`), and puts back what was not confirmed (`settle`), in front of what
    was published meanwhile.

    Attributes:
        writer: publishes into the buffers.
        flushes: of what waits, for each pool; begun before `begin` only by an eager flusher.
    """

    def __init__(
        self,
        pools: Sequence[AnyPool],
        heads: Mapping[str, tuple[EntryHead, AnyPool]],
        on_full: Callable[[int], object] | None,
    ) -> None:
        indexes = {pool.name: index for index, pool in enumerate(pools)}
        self._pools = pools
        self._buffers = [pool.implementation.CommandBuffer(pool.default) for pool in pools]
        self._sent = [pool.implementation.CommandBuffer() for pool in pools]  # by the flush that is under way
        self._refused: list[list[int]] = [[] for _ in pools]  # by the last flush: places in each buffer
        self._eager = on_full is not None
        self._call: _Call | None = None  # of publish_many, that is under way
        self._indexes = {stream: indexes[pool.name] for stream, (_, pool) in heads.items()}
        routes = {stream: (head, indexes[pool.name]) for stream, (head, pool) in heads.items()}
        self.writer: EventWriter = protocol.default.EventWriter(routes, self._buffers, on_full)
        self._order: list[tuple[int, int]] = []  # of what the flush that is under way has taken
        self._restart(())

    def _restart(self, order: Sequence[tuple[int, int]]) -> None:
        """Prepare the next flush. `order` is that of the events that wait for it."""
        self.writer.restart(order)
        self.flushes: list[PoolFlush] = [
            PoolFlush(pool.name, buffer, pool.implementation.Confirmations(0))
            for pool, buffer in zip(self._pools, self._buffers, strict=True)
        ]
        if self._eager:
            for buffer in self._buffers:
                buffer.full_at = len(buffer) + _FIRST_PIECE

    # ---- what waits ----

    @property
    def count(self) -> int:
        """Events."""
        return sum(buffer.commands for buffer in self._buffers)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self._buffers))

    def next_piece(self, index: int) -> PoolFlush:
        """A buffer is full, and its flush is to be pushed. It is full again when there is another piece."""
        buffer = self._buffers[index]
        buffer.full_at = len(buffer) + min(len(buffer), _LAST_PIECE)
        return self.flushes[index]

    def full(self) -> list[int]:
        """The indexes of the buffers that are full."""
        return [index for index, buffer in enumerate(self._buffers) if len(buffer) >= buffer.full_at]

    @contextmanager
    def all_or_nothing(self, stream: str) -> Iterator[_Call]:
        """A call of `publish_many` that is done in parts. Other events may be published in between.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
        """
        try:
            index = self._indexes[stream]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None
        before = _Mark(self.writer.order, self.count, self._buffers[index].commands, len(self._buffers[index]))
        call = self._call = _Call(self.writer, stream, self._buffers[index])
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
        buffer.keep(one for one in range(buffer.commands) if one not in gone)
        self.writer.restart(order)

    def _check_no_call(self) -> None:
        if self._call is not None:
            raise FluxaError("another task is in publish_many() of this flusher, which is all or nothing")

    def clear(self) -> int:
        """Drop everything. Returns how many events there were."""
        self._check_no_call()
        dropped = self.count
        for buffer in self._buffers:
            buffer.clear()
        self._refused = [[] for _ in self._buffers]
        self._restart(())
        return dropped

    def discard_refused(self) -> int:
        """Drop what the last flush was refused. Returns how many events there were."""
        self._check_no_call()
        refused, self._refused = self._refused, [[] for _ in self._buffers]
        for index, places in enumerate(refused):
            if places:
                self._take_out(index, places)
        return sum(map(len, refused))

    # ---- flushing ----

    def begin(self) -> list[PoolFlush]:
        """Take everything that waits. What is published from now on waits for the next flush."""
        for buffer in self._buffers:
            buffer.view().release()  # raises if a body that is being written asked for the flush: then all stays
        flushing = self.flushes
        self._order = self.writer.order
        for flush, sent in zip(flushing, self._sent, strict=True):
            flush.buffer.swap(sent)
            flush.buffer = sent
        self._refused = [[] for _ in self._buffers]
        self._restart(())
        return flushing

    def settle(self, flushing: Sequence[PoolFlush]) -> FlushResult:
        """Say what became of the events. The buffers of a flush that is complete are left for the caller to clear.

        Raises:
            FlushError: unless all events were confirmed. The others wait again.
        """
        account = FlushAccount(self._order, flushing)
        if account.complete:
            return account.result
        error = account.error()
        kept = account.keep_unsettled()
        order = kept.order + self.writer.order
        for buffer, sent in zip(self._buffers, self._sent, strict=True):
            sent.extend(buffer)
            buffer.clear()
            buffer.swap(sent)
        self._refused = kept.refused
        self._restart(order)
        raise error


class _Mark(NamedTuple):
    """What was there before a call."""

    order: list[tuple[int, int]]
    events: int
    commands: int
    size: int


class _Call:
    """Publishes the bodies of one call in parts.

    Attributes:
        places: of its events in the buffer.
        count: of its events.
    """

    def __init__(self, writer: EventWriter, stream: str, buffer: CommandBuffer) -> None:
        self._writer = writer
        self._stream = stream
        self._buffer = buffer
        self.places: list[range] = []
        self.count = 0

    def publish_many(self, bodies: Iterable[object], tags: Mapping[str, str] | None) -> int:
        """Publish the next part. Returns how many events it has."""
        begin = self._buffer.commands
        count = self._writer.publish_many(self._stream, bodies, tags, self.count)
        self.places.append(range(begin, begin + count))
        self.count += count
        return count


def pools_in_use(pools: Mapping[str, P], heads: Mapping[str, tuple[EntryHead, P]]) -> list[P]:
    """The pools that have streams."""
    with_streams = {pool.name for _, pool in heads.values()}
    return [pool for name, pool in pools.items() if name in with_streams]


def replication_to(replicas: int, timeout: Duration) -> Replication | None:
    """What a flush asks for, as `flush` is given it.

    Raises:
        TypeError, ValueError: if it can't be.
    """
    waited = seconds("timeout", timeout)
    return Replication(checked_count(replicas, "replicas"), waited) if replicas != 0 else None
