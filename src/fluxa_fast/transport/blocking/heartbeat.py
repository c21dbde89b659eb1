"""The one background thread of a process: it keeps what handlers have in hand, for sessions that ask for that."""

from __future__ import annotations

import os
import threading
import time

from ...flows.consume.in_hand import InHand
from ..base import BlockingPool

__all__ = ["Heartbeat"]


class Heartbeat:
    """Keeps what the handler of one session has. A context: it lasts as long as its block.

    Args:
        in_hand: what the handler has; None: nothing is kept.
        pool: that the streams are on.
    """

    def __init__(self, in_hand: InHand | None, pool: BlockingPool) -> None:
        self._in_hand = in_hand
        self._pool = pool
        self.due_at: float = 0.0

    def __enter__(self) -> Heartbeat:
        if self._in_hand is not None:
            _thread.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._in_hand is not None:
            _thread.discard(self)

    def beat(self) -> None:
        """Do what is to be done now."""
        assert self._in_hand is not None
        for flow, key in self._in_hand.beats():
            try:
                self._pool.run(flow, key)
            except Exception as error:  # the thread is there for other sessions as well
                self._in_hand.failed(error)

    def next_beat(self) -> None:
        """Wait for the next one."""
        assert self._in_hand is not None
        self.due_at = time.monotonic() + self._in_hand.interval


class _Thread:
    """Runs heartbeats, in a thread that is there while there are some."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beats: set[Heartbeat] = set()
        self._thread: threading.Thread | None = None

    def add(self, one: Heartbeat) -> None:
        one.next_beat()
        with self._changed:
            self._beats.add(one)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fluxa_fast heartbeat", daemon=True)
                self._thread.start()
            self._changed.notify()

    def discard(self, one: Heartbeat) -> None:
        with self._changed:
            self._beats.discard(one)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._beats:
                    self._thread = None
                    return
                first = min(self._beats, key=lambda one: one.due_at)
                left = first.due_at - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
            first.beat()
            first.next_beat()


_thread = _Thread()


def _after_fork() -> None:
    """A child has no thread, and its own sessions."""
    global _thread
    _thread = _Thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
