"""Signals to the main thread of a test. Not SIGALRM, which is the time limit of the tests."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

__all__ = ["POSIX", "signals"]

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@contextlib.contextmanager
def signals(each: float, handler: Callable[[], object], *, again: bool = True) -> Iterator[None]:
    """Let a signal come after that many seconds, and then again and again. `handler`: is called with each."""
    main, over = threading.get_ident(), threading.Event()

    def send() -> None:
        while not over.wait(each):
            signal.pthread_kill(main, signal.SIGUSR1)
            if not again:
                return

    before = signal.signal(signal.SIGUSR1, lambda *_: handler())
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
