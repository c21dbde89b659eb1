"""What processes use: CPU and memory of this one, CPU of the server."""

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
    """CPU time of this process, all threads: getrusage where there is one."""
    try:
        import resource
    except ImportError:  # Windows
        return time.process_time()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Took(NamedTuple):
    """What a call took: seconds, and seconds of CPU of this process."""

    seconds: float
    cpu: float


def timed(call: Callable[[], object]) -> Took:
    """Call it, and say what that took."""
    gc.collect()
    cpu = cpu_seconds()
    begin = time.perf_counter()
    call()
    seconds = time.perf_counter() - begin
    return Took(seconds, cpu_seconds() - cpu)


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes; 0 where the platform does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Bytes of memory that the process holds; 0 where the platform does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def server_cpu(client: redis.Redis) -> float:
    """``INFO cpu``: CPU time of the server so far, in seconds."""
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
