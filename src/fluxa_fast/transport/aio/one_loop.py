"""What one event loop at a time may use. Another loop that is running at the same time is refused."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from ...errors import FluxaError

__all__ = ["OneLoop", "OneLoopLock", "process"]

Loop = asyncio.AbstractEventLoop


class _Process:
    """What belongs to this process. A forked child has its own.

    Attributes:
        number: another number than the parent's. (To ask the system for the process's ID takes much longer.)
        lock: the lock under which loops take turns. A thread of the parent may have held the parent's.
    """

    __slots__ = ("lock", "number")

    def __init__(self) -> None:
        self.number: int = 0
        self.lock: threading.Lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.number += 1
        self.lock = threading.Lock()


process: _Process = _Process()


class OneLoop:
    """The event loop in which something is used. Another loop takes it over when that one does not run any more.

    Args:
        what: the name of it, for errors.

    Attributes:
        loop: the loop; None before the first.
    """

    __slots__ = ("_process", "_what", "loop")

    def __init__(self, what: str) -> None:
        self.loop: Loop | None = None
        self._what = what
        self._process = process.number

    def enter(self, loop: Loop, leave: Callable[[Loop | None], object]) -> None:
        """Use it in this loop from now on.

        Args:
            loop: the running one.
            leave: leaves behind what belongs to the loop that it is called with.

        Raises:
            FluxaError: if another loop uses it, and is running. Nothing has changed then.
        """
        with process.lock:
            before = self.loop
            if before is loop:
                return
            if before is not None and self._process == process.number and before.is_running():
                raise FluxaError(
                    f"{self._what} is in use by another event loop, which is running; "
                    "make an engine for each event loop: validate the registry again"
                )
            leave(before)
            self._process = process.number
            self.loop = loop


class OneLoopLock:
    """As asyncio.Lock, for one event loop at a time. A loop that shares asyncio's with another may never be woken.

    Args:
        what: the name of what it guards, for errors.
    """

    __slots__ = ("_home", "_lock")

    def __init__(self, what: str) -> None:
        self._home = OneLoop(what)
        self._lock = asyncio.Lock()

    def check(self) -> None:
        """Refuse another loop.

        Raises:
            FluxaError: if another loop uses it, and is running.
        """
        loop = asyncio.get_running_loop()
        if self._home.loop is not loop:
            self._home.enter(loop, self._renew)

    def _renew(self, before: Loop | None) -> None:
        if before is not None:  # a task of that loop may have held it to its end
            self._lock = asyncio.Lock()

    def locked(self) -> bool:
        """Whether a task holds it."""
        return self._lock.locked()

    def acquire(self) -> Coroutine[Any, Any, object]:
        """Wait for it, and hold it. `release` gives it up."""
        self.check()
        return self._lock.acquire()

    def release(self) -> None:
        """Give it up."""
        self._lock.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *error: object) -> None:
        self.release()
