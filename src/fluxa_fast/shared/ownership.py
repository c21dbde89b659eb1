"""A guard for objects that only one thread at a time may use."""

from __future__ import annotations

from os import getpid
from threading import get_ident

from ..errors import FluxaError

__all__ = ["ThreadGuard"]


class ThreadGuard:
    """A context that only one thread can enter at a time. The thread that has entered it may enter it again.

    In Python without its lock (GIL), two threads in one buffer could corrupt it.
    """

    __slots__ = ("_entered", "_owners", "_process", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._owners: dict[int, int] = {}  # thread by process: a forked child has none of the threads of its parent
        self._entered = 0  # times, by that thread
        self._process = 0  # in which it was entered

    def __enter__(self) -> None:
        """Enter the context.

        Raises:
            FluxaError: if another thread is in it.
        """
        me, process = get_ident(), getpid()
        owner = self._owners.get(process)
        if owner is None and (owner := self._owners.setdefault(process, me)) == me:  # only one of several threads
            self._entered, self._process = 0, process
        if owner != me:
            raise FluxaError(f"the {self._what} is in use by another thread; make one {self._what} for each thread")
        self._entered += 1

    def __exit__(self, *error: object) -> None:
        self._entered -= 1
        if not self._entered:
            self._owners.pop(self._process, None)
