"""`EventFlusher`: collects events, and sends them in one go."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import Any

from redis.exceptions import RedisError

from ..errors import FlushError, FluxaError
from ..flows.partition_count import not_checked
from ..flows.publish.outcome import FlushResult
from ..flows.publish.pipeline import BufferFlush, Replication
from ..protocol.hashing import Key
from ..shared.publish_buffer import PublishBuffer, replication_to
from ..shared.routing import StreamRoute
from ..shared.validation import Duration
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.driver import together
from ..transport.aio.link import Link
from ..transport.aio.one_loop import OneLoopLock
from ..transport.aio.pool import Pool
from .checking import checked_together

__all__ = ["EventFlusher"]

_STEP = 0.0005  # seconds for which publish_many holds the event loop at a time, about
_FIRST_PART = 32  # bodies, until it is known how long they take
_LARGEST_PART = 2048
_GIVEN_BACK = 16 * 1024 * 1024  # bytes of memory that take about a millisecond to return


def _pusher(flusher: EventFlusher) -> Callable[[int], None]:
    """What the writer of an eager flusher calls; it does not keep a flusher that nobody uses any more."""
    reference = weakref.ref(flusher)

    def push(index: int) -> None:
        if (alive := reference()) is not None:
            alive._push(index)

    return push


class EventFlusher:
    """Collects events for any registered streams until `flush` sends them, with one pipeline for each pool.

    An eager flusher begins to send while it still collects, as soon as there is a connection: `flush` then sends the
    rest, and reads the replies. An event that was sent can't be taken back by `clear`, nor by an exception in an
    ``async with`` block.

    A subclass may override `publish` and `publish_many`; neither calls the other.

    The tasks of one event loop may share it: events that they publish during a flush wait for the next one, and only
    one flush runs at a time. `len()` tells the number of events that wait. A forked child's copy is empty.

    Warns:
        ResourceWarning: if the flusher is dropped, or the interpreter ends, with events in it.
    """

    def __init__(self, destinations: Mapping[str, StreamRoute[Pool | ClusterPool]], *, eager: bool = False) -> None:
        self._buffer = PublishBuffer(destinations, _pusher(self) if eager else None)
        self._flushing = OneLoopLock("the flusher")
        # The same call as the method below, without its frame: this is the hot path. A subclass may have its own.
        if type(self).publish is _PUBLISH:
            self.publish = self._buffer.writer.publish  # type: ignore[method-assign]

    def publish(
        self, stream: str, body: object = None, tags: Mapping[str, str] | None = None, key: Key | None = None
    ) -> None:
        """Collect one event; nothing to await. It is serialised now, so a change to `body` afterwards is not seen.

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

    async def publish_many(
        self,
        stream: str,
        bodies: Iterable[object],
        tags: Mapping[str, str] | None = None,
        *,
        key: Key | None = None,
    ) -> int:
        """Collect one event for each body, all with the same tags and the same key.

        Other tasks run in between, however many bodies there are. After an error, also one that `bodies` raised, no
        event of the call is collected, nor after the task was cancelled. Events that were collected before the call are
        untouched.

        Args:
            stream: a registered stream.
            bodies: anything that can be iterated over; a generator is not kept.
            tags: of every event.
            key: of every event, as in `publish`.

        Returns:
            How many events were collected.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if a body (it says which) or a tag can't be written.
            TypeError: if `bodies` is one body (a str, bytes, mapping, NamedTuple or pydantic model), or no iterable.
            ValueError: if there is a key, and the stream has no partitions.
        """
        async with self._flushing:
            with self._buffer.all_or_nothing(stream, bodies, key) as call:
                remaining = iter(bodies)
                part = _FIRST_PART
                began = time.perf_counter()
                while call.publish_many(islice(remaining, part), tags) == part:
                    took = time.perf_counter() - began
                    part = max(1, min(_LARGEST_PART, 2 * part, int(part * _STEP / took) if took else _LARGEST_PART))
                    await asyncio.sleep(0)
                    began = time.perf_counter()
        for index in self._buffer.full():
            self._push(index)
        return call.count

    def __len__(self) -> int:
        return self._buffer.count

    def __bool__(self) -> bool:
        return True  # an empty flusher is still a flusher

    @property
    def size(self) -> int:
        """The bytes that `flush` would send."""
        return self._buffer.size

    async def flush(self, *, replicas: int = 0, timeout: Duration = 1.0) -> FlushResult:
        """Send all collected events (``XADD stream *``), per pool in the order in which they were published.

        Pools are flushed at the same time. The nodes of a cluster are flushed at the same time: there, events keep
        their order per stream and partition. Events that a node refuses because a slot has moved, or for now, were not
        added: they are sent again, for three seconds at most. Other tasks run in between, however many events there
        are.

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
            FluxaError: if another event loop uses the flusher; nothing was sent.
            PartitionsDifferError: if other services use a stream with another number of partitions; nothing was sent.
            TypeError, ValueError: for another number of replicas or another timeout; nothing was sent.
            asyncio.CancelledError: if the task was cancelled; the confirmed events have left the flusher.
        """
        replication = replication_to(replicas, timeout)
        async with self._flushing:
            errors = (await self._check_partitions()) if self._buffer.unchecked else {}
            flushing = self._buffer.begin()
            self._buffer.hold_back(flushing, errors)
            try:
                await self._send(flushing, replication)
            except BaseException:  # cancelled, for one: what was confirmed must not be sent again
                with suppress(FlushError):
                    self._buffer.settle(flushing)
                    for flush in flushing:
                        flush.buffer.clear()
                raise
            finally:
                await self._abandon()
            result = self._buffer.settle(flushing)
            for flush in flushing:
                while not flush.buffer.give_back(_GIVEN_BACK):
                    await asyncio.sleep(0)
            return result

    def _push(self, index: int) -> None:
        """An eager flusher has collected enough: send what the transport takes."""
        if self._flushing.locked():  # what that flush can't send goes before this
            return
        piece = self._buffer.next_piece(index)
        if not self._buffer.may_be_pushed(index):
            return
        link: Link | None = self._buffer.links.get(index)
        if link is None:
            try:
                pool: Any = self._buffer.lanes[index].pool  # of a single server: only those are pushed to
                link = pool.take_connected_link()
            except (FluxaError, RuntimeError):  # the engine is closed: `flush` says so; or there is no event loop
                return
            if link is None:
                return
            self._buffer.links[index] = link
        piece.push(link)

    async def _check_partitions(self) -> dict[str, Exception]:
        """Compare the numbers of partitions of streams that are new here. Returns the errors of the network by stream.

        Raises:
            PartitionsDifferError, FluxaError: if a number differs, or can't be one; nothing was sent.
        """
        errors: dict[str, Exception] = {}
        tried: set[str] = set()
        while untried := self._buffer.untried(tried):  # meanwhile another task may use a stream for the first time
            for stream, pool, check in untried:
                try:
                    if check.due:
                        await checked_together(check, pool)
                except RedisError as error:
                    errors[stream] = not_checked(check, error)
                except FluxaError:
                    if self._buffer.has_events_of(stream):
                        raise
                if not check.due:
                    del self._buffer.unchecked[stream]
        return errors

    async def _send(self, flushing: Sequence[BufferFlush], replication: Replication | None) -> None:
        await together(
            [
                pool.flush(flushes, replication, self._buffer.links.pop(index, None))
                for index, pool, flushes in self._buffer.by_pool(flushing)
            ]
        )

    async def _abandon(self) -> None:
        """Give up what has begun: replies that are still to come can't be waited for any more."""
        while self._buffer.links:
            await self._buffer.links.popitem()[1].drop()

    def discard_refused(self) -> int:
        """Drop the events that the server refused in the last flush, so that they don't fail the next one again.

        Returns:
            How many events were dropped.
        """
        return self._buffer.discard_refused()

    def clear(self) -> int:
        """Drop all collected events. Returns how many there were; an eager flusher may have sent some of them."""
        dropped = self._buffer.clear()
        while self._buffer.links:
            self._buffer.links.popitem()[1].abandon()
        return dropped

    async def __aenter__(self) -> EventFlusher:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Flush, if the block ended without an exception."""
        try:
            if kind is None:
                await self.flush()
        finally:
            self._buffer.given_up = len(self)  # the exception that leaves the block tells of what is left


_PUBLISH = EventFlusher.publish
