"""Checks of arguments: durations and counts."""

from __future__ import annotations

import math
from datetime import timedelta

__all__ = ["Duration", "positive_int", "seconds"]

Duration = float | timedelta
"""Seconds, or a timedelta."""

_LARGEST = 10 * 365 * 86_400  # seconds; Redis accepts more, but select() does not


def seconds(name: str, duration: Duration, *, infinite: bool = False) -> float:
    """Return a duration in seconds.

    Args:
        name: the name of the argument, for the error.
        duration: the argument.
        infinite: whether ``math.inf`` is allowed.

    Raises:
        TypeError: if it is not a number or a timedelta.
        ValueError: if it is negative, or longer than ten years.
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
    """Return a count, which is at least 1.

    Args:
        count: the argument.
        name: the name of the argument, for the error.

    Raises:
        TypeError: if it is not an int.
        ValueError: if it is not from 1 to 10 000 000.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} is an int, not {type(count).__name__}")
    if not 1 <= count <= 10_000_000:
        raise ValueError(f"{name} is a number from 1 to 10000000, not {count}")
    return count
