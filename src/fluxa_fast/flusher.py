"""`EventFlusher`: collects events, and sends them in one go."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

from . import protocol
from .errors import FlushError
from .flows.publish import FlushResult, PoolFlush, retain, settle_flush
from .protocol.commands import entry_head
from .transport.sync import Pool

__all__ = ["EventFlusher"]


class EventFlusher:
    """Collects events for any registered streams until `flush` sends them, with one pipeline for each pool.

    Belongs to one thread. `len()` of it is the number of events that wait.
    """

    def __init__(self, pools: Mapping[str, Pool], streams: Mapping[str, str]) -> None:
        used = [pool for name, pool in pools.items() if name in set(streams.values())]
        indexes = {pool.name: index for index, pool in enumerate(used)}
        self._pools = used
        self._buffers = [pool.implementation.CommandBuffer(pool.default) for pool in used]
        self._refused: list[set[int]] = [set() for _ in used]  # by the last flush: their places in the buffers
        routes = {stream: (entry_head(stream), indexes[pool]) for stream, pool in streams.items()}
        self._writer = protocol.default.EventWriter(routes, self._buffers)
        # The same call as the method below, without its frame: this is the hot path.
        self.publish = self._writer.publish  # type: ignore[method-assign]

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
        flushes = [
            PoolFlush(pool.name, buffer, pool.implementation.Confirmations(buffer.commands))
            for pool, buffer in zip(self._pools, self._buffers, strict=True)
        ]
        try:
            for pool, flush in zip(self._pools, flushes, strict=True):
                if flush.replies.expected:
                    pool.run(flush.flow())
        except BaseException:  # Ctrl-C, for one: what was confirmed must not be sent again
            with suppress(FlushError):
                self._settle(flushes)
            raise
        return self._settle(flushes)

    def _settle(self, flushes: list[PoolFlush]) -> FlushResult:
        # What stays moves up to the front: the refused ones, and those without a reply, which come behind them.
        self._refused = [set(range(len(flush.replies.errors))) for flush in flushes]
        return settle_flush(flushes, self._writer)

    def discard_refused(self) -> int:
        """Drop the events that the server refused in the last flush, so that they don't fail the next one again.

        Returns:
            How many events were dropped.
        """
        refused, self._refused = self._refused, [set() for _ in self._buffers]
        retain(self._buffers, self._writer, lambda index, place: place not in refused[index])
        return sum(map(len, refused))

    def clear(self) -> int:
        """Drop all collected events. Returns how many there were."""
        dropped = len(self)
        for buffer in self._buffers:
            buffer.clear()
        self._refused = [set() for _ in self._buffers]
        self._writer.restart(())
        return dropped

    def __enter__(self) -> EventFlusher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Flush, if the block ended without an exception."""
        if kind is None:
            self.flush()
