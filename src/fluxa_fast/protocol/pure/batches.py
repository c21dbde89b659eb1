"""The writer of a producer, in pure Python."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Literal

from .. import encode_errors
from ..commands import EntryHead
from ..hashing import Key
from ..sealed_batch import SealedBatch
from .commands import CommandBuffer, EventWriter, Route

__all__ = ["BatchWriter"]

Outcome = Literal["added", "noted", "no room"]
State = Literal["empty", "filling", "ready"]


class BatchWriter:
    """`..interface.BatchWriter`, in pure Python."""

    def __init__(
        self,
        heads: Mapping[str, Sequence[EntryHead]],
        open_target: Callable[[str, int], tuple[int, int, Any]],
        limits: tuple[int, int, int, int],
        on_batch: Callable[[], object],
        on_full: Callable[[str, Any, Any, Any, Any], Any],
        *,
        lock: Any = None,
        accepted: Any = None,
    ) -> None:
        self._heads = heads
        self._open_target = open_target
        self._ready_size, self._batch_size, self._most_events, self._most_size = limits
        self._on_batch = on_batch
        self._on_full = on_full
        self._accepted = accepted
        self.sealed: deque[SealedBatch] = deque()
        self.closed: bool = False
        self.renew(lock)

    def renew(self, lock: Any = None) -> None:
        self._lock = lock
        self._owner: int | None = None
        self._writer = EventWriter(self._heads, self._open_target)
        self.sealed.clear()
        self.held_events: int = 0
        self.held_size: int = 0
        self.total: int = 0
        self._start_batch()

    def _start_batch(self) -> None:
        self._receipts: list[tuple[int, Any]] = []
        self._size = 0
        self.began: float | None = None
        self._state: State = "empty"
        self._next_note = self._ready_size

    def _enter(self) -> None:
        """No other thread is between this and `_leave`."""
        lock = self._lock
        me = threading.get_ident() if lock is not None else 0
        if self._owner == me:
            raise encode_errors.in_use()
        if lock is not None:
            lock.acquire()
        self._owner = me

    def _leave(self) -> None:
        lock = self._lock
        if lock is None:
            self._owner = None
        elif self._owner == threading.get_ident():  # else this is a forked child, with a lock of its own
            self._owner = None
            lock.release()

    # ---- adding ----

    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Any:
        outcome = self._add_one(stream, body, tags, key, id, None, False)
        if outcome == "added":
            return self._accepted
        if outcome == "noted":
            return self._on_batch()
        return self._on_full(stream, body, tags, key, id)

    def add(
        self,
        stream: str,
        body: object,
        tags: Mapping[str, str] | None,
        key: Key | None,
        id: str | None,
        receipt: Any,
        beyond: bool,
    ) -> bool:
        outcome = self._add_one(stream, body, tags, key, id, receipt, beyond)
        if outcome == "noted":
            self._on_batch()
        return outcome != "no room"

    def _add_one(
        self, stream: str, body: object, tags: Mapping[str, str] | None, key: Any, id: Any, receipt: Any, beyond: bool
    ) -> Outcome:
        self._enter()
        try:
            if self.closed or not (beyond or self.room):
                return "no room"
            writer = self._writer
            route = writer.route_of(stream, key)
            before = _size_of(route)
            writer.publish(stream, body, tags, key, id)
            if receipt is not None:
                self._receipts.append((writer.count - 1, receipt))
                self._next_note = 0  # the publisher may wait for it
            return "noted" if self._added(1, _size_of(route) - before) else "added"
        finally:
            self._leave()

    def add_many(
        self,
        stream: str,
        bodies: Sequence[object],
        tags: Mapping[str, str] | None,
        first: int,
        key: Key | None,
        beyond: bool,
    ) -> bool:
        self._enter()
        try:
            if self.closed or not (beyond or self.room):
                return False
            route = self._writer.route_of(stream, key)
            before = _size_of(route)
            count = self._writer.publish_many(stream, bodies, tags, first, key)
            noted = self._added(count, _size_of(route) - before)
        finally:
            self._leave()
        if noted:
            self._on_batch()
        return True

    def _added(self, events: int, size: int) -> bool:
        """Count them. Return whether the sender is to be told."""
        if not events:
            return False
        self.total += events
        self._size += size
        if self._state == "empty":
            self.began = monotonic()
        if self._size >= self._batch_size:
            self._seal()
            return True
        if self._size >= self._next_note or (self._state != "ready" and not self.room):
            self._next_note = self._size + self._ready_size
            if self._state == "ready" and self._size < self._ready_size:
                return False
            self._state = "ready"
            return True
        if self._state == "empty":
            self._state = "filling"
            return True
        return False

    # ---- batches ----

    def seal(self) -> None:
        self._enter()
        try:
            self._seal()
        finally:
            self._leave()

    def _seal(self) -> None:
        writer = self._writer
        if not writer.count:
            return
        writer.close_entries()
        events, size = writer.count, 0
        buffers: dict[int, CommandBuffer] = {}
        for index, buffer in writer.take_buffers():
            buffers[index] = buffer
            size += len(buffer)
        assert self.began is not None
        self.sealed.append(SealedBatch(writer.order, buffers, self._receipts, events, size, self.began))
        writer.restart(())
        self.held_events += events
        self.held_size += size
        self._start_batch()

    def let_go(self, events: int, size: int) -> None:
        self._enter()
        self.held_events -= events
        self.held_size -= size
        self._leave()

    def close(self) -> None:
        self.closed = True

    @property
    def ready(self) -> bool:
        return self._state == "ready" or (self._state == "filling" and not self.room)

    @property
    def room(self) -> bool:
        if self.held_events + self._writer.count >= self._most_events:
            return False
        return self.held_size + self._size < self._most_size

    @property
    def count(self) -> int:
        return self.held_events + self._writer.count

    @property
    def waiting(self) -> int:
        return self._writer.count

    @property
    def buffered(self) -> int:
        return self.held_size + self._size


def _size_of(route: Route) -> int:
    """Bytes in the buffer that the route leads to, and in its open entry."""
    return len(route.buffer) + (0 if route.open is None else route.open.size)
