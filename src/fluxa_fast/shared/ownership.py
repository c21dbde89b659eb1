"""A guard for objects that only one thread at a time may use."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext

from ..errors import FluxaError

__all__ = ["ThreadGuard"]


class ThreadGuard(AbstractContextManager[None]):
    """A context that only one thread can enter at a time. The thread that has entered it may enter it again.

    A call returns the context. In Python without its lock (GIL), two threads in one buffer could corrupt it.
    """

    __slots__ = ("_owners", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._owners: dict[int, int] = {}  # thread by process: a forked child has none of the threads of its parent

    def __call__(self) -> AbstractContextManager[None]:
        """Return the context.

        Raises:
            FluxaError: if another thread is in it.
        """
        me = threading.get_ident()
        process = os.getpid()
        owner = self._owners.get(process)
        if owner == me:
            return nullcontext()
        if (
            owner is not None or self._owners.setdefault(process, me) != me
        ):  # setdefault: only one of several threads succeeds
            raise FluxaError(f"the {self._what} is in use by another thread; make one {self._what} for each thread")
        return self

    def __enter__(self) -> None:
        return

    def __exit__(self, *error: object) -> None:
        self._owners.pop(os.getpid(), None)
