"""Seeing to it that what belongs to one thread at a time is not used by two."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext

from ..errors import FluxaError

__all__ = ["ThreadGuard"]


class ThreadGuard(AbstractContextManager[None]):
    """A context that only one thread can be in. Calling it gives the context; the thread that is in it may come again.

    Without Python's lock (GIL) two threads in one buffer could do worse than mix up their events.
    """

    __slots__ = ("_owners", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._owners: dict[int, int] = {}  # by process: a forked child knows nothing of the threads of its parent

    def __call__(self) -> AbstractContextManager[None]:
        """The context.

        Raises:
            FluxaError: if another thread is in it.
        """
        me = threading.get_ident()
        process = os.getpid()
        owner = self._owners.get(process)
        if owner == me:
            return nullcontext()
        if owner is not None or self._owners.setdefault(process, me) != me:  # setdefault: for one of them only
            raise FluxaError(f"the {self._what} is in use by another thread; make one {self._what} for each thread")
        return self

    def __enter__(self) -> None:
        return

    def __exit__(self, *error: object) -> None:
        self._owners.pop(os.getpid(), None)
