"""What the flushers for blocking use and for asyncio have in common."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any, Generic

from ..errors import FlushError
from ..flows.publish.pipeline import BufferFlush, Replication
from ..hooks import Hooks
from ..keep import Retention
from ..protocol.hashing import Key
from .buffer_targets import P
from .publish_buffer import PublishBuffer
from .routing import StreamRoute
from .validation import Duration, positive_int, seconds

__all__ = ["FlusherBase", "replication_to"]


class FlusherBase(ABC, Generic[P]):
    """Collects events. The subclasses send them.

    Args:
        routes: the route of every registered stream.
        eager: whether pieces are sent while events are still collected.
        hooks: that are told of each flush; None: there are none.
    """

    def __init__(
        self, routes: Mapping[str, StreamRoute[P]], *, eager: bool = False, hooks: Hooks | None = None
    ) -> None:
        self._buffer: PublishBuffer[P] = PublishBuffer(routes, _pusher(self) if eager else None, hooks)
        # The same call as the method below, without its frame: this is the hot path. A subclass may have its own.
        if type(self).publish is FlusherBase.publish:
            self.publish = self._buffer.writer.publish  # type: ignore[method-assign]

    # ---- collecting ----

    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> None:
        """Collect one event; nothing is sent. It is serialised now, so a change to `body` afterwards is not seen.

        Args:
            stream: a registered stream.
            body: anything that msgpack can write; None if the tags say it all.
            tags: more about the event, readable without decoding the body.
            key: a partition key. Events with the same key go to the same partition of the stream, so that they stay in
                order; an int counts as its digits. None: the event goes to a partition that changes with each flush.
            id: the ID of the event, as for `EventBroker.publish`. The server refuses an ID that is not higher than all
                that the Redis stream has had, so an event that is sent again is there once. None: the server chooses.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if the body, a tag or the key can't be written; what was collected before is untouched.
            ValueError: for a key, if the stream has no partitions, and for what is no ID; nothing was collected.
            TypeError: if `id` is no str; nothing was collected.
        """
        self._buffer.writer.publish(stream, body, tags, key, id)

    def __len__(self) -> int:
        return self._buffer.count

    def __bool__(self) -> bool:
        return True  # an empty flusher is still a flusher

    @property
    def size(self) -> int:
        """The bytes that `flush` would send."""
        return self._buffer.size

    def discard_refused(self) -> int:
        """Drop the events that the server refused in the last flush, so that they don't fail the next one again.

        Returns:
            How many events were dropped.
        """
        with self._guarded():
            return self._buffer.discard_refused()

    def clear(self) -> int:
        """Drop all collected events. Returns how many there were; an eager flusher may have sent some of them."""
        with self._guarded():
            dropped = self._buffer.clear()
            self._abandon_links()
            return dropped

    # ---- sending ----

    @abstractmethod
    def _guarded(self) -> AbstractContextManager[None]:
        """Refuse other threads in this context, where the flusher belongs to one thread."""

    def _abandon_links(self) -> None:
        while self._buffer.links:
            self._abandon(self._buffer.links.popitem()[1])

    @abstractmethod
    def _abandon(self, link: Any) -> None:
        """Close a link whose replies are not waited for any more."""

    @abstractmethod
    def _link_to_push(self, pool: Any) -> Any:
        """Return a link of a single server's pool to push to; None: nothing can be sent at once."""

    def _push(self, index: int) -> None:
        """Send a piece of a full buffer without waiting. Only an eager flusher does this."""
        target = self._buffer.targets[index]
        piece = target.next_piece()
        if self._buffer.targets.may_be_pushed(index):
            link = self._buffer.links.get(index) or self._link_to_push(target.pool)
            if link is not None:
                self._buffer.links[index] = link
                piece.push(link)

    def _trims(self) -> Iterator[tuple[P, str, Retention]]:
        """What is to be trimmed after a flush: the pool, the Redis key, and how much it keeps."""
        targets = self._buffer.targets
        for stream, retention in list(targets.kept.items()):
            for key in retention.after_flush():
                yield targets.pool_of(stream), key, retention

    def _interrupted(self, flushing: Mapping[int, BufferFlush]) -> None:
        """Keep what was not confirmed when an exception ended the flush. What was confirmed must not be sent again."""
        with suppress(FlushError):
            self._buffer.settle(flushing)
            self._buffer.recycle(flushing)

    def _give_up(self) -> None:
        """Don't warn of the events that are left: the exception that leaves the ``with`` block tells of them."""
        self._buffer.given_up = len(self)


def _pusher(flusher: FlusherBase[Any]) -> Callable[[int], None]:
    """Return what the writer of an eager flusher calls. It does not keep the flusher alive."""
    reference = weakref.ref(flusher)

    def push(index: int) -> None:
        if (alive := reference()) is not None:
            alive._push(index)

    return push


def replication_to(replicas: int, timeout: Duration, name: str = "timeout") -> Replication | None:
    """Return what a flush asks of the replicas, from the arguments of `flush`. `name` is that of `timeout`.

    Raises:
        TypeError, ValueError: for another number of replicas, or another timeout.
    """
    waited = seconds(name, timeout)
    return Replication(positive_int(replicas, "replicas"), waited) if replicas != 0 else None
