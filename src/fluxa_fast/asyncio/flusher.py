"""`EventFlusher`: collects events, and sends them in one go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from types import TracebackType

from ..errors import FluxaError
from ..flows.publish.outcome import FlushResult
from ..flows.trimming import trim_kept, trimming
from ..hooks import Hooks
from ..protocol.hashing import Key
from ..shared.flusher_base import FlusherBase, replication_to
from ..shared.partition_checks import PartitionChecks
from ..shared.routing import StreamRoute
from ..shared.validation import Duration
from ..transport.aio.driver import together
from ..transport.aio.one_loop import OneLoopLock
from ..transport.base import AsyncLink, AsyncPool
from .checking import checked_together

__all__ = ["EventFlusher"]

_STEP = 0.0005  # seconds for which publish_many holds the event loop at a time, about
_FIRST_PART = 32  # bodies, until it is known how long they take
_FIRST_PACKED_PART = 256  # of a packed stream, where each part has entries of its own
_LARGEST_PART = 2048
_GIVEN_BACK = 16 * 1024 * 1024  # bytes of memory that take about a millisecond to return


class EventFlusher(FlusherBase[AsyncPool]):
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

    def __init__(
        self,
        routes: Mapping[str, StreamRoute[AsyncPool]],
        *,
        eager: bool = False,
        hooks: Hooks | None = None,
    ) -> None:
        super().__init__(routes, eager=eager, hooks=hooks)
        self._flushing = OneLoopLock("the flusher")

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
            tags: the tags of every event.
            key: the partition key of every event, as in `publish`.

        Returns:
            How many events were collected.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if a body (it says which) or a tag can't be written.
            TypeError: if `bodies` is one body (a str, bytes, mapping, NamedTuple or pydantic model), or no iterable.
            ValueError: if there is a key, and the stream has no partitions.
        """
        async with self._flushing:
            part = _FIRST_PACKED_PART if self._buffer.packs(stream) else _FIRST_PART
            with self._buffer.all_or_nothing(stream, bodies, key, part) as call:
                remaining = iter(bodies)
                began = time.perf_counter()
                while call.publish_many(islice(remaining, part), tags) == part:
                    took = time.perf_counter() - began
                    part = max(1, min(_LARGEST_PART, 2 * part, int(part * _STEP / took) if took else _LARGEST_PART))
                    await asyncio.sleep(0)
                    began = time.perf_counter()
        for index in self._buffer.full():
            self._push(index)
        return call.count

    async def flush(self, *, replicas: int = 0, timeout: Duration = 1.0) -> FlushResult:
        """Send all collected events (``XADD stream *``), to each pool in the order in which they were published.

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
            errors = (await self._compare_partitions()) if self._buffer.targets.unchecked else {}
            flushing = self._buffer.begin(errors)
            try:
                await together(
                    [
                        pool.flush(flushes, replication, self._buffer.links.pop(index, None))
                        for index, pool, flushes in self._buffer.by_pool(flushing)
                    ]
                )
            except BaseException:  # cancelled, for example
                self._interrupted(flushing)
                raise
            finally:
                while self._buffer.links:
                    await self._buffer.links.popitem()[1].drop()
            result = self._buffer.settle(flushing)
            for flush in flushing.values():
                while not flush.buffer.give_back(_GIVEN_BACK):
                    await asyncio.sleep(0)
            self._buffer.recycle(flushing)
            if self._buffer.targets.kept and flushing:
                await self._trim()
            return result

    async def _trim(self) -> None:
        for pool, key, retention in self._trims():
            with trimming(retention, key):
                await pool.run(trim_kept(pool, key, retention), key)

    async def _compare_partitions(self) -> dict[str, Exception]:
        """Compare the numbers of partitions of the streams that are new here.

        Returns:
            The errors of the network and the server, by stream.

        Raises:
            PartitionsDifferError, FluxaError: if a number differs, or can't be one; nothing was sent.
        """
        self._buffer.close_entries()
        checks = PartitionChecks(self._buffer.targets)
        for pool, check in checks:
            with checks.outcome(check):
                await checked_together(check, pool)
        return checks.errors

    def _push(self, index: int) -> None:
        if not self._flushing.locked():  # what a flush in progress can't send must go first
            super()._push(index)

    def _link_to_push(self, pool: AsyncPool) -> AsyncLink | None:
        try:
            return pool.link_to_push()
        except (FluxaError, RuntimeError):  # the engine is closed: `flush` says so; or there is no event loop
            return None

    def _abandon(self, link: AsyncLink) -> None:
        link.abandon()

    def _guarded(self) -> AbstractContextManager[None]:
        return nullcontext()

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
            self._give_up()
