"""`EventFlusher`: collects events, and sends them in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from types import TracebackType

from .errors import FluxaError
from .flows.agreement import agree
from .flows.publish.outcome import FlushResult
from .flows.publish.pipeline import BufferFlush
from .flows.trimming import trim_kept, trimming
from .hooks import Hooks
from .protocol.hashing import Key
from .shared.buffer_targets import BufferTarget
from .shared.flusher_base import FlusherBase, replication_to
from .shared.ownership import ThreadGuard
from .shared.partition_checks import PartitionChecks
from .shared.routing import StreamRoute
from .shared.validation import Duration
from .transport.base import BlockingLink, BlockingPool

__all__ = ["EventFlusher"]


class EventFlusher(FlusherBase[BlockingPool]):
    """Collects events for any registered streams until `flush` sends them, with one pipeline for each pool.

    An eager flusher begins to send while it still collects, so that the server does not wait for Python: `flush` then
    sends the rest, and reads the replies. An event that was sent can't be taken back by `clear`, nor by an exception in
    a ``with`` block.

    A subclass may override `publish` and `publish_many`; neither calls the other.

    It belongs to one thread. `len()` tells the number of events that wait. A forked child's copy is empty.

    Warns:
        ResourceWarning: if the flusher is dropped, or the interpreter ends, with events in it.
    """

    def __init__(
        self,
        routes: Mapping[str, StreamRoute[BlockingPool]],
        *,
        eager: bool = False,
        hooks: Hooks | None = None,
    ) -> None:
        super().__init__(routes, eager=eager, hooks=hooks)
        self._guard = ThreadGuard("flusher")
        if type(self).publish_many is _PUBLISH_MANY:  # as `publish`: without a frame
            self.publish_many = self._buffer.writer.publish_many  # type: ignore[method-assign]

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
            tags: the tags of every event.
            first: what errors call the first body, if the call is one of several for the same bodies.
            key: the partition key of every event, as in `publish`.

        Returns:
            How many events were collected.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if a body (it says which) or a tag can't be written.
            TypeError: if `bodies` is one body (a str, bytes, mapping, NamedTuple or pydantic model), or no iterable.
            ValueError: if there is a key, and the stream has no partitions.
        """
        return self._buffer.writer.publish_many(stream, bodies, tags, first, key)

    def flush(self, *, replicas: int = 0, timeout: Duration = 1.0) -> FlushResult:
        """Send all collected events (``XADD stream *``), to each pool in the order in which they were published.

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
        with self._guard:
            if replication is None and (alone := self._buffer.begin_alone()) is not None:
                return self._flush_alone(*alone)
            errors = self._compare_partitions() if self._buffer.targets.unchecked else {}
            flushing = self._buffer.begin(errors)
            try:
                for index, pool, flushes in self._buffer.by_pool(flushing):
                    pool.flush(flushes, replication, self._buffer.links.pop(index, None))
            except BaseException:  # Ctrl-C, for example
                self._abandon_links()
                self._interrupted(flushing)
                raise
            self._abandon_links()
            result = self._buffer.settle(flushing)
            self._buffer.recycle(flushing)
            if self._buffer.targets.kept and flushing:
                self._trim()
            return result

    def _flush_alone(self, target: BufferTarget[BlockingPool], flush: BufferFlush) -> FlushResult:
        """Flush the only buffer that has events, of one server: most flushes are such."""
        try:
            target.pool.flush(((target.key, flush),), None)
        except BaseException:
            self._interrupted({target.index: flush})
            raise
        return self._buffer.settle_alone(target, flush)

    def _trim(self) -> None:
        for pool, key, retention in self._trims():
            with trimming(retention, key):
                pool.run(trim_kept(pool, key, retention), key)

    def _compare_partitions(self) -> dict[str, Exception]:
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
                pool.run(agree(check, pool), check.key)
        return checks.errors

    def _push(self, index: int) -> None:
        with suppress(FluxaError), self._guard:  # a closed engine, another thread: `flush` says so
            super()._push(index)

    def _link_to_push(self, pool: BlockingPool) -> BlockingLink | None:
        return pool.link_to_push()

    def _abandon(self, link: BlockingLink) -> None:
        link.drop()

    def _guarded(self) -> AbstractContextManager[None]:
        return self._guard

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
            self._give_up()


_PUBLISH_MANY = EventFlusher.publish_many
