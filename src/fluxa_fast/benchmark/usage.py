"""CPU and memory of this process, and CPU of the server."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import redis

__all__ = ["Took", "cpu_seconds", "peak_memory", "resident_memory", "server_cpu", "timed"]


def cpu_seconds() -> float:
    """Return the CPU time of all threads of this process, by getrusage if the platform has it."""
    try:
        import resource
    except ImportError:  # Windows
        return time.process_time()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Took(NamedTuple):
    """The time of a call: seconds, and CPU seconds of this process."""

    seconds: float
    cpu: float


def timed(call: Callable[[], object]) -> Took:
    """Call a function, and return the time of the call."""
    gc.collect()
    cpu = cpu_seconds()
    begin = time.perf_counter()
    call()
    seconds = time.perf_counter() - begin
    return Took(seconds, cpu_seconds() - cpu)


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held so far; 0 if the platform does not tell it."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Return the bytes of memory that this process holds; 0 if the platform does not tell it."""
    try:
        return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * 4096
    except OSError:
        return 0


def server_cpu(client: redis.Redis) -> float:
    """Return the CPU seconds of the server so far (``INFO cpu``)."""
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
