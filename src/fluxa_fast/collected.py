"""The events that wait in a flusher, for both kinds of flushers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from . import protocol
from .flows.account import FlushAccount, FlushResult
from .flows.publish import PoolFlush
from .protocol.commands import EntryHead
from .protocol.interface import Default, Implementation

__all__ = ["Collected", "pools_in_use"]

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
        self._refused = [0] * len(pools)  # by the last flush: so many events at the beginning of each buffer
        self._eager = on_full is not None
        routes = {stream: (head, indexes[pool.name]) for stream, (head, pool) in heads.items()}
        self.writer = protocol.default.EventWriter(routes, self._buffers, on_full)
        self._order: list[tuple[int, int]] = []  # of what the flush that is under way has taken
        self._restart(())

    def _restart(self, order: Sequence[tuple[int, int]]) -> None:
        """Prepare the next flush. `order` is that of the events that wait for it."""
        self.writer.restart(order)
        self.flushes = [
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

    def clear(self) -> int:
        """Drop everything. Returns how many events there were."""
        dropped = self.count
        for buffer in self._buffers:
            buffer.clear()
        self._refused = [0] * len(self._buffers)
        self._restart(())
        return dropped

    def discard_refused(self) -> int:
        """Drop what the last flush was refused. Returns how many events there were."""
        dropped = sum(self._refused)
        left, self._refused = self._refused, [0] * len(self._buffers)
        order = []
        for buffer, refused in zip(self._buffers, left, strict=True):
            buffer.keep(range(refused, buffer.commands))
        for index, count in self.writer.order:
            gone = min(left[index], count)
            left[index] -= gone
            if count > gone:
                order.append((index, count - gone))
        self.writer.restart(order)
        return dropped

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
        self._refused = [0] * len(self._buffers)
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
        order = account.keep_unsettled() + self.writer.order
        for buffer, sent in zip(self._buffers, self._sent, strict=True):
            sent.extend(buffer)
            buffer.clear()
            buffer.swap(sent)
        # What stays is what was refused, and behind it what has no reply.
        self._refused = [len(flush.replies.errors) for flush in flushing]
        self._restart(order)
        raise error


def pools_in_use(pools: Mapping[str, P], heads: Mapping[str, tuple[EntryHead, P]]) -> list[P]:
    """The pools that have streams."""
    with_streams = {pool.name for _, pool in heads.values()}
    return [pool for name, pool in pools.items() if name in with_streams]
