"""`EventFlusher`: collects events, and sends them in one go."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from redis.exceptions import RedisError

from .errors import FlushError, FluxaError
from .flows.partition_count import check_partitions, not_checked
from .flows.publish.outcome import FlushResult
from .flows.publish.pipeline import BufferFlush, Replication
from .protocol.hashing import Key
from .shared.ownership import ThreadGuard
from .shared.publish_buffer import PublishBuffer, replication_to
from .shared.routing import StreamRoute
from .shared.validation import Duration
from .transport.blocking.cluster import ClusterPool
from .transport.blocking.link import Link
from .transport.blocking.pool import Pool

__all__ = ["EventFlusher"]


def _pusher(flusher: EventFlusher) -> Callable[[int], None]:
    """What the writer of an eager flusher calls; it does not keep a flusher that nobody uses any more."""
    reference = weakref.ref(flusher)

    def push(index: int) -> None:
        if (alive := reference()) is not None:
            alive._push(index)

    return push


class EventFlusher:
    """Collects events for any registered streams until `flush` sends them, with one pipeline for each pool.

    An eager flusher begins to send while it still collects, so that the server does not wait for Python: `flush` then
    sends the rest, and reads the replies. An event that was sent can't be taken back by `clear`, nor by an exception in
    a ``with`` block.

    A subclass may override `publish` and `publish_many`; neither calls the other.

    It belongs to one thread. `len()` tells the number of events that wait. A forked child's copy is empty.

    Warns:
        ResourceWarning: if the flusher is dropped, or the interpreter ends, with events in it.
    """

    def __init__(self, destinations: Mapping[str, StreamRoute[Pool | ClusterPool]], *, eager: bool = False) -> None:
        self._buffer = PublishBuffer(destinations, _pusher(self) if eager else None)
        self._guard = ThreadGuard("flusher")
        # The same calls as the methods below, without their frames: this is the hot path. A subclass may have its own.
        if type(self).publish is _PUBLISH:
            self.publish = self._buffer.writer.publish  # type: ignore[method-assign]
        if type(self).publish_many is _PUBLISH_MANY:
            self.publish_many = self._buffer.writer.publish_many  # type: ignore[method-assign]

    def publish(
        self, stream: str, body: object = None, tags: Mapping[str, str] | None = None, key: Key | None = None
    ) -> None:
        """Collect one event. It is serialised now, so a change to `body` afterwards is not seen.

        Args:
            stream: a registered stream.
            body: anything that msgpack can write; None if the tags say it all.
            tags: more about the event, readable without decoding the body.
            key: events with the same key go to the same partition of the stream, so that they stay in order; an int
                counts as its digits. None: to the partition that this flush has chosen.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if the body, a tag or the key can't be written; what was collected before is untouched.
            ValueError: if there is a key, and the stream has no partitions; nothing was collected.
        """
        self._buffer.writer.publish(stream, body, tags, key)

    def publish_many(
        self,
        stream: str,
        bodies: Iterable[object],
        tags: Mapping[str, str] | None = None,
        first: int = 0,
        key: Key | None = None,
    ) -> int:
        """Collect one event for each body, all with the same tags and the same key. They are serialised now.

        After an error, also one that `bodies` raised, no event of the call is collected. Events that were collected
        before the call are untouched.

        Args:
            stream: a registered stream.
            bodies: anything that can be iterated over; a generator is not kept.
            tags: of every event.
            first: what errors call the first body, if the call is one of several for the same bodies.
            key: of every event, as in `publish`.

        Returns:
            How many events were collected.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if a body (it says which) or a tag can't be written.
            TypeError: if `bodies` is one body (a str, bytes, mapping, NamedTuple or pydantic model), or no iterable.
            ValueError: if there is a key, and the stream has no partitions.
        """
        return self._buffer.writer.publish_many(stream, bodies, tags, first, key)

    def __len__(self) -> int:
        return self._buffer.count

    def __bool__(self) -> bool:
        return True  # an empty flusher is still a flusher

    @property
    def size(self) -> int:
        """The bytes that `flush` would send."""
        return self._buffer.size

    def flush(self, *, replicas: int = 0, timeout: Duration = 1.0) -> FlushResult:
        """Send all collected events (``XADD stream *``), per pool in the order in which they were published.

        The nodes of a cluster are flushed at the same time: there, events keep their order per stream and partition.
        Events that a node refuses because a slot has moved, or for now, were not added: they are sent again, for three
        seconds at most.

        Args:
            replicas: how many replicas must have the events too before they count as confirmed (``WAIT``). Events that
                the master has and too few replicas have stay in the flusher as unconfirmed.
            timeout: seconds (or a timedelta) to wait for replicas, per pool.

        Returns:
            The IDs of the events, in the order of publishing.

        Raises:
            FlushError: if an event was refused or its reply was lost. It says what became of every event; the confirmed
                ones have left the flusher, the others stay, in order, for the next `flush`. Events whose replies were
                lost, or that too few replicas had, may then be published twice.
            FluxaError: if another thread uses the flusher; nothing was sent.
            PartitionsDifferError: if other services use a stream with another number of partitions; nothing was sent.
            TypeError, ValueError: for another number of replicas or another timeout; nothing was sent.
        """
        replication = replication_to(replicas, timeout)
        with self._guard():
            errors = self._check_partitions() if self._buffer.unchecked else {}
            flushing = self._buffer.begin()
            self._buffer.hold_back(flushing, errors)
            try:
                self._send(flushing, replication)
            except BaseException:  # Ctrl-C, for one: what was confirmed must not be sent again
                with suppress(FlushError):
                    self._settle(flushing)
                raise
            return self._settle(flushing)

    def _push(self, index: int) -> None:
        """An eager flusher has collected enough: send what the socket takes."""
        with suppress(FluxaError), self._guard():  # a closed engine, another thread: `flush` says so
            piece = self._buffer.next_piece(index)
            if not self._buffer.may_be_pushed(index):
                return
            pool: Any = self._buffer.lanes[index].pool  # of a single server: only those are pushed to
            link: Link = self._buffer.links.pop(index, None) or pool.take_link()
            self._buffer.links[index] = link
            piece.push(link)

    def _check_partitions(self) -> dict[str, Exception]:
        """Compare the numbers of partitions of streams that are new here. Returns the errors of the network by stream.

        Raises:
            PartitionsDifferError, FluxaError: if a number differs, or can't be one; nothing was sent.
        """
        errors: dict[str, Exception] = {}
        tried: set[str] = set()
        while untried := self._buffer.untried(tried):
            for stream, pool, check in untried:
                try:
                    if check.due:
                        pool.run(check_partitions(check, pool), check.key)
                except RedisError as error:
                    errors[stream] = not_checked(check, error)
                except FluxaError:
                    if self._buffer.has_events_of(stream):
                        raise
                if not check.due:
                    del self._buffer.unchecked[stream]
        return errors

    def _send(self, flushing: Sequence[BufferFlush], replication: Replication | None) -> None:
        for index, pool, flushes in self._buffer.by_pool(flushing):
            pool.flush(flushes, replication, self._buffer.links.pop(index, None))

    def _settle(self, flushing: Sequence[BufferFlush]) -> FlushResult:
        self._abandon()
        result = self._buffer.settle(flushing)
        for flush in flushing:
            flush.buffer.clear()
        return result

    def _abandon(self) -> None:
        """Give up what has begun: replies that are still to come can't be waited for any more."""
        while self._buffer.links:
            self._buffer.links.popitem()[1].drop()

    def discard_refused(self) -> int:
        """Drop the events that the server refused in the last flush, so that they don't fail the next one again.

        Returns:
            How many events were dropped.
        """
        with self._guard():
            return self._buffer.discard_refused()

    def clear(self) -> int:
        """Drop all collected events. Returns how many there were; an eager flusher may have sent some of them."""
        with self._guard():
            self._abandon()
            return self._buffer.clear()

    def __enter__(self) -> EventFlusher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Flush, if the block ended without an exception."""
        try:
            if kind is None:
                self.flush()
        finally:
            self._buffer.given_up = len(self)  # the exception that leaves the block tells of what is left


_PUBLISH = EventFlusher.publish
_PUBLISH_MANY = EventFlusher.publish_many
