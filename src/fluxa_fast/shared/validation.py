"""Durations as users give them: seconds, or a timedelta."""

from __future__ import annotations

import math
from datetime import timedelta

__all__ = ["Duration", "positive_int", "seconds"]

Duration = float | timedelta

_LARGEST = 10 * 365 * 86_400  # seconds; Redis holds milliseconds in 64 bits, select() holds less


def seconds(name: str, duration: Duration, *, infinite: bool = False) -> float:
    """A duration in seconds.

    Args:
        name: the argument's name, for the error.
        infinite: whether ``math.inf`` is allowed.

    Raises:
        TypeError, ValueError: if it is no duration, negative, or longer than ten years.
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise TypeError(f"{name} is a number of seconds or a timedelta, not {type(duration).__name__}")
    if infinite and duration == math.inf:
        return math.inf
    if not 0 <= duration <= _LARGEST:
        raise ValueError(f"{name} is a number of seconds from 0 to {_LARGEST}, not {duration!r}")
    return float(duration)


def positive_int(count: int, name: str = "count") -> int:
    """A number of events (or what else `name` is the argument for), 1 at least.

    Raises:
        TypeError, ValueError: if it is none.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} is an int, not {type(count).__name__}")
    if not 1 <= count <= 10_000_000:
        raise ValueError(f"{name} is a number from 1 to 10000000, not {count}")
    return count
