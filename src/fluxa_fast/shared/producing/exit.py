"""The end of the process: producers send what they have, for a bounded time, and tell what is left."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Protocol

from ..weak_set import SharedWeakSet

__all__ = ["Sends", "at_exit", "see_to_children_of_multiprocessing"]


class Sends(Protocol):
    """What sends the events of a producer for one pool."""

    def begin_exit(self) -> float:
        """Take no more events, and send those that are there. Return seconds that this may take."""

    def end_exit(self, seconds: float) -> None:
        """Wait until they are sent, for that time at most. Log what is left."""

    def forget(self) -> None:
        """Drop the events of the parent process, in a forked child."""


_all: SharedWeakSet[Sends] = SharedWeakSet()


def at_exit(one: Sends) -> None:
    """Call its methods at the end of the process, and in a forked child."""
    _all.add(one)


def see_to_children_of_multiprocessing() -> None:
    """Call `_end` at the end of this process, if multiprocessing made it: that ends without the functions of atexit."""
    global _registered
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if _registered or process is None or util is None:  # an import here could wait for ever, in a forked child
        return
    if process.parent_process() is not None:
        _registered = True
        util.Finalize(None, _end, exitpriority=10)


_registered = False


def _end() -> None:
    """All of them send at the same time."""
    began = time.monotonic()
    ending = [(one, one.begin_exit()) for one in _all]
    for one, limit in ending:
        one.end_exit(max(0.0, began + limit - time.monotonic()))


def _forget_all() -> None:
    global _registered
    _registered = False
    for one in _all:
        one.forget()


atexit.register(_end)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)
