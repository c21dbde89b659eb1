"""Keeps a consumer to one call at a time, on both faces.

A hold begins with a call (`run`, `consume`, `auto_claim`, `cleanup`, the first turn of a loop over `batches`), and ends
with it. Until then the guard refuses every other call, and the refusal changes nothing. However a hold ends, the next
call finds the consumer in order: what was read and not acknowledged is read again.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

from ..errors import FluxaError

__all__ = ["CLEANUP", "LOOP", "Hold", "SessionGuard"]

LOOP = "batches"
"""The call whose hold goes on between two turns of a loop."""

CLEANUP = "cleanup"


class _Guarded(Protocol):
    """What a call leaves behind."""

    def replay(self) -> None: ...
    def clear_stop(self) -> None: ...


class Hold:
    """One call that has the consumer. A context: it ends with its block.

    Attributes:
        call: the name of the method.
        process: the ID of the process that the call belongs to.
    """

    __slots__ = ("__weakref__", "_guard", "_task", "_thread", "call", "process")

    def __init__(self, guard: SessionGuard, call: str, task: object, process: int) -> None:
        self.call: str = call
        self.process: int = process
        self._guard = guard
        self._thread = threading.get_ident()
        self._task = task

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._guard.end(self, error is None)

    def end(self, *, clean: bool) -> None:
        """The call is over. Not clean: what was read may be pending, and is to be read again."""
        self._guard.end(self, clean)

    def seen_from(self, task: object) -> str:
        """Say where the consumer is in use, as the caller sees it that is refused."""
        elsewhere = threading.get_ident() != self._thread
        if self.call == LOOP:
            return "a loop over its batches() in another thread" if elsewhere else "a loop over its batches()"
        if elsewhere:
            return "another thread"
        if task is not self._task:
            return "another task, or by the call whose handler this is"
        return "the call whose handler this is, or that a signal handler has interrupted"


_Held = weakref.ref[Hold]
"""That a call has the consumer. It lapses with the hold, should an interruption keep that from its end."""


class SessionGuard:
    """Gives a consumer to one call at a time. Threads may share it. No lock: a signal handler may interrupt any line.

    Args:
        state: of the consumer: the guard tells it what an earlier call has left.
    """

    __slots__ = ("_heirs", "_held", "_state", "_unclean")

    def __init__(self, state: _Guarded) -> None:
        self._state = state
        self._held: dict[int, _Held] = {}  # by process
        self._heirs: dict[int, _Held] = {}  # if several threads find that a hold has lapsed, only one comes next
        self._unclean = False

    def enter(self, call: str, task: Any = None) -> Hold:
        """Begin a call.

        Args:
            call: the name of the method.
            task: asyncio's, that calls.

        Raises:
            FluxaError: if another call has the consumer.
        """
        process = os.getpid()
        hold = Hold(self, call, task, process)
        own = weakref.ref(hold)
        if self._held and process not in self._held:  # a forked child: its parent's call is not its own
            self._held.clear()
            self._unclean = True
        while (held := self._held.setdefault(process, own)) is not own:
            self._refuse(held, task)
            heir = self._heirs.setdefault(id(held), own)
            if heir is not own:
                self._refuse(heir, task)
            if self._held.get(process) is held:
                self._held[process] = own
                self._unclean = True
            self._heirs.pop(id(held), None)
        if self._unclean:
            self._state.replay()
            self._unclean = False
        return hold

    def check(self, task: Any = None) -> None:
        """Refuse a call that enters later.

        Raises:
            FluxaError: if another call has the consumer.
        """
        held = self._held.get(os.getpid())
        if held is not None:
            self._refuse(held, task)

    def _refuse(self, held: _Held, task: object) -> None:
        hold = held()
        if hold is not None:
            raise FluxaError(
                f"the consumer is in use by {hold.seen_from(task)}: until that {hold.call}() is over, "
                "only stop() and ack() of its events may be called; make another consumer (consumer_many) for the rest"
            )

    def end(self, hold: Hold, clean: bool) -> None:
        """As `Hold.end`; only the hold that has the consumer gives it back."""
        held = self._held.get(hold.process)
        if held is None or held() is not hold:
            return
        if not clean:
            self._unclean = True
        if hold.call != CLEANUP:  # which stop() does not end
            self._state.clear_stop()
        self._held.pop(hold.process, None)
