"""What a flusher publishes into: one target for each pool, on a cluster one for each Redis key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Generic, TypeVar

from ..flows.partition_count import PartitionCheck
from ..flows.publish.pipeline import BufferFlush
from ..keep import Retention
from ..protocol.interface import CommandBuffer
from ..transport.base import AnyPool
from .routing import StreamRoute

__all__ = ["BufferTarget", "BufferTargets"]

# An eager flusher sends what it has collected in pieces that double: so the server soon has work, and never little.
_FIRST_PIECE = 8 * 1024  # bytes
_LAST_PIECE = 64 * 1024


P = TypeVar("P", bound=AnyPool)


class BufferTarget(Generic[P]):
    """The events that are sent together, because they go to one pool, or on a cluster to one Redis key.

    Args:
        index: its number among the targets of the flusher.
        pool: the pool that the events are sent to.
        key: on a cluster, the only Redis key of the events; empty otherwise.
        eager: whether pieces of the buffer are sent while it is filled.

    Attributes:
        buffer: the events that wait for the next flush.
        begun: the flush of which an eager flusher has pushed pieces; None: there is none yet.
    """

    __slots__ = ("_eager", "begun", "buffer", "index", "key", "pool")

    def __init__(self, index: int, pool: P, key: str, eager: bool) -> None:
        self.index: int = index
        self.pool: P = pool
        self.key: str = key
        self.buffer: CommandBuffer = pool.codec.event_buffer()
        self.begun: BufferFlush | None = None
        self._eager = eager and not key  # the nodes of a cluster are all sent to at the same time, by the flush
        self._await_first_piece()

    def _await_first_piece(self) -> None:
        if self._eager:
            self.buffer.full_at = len(self.buffer) + _FIRST_PIECE

    def next_piece(self) -> BufferFlush:
        """Return the flush to push a piece of, because the buffer is full. It is full again at the next piece."""
        self.buffer.full_at = len(self.buffer) + min(len(self.buffer), _LAST_PIECE)
        if self.begun is None:
            self.begun = self._new_flush()
        return self.begun

    def _new_flush(self) -> BufferFlush:
        return BufferFlush(self.pool.name, self.buffer, self.pool.implementation.Confirmations(0))

    def take(self, spare: CommandBuffer | None) -> BufferFlush:
        """Take all events out, into the memory of `spare` or of a new buffer. Return their flush."""
        flush = self.begun or self._new_flush()
        self.begun = None
        flush.buffer = self.pool.implementation.CommandBuffer() if spare is None else spare
        flush.buffer.swap(self.buffer)
        self._await_first_piece()
        return flush

    def put_back(self, events: CommandBuffer) -> None:
        """Put these events in front of those that wait. `events` is empty afterwards."""
        events.extend(self.buffer)
        self.buffer.clear()
        self.buffer.swap(events)
        self._await_first_piece()

    def clear(self) -> None:
        """Drop all events."""
        self.buffer.clear()
        self.begun = None
        self._await_first_piece()

    def free_memory(self) -> None:
        """Free the memory of the buffer, which is empty."""
        self.buffer.swap(self.pool.implementation.CommandBuffer())


class BufferTargets(Generic[P]):
    """The targets of a flusher. Each is made when the first event is published to it.

    Args:
        routes: the route of every registered stream.
        eager: as for `BufferTarget`.

    Attributes:
        unchecked: the check of every stream that was published to, and whose number of partitions is still to be
            compared.
        kept: what is to be trimmed after a flush, for every stream that was published to and keeps events.
        lanes: of packed Redis keys: for each the index of the target that its entries go to.
    """

    def __init__(self, routes: Mapping[str, StreamRoute[P]], eager: bool) -> None:
        self.unchecked: dict[str, PartitionCheck] = {}
        self.kept: dict[str, Retention] = {}
        self._routes = dict(routes)
        self._eager = eager
        self._opened: dict[int, BufferTarget[P]] = {}
        self._by_key: dict[tuple[str, str], BufferTarget[P]] = {}
        self._indexes = count()
        self.lanes: dict[int, int] = {}
        self._of_stream: dict[str, set[int]] = {}  # the indexes of the targets of each stream that was unchecked

    def __getitem__(self, index: int) -> BufferTarget[P]:
        return self._opened[index]

    def __iter__(self) -> Iterator[BufferTarget[P]]:
        """Iterate over the targets that were opened."""
        return iter(list(self._opened.values()))

    def open(self, stream: str, partition: int) -> tuple[int, int, CommandBuffer]:
        """Open the target of one partition. As `open_target` of `EventWriter`."""
        route = self._routes[stream]
        key = route.pool.buffer_of(route.heads[partition].stream)
        target = self._by_key.get((route.pool.name, key))
        if target is None:
            new = BufferTarget(next(self._indexes), route.pool, key, self._eager)
            self._opened[new.index] = new  # first: an interruption must not leave a target that is not there
            target = self._by_key.setdefault((route.pool.name, key), new)
            self._opened[target.index] = target
        if route.check is not None and route.check.due:
            self.unchecked[stream] = route.check
            self._of_stream.setdefault(stream, set()).add(target.index)
        if route.retention is not None:
            self.kept[stream] = route.retention
        lane = target.index
        if route.heads[partition].packing is not None:
            lane = next(self._indexes)
            self.lanes[lane] = target.index
        return lane, target.index, target.buffer

    # ---- streams whose number of partitions was not compared ----

    def pool_of(self, stream: str) -> P:
        """Return the pool of a registered stream."""
        return self._routes[stream].pool

    def indexes_of(self, stream: str) -> set[int]:
        """Return the indexes of the targets of a stream in `unchecked`."""
        return self._of_stream[stream]

    def has_events_of(self, stream: str) -> bool:
        """Whether events of a stream in `unchecked` wait."""
        buffers = [self._opened[index].buffer for index in self._of_stream[stream]]
        keys = {head.stream for head in self._routes[stream].heads}
        return any(key in keys for buffer in buffers for key in buffer.keys(range(buffer.command_count)))

    def may_be_pushed(self, index: int) -> bool:
        """Whether the number of partitions was compared of every stream that was published to this target."""
        return not any(check.due and index in self._of_stream[stream] for stream, check in self.unchecked.items())
