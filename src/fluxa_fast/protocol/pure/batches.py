"""The writer of a producer, in pure Python."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Literal, TypeVar

from .. import encode_errors
from ..commands import EntryHead
from ..hashing import Key
from ..sealed_batch import SealedBatch
from .commands import CommandBuffer, EventWriter, Route

__all__ = ["BatchWriter"]

T = TypeVar("T")

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
        self._lock = threading.Lock() if lock is None else lock
        self._owner: int | None = None  # the thread that has the lock
        self._writer = EventWriter(self._heads, self._open_target)
        self.sealed.clear()
        self._held_events: int = 0
        self._held_size: int = 0
        self.dropped: int = 0
        self._sealed_events = 0  # since the beginning
        self._start_batch()

    def _start_batch(self) -> None:
        self._receipts: list[tuple[int, Any]] = []
        self._size = 0
        self.began: float | None = None
        self._state: State = "empty"
        self._next_note = self._ready_size

    def check_idle(self) -> None:
        """Refuse a thread that is in the middle of a change: a hook publishes."""
        if self._owner == threading.get_ident() and self._lock.locked():
            raise encode_errors.in_use()

    def _locked(self, change: Callable[..., T], *arguments: Any) -> T:
        """What the change returns, which no other thread makes meanwhile."""
        self.check_idle()
        with self._lock:
            self._owner = threading.get_ident()
            try:
                return change(*arguments)
            finally:
                self._owner = None

    # ---- adding ----

    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Any:
        outcome = self._locked(self._add_one, stream, body, tags, key, id, None, False)
        if outcome == "added":
            return self._accepted
        if outcome == "noted":
            return self._note()
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
        outcome = self._locked(self._add_one, stream, body, tags, key, id, receipt, beyond)
        if outcome == "noted":
            self._note()
        return outcome != "no room"

    def _add_one(
        self, stream: str, body: object, tags: Mapping[str, str] | None, key: Any, id: Any, receipt: Any, beyond: bool
    ) -> Outcome:
        if self.closed or not (beyond or self.room):
            return "no room"
        writer = self._writer
        route = writer.route_of(stream, key)
        before = _size_of(route)
        events, commands, size = writer.count, route.buffer.command_count, len(route.buffer)
        try:
            writer.publish(stream, body, tags, key, id)
        except BaseException:  # of a signal handler, in the middle of the event
            if route.open is None and writer.count == events and route.buffer.command_count > commands:
                route.buffer.truncate(commands, size)
            raise
        if receipt is not None:
            self._receipts.append((writer.count - 1, receipt))
            self._next_note = 0  # the publisher may wait for it
        return self._added(1, _size_of(route) - before)

    def add_many(
        self,
        stream: str,
        bodies: Sequence[object],
        tags: Mapping[str, str] | None,
        first: int,
        key: Key | None,
        beyond: bool,
    ) -> bool:
        outcome = self._locked(self._add_many, stream, bodies, tags, first, key, beyond)
        if outcome == "noted":
            self._note()
        return outcome != "no room"

    def _add_many(
        self, stream: str, bodies: Sequence[object], tags: Mapping[str, str] | None, first: int, key: Any, beyond: bool
    ) -> Outcome:
        if self.closed or not (beyond or self.room):
            return "no room"
        route = self._writer.route_of(stream, key)
        before = _size_of(route)
        count = self._writer.publish_many(stream, bodies, tags, first, key)
        return self._added(count, _size_of(route) - before)

    def _added(self, events: int, size: int) -> Outcome:
        """Count them. Return whether the sender is to be told."""
        if not events:
            return "added"
        self._size += size
        if self._state == "empty":
            self.began = monotonic()
        if self._size >= self._batch_size:
            self._seal()
            return "noted"
        if self._size >= self._next_note or (self._state != "ready" and not self.room):
            self._next_note = self._size + self._ready_size
            if self._state == "ready" and self._size < self._ready_size:
                return "added"
            self._state = "ready"
            return "noted"
        if self._state == "empty":
            self._state = "filling"
            return "noted"
        return "added"

    def _note(self) -> Any:
        try:
            return self._on_batch()
        except BaseException:  # a signal handler has raised it, and the sender may not know
            self.note_again()
            raise

    def note_again(self) -> None:
        self._next_note = 0
        if self._state == "ready":
            self._state = "filling"

    # ---- batches ----

    def seal(self) -> None:
        self._locked(self._seal)

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
        began = monotonic() if self.began is None else self.began
        self.sealed.append(SealedBatch(writer.order, buffers, self._receipts, events, size, began))
        writer.restart(())
        self._sealed_events += events
        self._held_events += events
        self._held_size += size
        self._start_batch()

    def drop(self, events: int) -> int:
        with self._lock:
            before = self.dropped
            self.dropped += events
            return before

    def let_go(self, events: int, size: int) -> None:
        with self._lock:
            self._held_events -= events
            self._held_size -= size

    def close(self) -> None:
        self._locked(setattr, self, "closed", True)

    @property
    def ready(self) -> bool:
        return self._state == "ready" or (self._state == "filling" and not self.room)

    @property
    def room(self) -> bool:
        if self._held_events + self._writer.count >= self._most_events:
            return False
        return self._held_size + self._size < self._most_size

    @property
    def total(self) -> int:
        return self._sealed_events + self._writer.count

    @property
    def count(self) -> int:
        return self._held_events + self._writer.count

    @property
    def waiting(self) -> int:
        return self._writer.count

    @property
    def buffered(self) -> int:
        return self._held_size + self._size


def _size_of(route: Route) -> int:
    """Bytes in the buffer that the route leads to, and in its open entry."""
    return len(route.buffer) + (0 if route.open is None else route.open.size)
