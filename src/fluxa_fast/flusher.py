"""`EventFlusher`: collects events, and sends them in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from . import protocol
from .errors import FlushError, FluxaError
from .flows.publish import FlushResult, PoolFlush, retain, settle_flush
from .protocol.commands import EntryHead
from .protocol.interface import CommandBuffer
from .transport.sync import Link, Pool, drive

__all__ = ["EventFlusher"]


# An eager flusher sends what it has collected in pieces that double: so the server soon has work, and never little.
_FIRST_PIECE = 8 * 1024  # bytes
_LAST_PIECE = 64 * 1024


class _Sending:
    """One flush of all buffers: begun early if the flusher is eager, and finished by `finish`."""

    def __init__(self, pools: Sequence[Pool], buffers: Sequence[CommandBuffer], eager: bool) -> None:
        self._pools = pools
        self._buffers = buffers
        self._eager = eager
        self._links: dict[int, Link] = {}  # of the pools where it has begun
        self.restart()

    def restart(self) -> None:
        """The next flush."""
        self.flushes = [
            PoolFlush(pool.name, buffer, pool.implementation.Confirmations(0))
            for pool, buffer in zip(self._pools, self._buffers, strict=True)
        ]
        if self._eager:
            for buffer in self._buffers:
                buffer.full_at = len(buffer) + _FIRST_PIECE

    def push(self, index: int) -> None:
        """A buffer is full: send what the socket takes."""
        buffer = self._buffers[index]
        buffer.full_at = len(buffer) + min(len(buffer), _LAST_PIECE)
        try:
            link = self._links.pop(index, None) or self._pools[index].take_link()
        except FluxaError:  # the engine is closed: `flush` says so, the event is collected all the same
            return
        self._links[index] = link
        drive(self.flushes[index].push(), link, goes_on=True)

    def finish(self) -> None:
        """Send what is left, and take all replies."""
        for index, (pool, flush) in enumerate(zip(self._pools, self.flushes, strict=True)):
            link = self._links.pop(index, None) or pool.take_link()
            try:
                drive(flush.flow(), link)
            finally:
                pool.return_link(link)

    def abandon(self) -> None:
        """Give up what has begun: replies that are still to come can't be waited for any more."""
        while self._links:
            self._links.popitem()[1].drop()


class EventFlusher:
    """Collects events for any registered streams until `flush` sends them, with one pipeline for each pool.

    An eager one begins to send while it still collects, so that the server does not wait for Python: `flush` then sends
    the rest, and takes the replies. Once sent, an event can't be taken back by `clear`, nor by an exception in a
    ``with`` block.

    Belongs to one thread. `len()` of it is the number of events that wait.
    """

    def __init__(
        self, pools: Mapping[str, Pool], heads: Mapping[str, tuple[EntryHead, Pool]], *, eager: bool = False
    ) -> None:
        with_streams = {pool.name for _, pool in heads.values()}
        used = [pool for name, pool in pools.items() if name in with_streams]
        indexes = {pool.name: index for index, pool in enumerate(used)}
        self._buffers = [pool.implementation.CommandBuffer(pool.default) for pool in used]
        self._sending = _Sending(used, self._buffers, eager)
        self._refused: list[set[int]] = [set() for _ in used]  # by the last flush: their places in the buffers
        routes = {stream: (head, indexes[pool.name]) for stream, (head, pool) in heads.items()}
        on_full = self._sending.push if eager else None
        self._writer = protocol.default.EventWriter(routes, self._buffers, on_full)
        # The same calls as the methods below, without their frames: this is the hot path.
        self.publish = self._writer.publish  # type: ignore[method-assign]
        self.publish_many = self._writer.publish_many  # type: ignore[method-assign]

    def publish(self, stream: str, body: object = None, tags: Mapping[str, str] | None = None) -> None:
        """Collect one event. It is serialised now, so a change to `body` afterwards is not seen.

        Args:
            stream: a registered stream.
            body: anything that msgpack can write; None if the tags say it all.
            tags: more about the event, readable without decoding the body.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if the body or a tag can't be written; what was collected before is untouched.
        """
        self._writer.publish(stream, body, tags)

    def publish_many(self, stream: str, bodies: Iterable[object], tags: Mapping[str, str] | None = None) -> int:
        """Collect one event for each body, all with the same tags. They are serialised now.

        Args:
            stream: a registered stream.
            bodies: anything that can be iterated over; a generator is not kept.
            tags: of every event.

        Returns:
            How many events were collected.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if a body (it says which) or a tag can't be written; no event of the call is collected
                then, nor if the iterable raises. What was collected before is untouched.
        """
        return self._writer.publish_many(stream, bodies, tags)

    def __len__(self) -> int:
        return sum(buffer.commands for buffer in self._buffers)

    def __bool__(self) -> bool:
        return True  # an empty flusher is still a flusher

    @property
    def size(self) -> int:
        """The bytes that `flush` would send."""
        return sum(map(len, self._buffers))

    def flush(self) -> FlushResult:
        """Send all collected events (``XADD stream *``), per pool in the order in which they were published.

        Returns:
            The IDs of the events, in the order of publishing.

        Raises:
            FlushError: if an event was refused or its reply was lost. It says what became of every event; those that
                were confirmed have left the flusher, the others stay, in order, for the next `flush`. Events whose
                replies were lost may be published twice by that.
        """
        try:
            self._sending.finish()
        except BaseException:  # Ctrl-C, for one: what was confirmed must not be sent again
            with suppress(FlushError):
                self._settle()
            raise
        return self._settle()

    def _settle(self) -> FlushResult:
        flushes = self._sending.flushes
        self._sending.abandon()
        # What stays moves up to the front: the refused ones, and those without a reply, which come behind them.
        self._refused = [set(range(len(flush.replies.errors))) for flush in flushes]
        try:
            return settle_flush(flushes, self._writer)
        finally:
            self._sending.restart()

    def discard_refused(self) -> int:
        """Drop the events that the server refused in the last flush, so that they don't fail the next one again.

        Returns:
            How many events were dropped.
        """
        refused, self._refused = self._refused, [set() for _ in self._buffers]
        retain(self._buffers, self._writer, lambda index, place: place not in refused[index])
        return sum(map(len, refused))

    def clear(self) -> int:
        """Drop all collected events. Returns how many there were; an eager flusher may have sent some of them."""
        dropped = len(self)
        self._sending.abandon()
        for buffer in self._buffers:
            buffer.clear()
        self._refused = [set() for _ in self._buffers]
        self._writer.restart(())
        self._sending.restart()
        return dropped

    def __enter__(self) -> EventFlusher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Flush, if the block ended without an exception."""
        if kind is None:
            self.flush()
