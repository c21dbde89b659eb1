"""Threads that begin at the same moment."""

from __future__ import annotations

import sysconfig
import threading
from collections.abc import Callable, Sequence

import pytest

WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
needs_gil = pytest.mark.skipif(WITHOUT_GIL, reason="without the GIL, objects of other threads are freed later")


def run_concurrently_blocking(works: Sequence[Callable[[], object]]) -> None:
    """Run each in a thread of its own, all at once. The first failure, if there is one, is raised here."""
    gate = threading.Barrier(len(works))
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
