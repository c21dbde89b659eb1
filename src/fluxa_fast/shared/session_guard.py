"""Sessions: the calls of one consumer, of which one is going on at a time, on both faces.

A session begins with a call (`run`, `consume`, `auto_claim`, `cleanup`, the first turn of a loop over `batches`), and
ends with it. Until then every other call is refused, and the refusal changes nothing. However a session ends, the next
one finds the consumer in order: what was read and not acknowledged is read again.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from ..errors import FluxaError
from ..flows.consume.group_member import GroupMember

__all__ = ["CLEANUP", "LOOP", "Session", "Sessions"]

LOOP = "batches"
"""The call whose session goes on between two of its steps."""

CLEANUP = "cleanup"


class Session:
    """One call of a consumer. A context: it ends with its block.

    Attributes:
        call: the name of the method.
        process: that the session belongs to.
    """

    __slots__ = ("__weakref__", "_sessions", "_task", "_thread", "call", "process")

    def __init__(self, sessions: Sessions, call: str, task: object, process: int) -> None:
        self.call: str = call
        self.process: int = process
        self._sessions = sessions
        self._thread = threading.get_ident()
        self._task = task

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._sessions.end(self, error is None)

    def end(self, *, clean: bool) -> None:
        """The call is over. Not clean: what was read may be pending, and is to be read again."""
        self._sessions.end(self, clean)

    def seen_from(self, task: object) -> str:
        """Who has the consumer, as the caller sees it that is refused."""
        elsewhere = threading.get_ident() != self._thread
        if self.call == LOOP:
            return "a loop over its batches() in another thread" if elsewhere else "a loop over its batches()"
        if elsewhere:
            return "another thread"
        if task is not self._task:
            return "another task, or by the call whose handler this is"
        return "the call whose handler this is, or that a signal handler has interrupted"


_Held = weakref.ref[Session]
"""That a session has the consumer. It lapses with the session, should an interruption keep that from its end."""


class Sessions:
    """The sessions of one consumer. Threads may share it. No lock: a signal handler may have interrupted any line.

    Args:
        members: what the consumer is in each partition.
    """

    __slots__ = ("_heirs", "_held", "_members", "_unclean")

    def __init__(self, members: Sequence[GroupMember]) -> None:
        self._members = members
        self._held: dict[int, _Held] = {}  # by process
        self._heirs: dict[int, _Held] = {}  # of all threads that find one lapsed, one comes next
        self._unclean = False

    def begin(self, call: str, task: Any = None) -> Session:
        """Begin a session.

        Args:
            call: the name of the method.
            task: asyncio's, that calls.

        Raises:
            FluxaError: if another session is going on.
        """
        process = os.getpid()
        session = Session(self, call, task, process)
        own = weakref.ref(session)
        if self._held and process not in self._held:  # a forked child: its parent's session is none of its own
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
            for member in self._members:
                member.replaying = True
            self._unclean = False
        return session

    def check(self, task: Any = None) -> None:
        """Refuse a call that begins a session later.

        Raises:
            FluxaError: if a session is going on.
        """
        held = self._held.get(os.getpid())
        if held is not None:
            self._refuse(held, task)

    def _refuse(self, held: _Held, task: object) -> None:
        session = held()
        if session is not None:
            raise FluxaError(
                f"the consumer is in use by {session.seen_from(task)}: until that {session.call}() is over, "
                "only stop() and ack() of its events may be called; make another consumer (consumer_many) for the rest"
            )

    def end(self, session: Session, clean: bool) -> None:
        """As `Session.end`; only the session that has the consumer gives it back."""
        held = self._held.get(session.process)
        if held is None or held() is not session:
            return
        if not clean:
            self._unclean = True
        if session.call != CLEANUP:  # which stop() does not end
            self._members[0].stopping.clear()
        self._held.pop(session.process, None)
