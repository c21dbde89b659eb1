"""Changes parts of a decoded body before a library reads it. None stands for a part that is read as it was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

__all__ = ["Prepare", "at_places", "duration", "in_items", "in_map"]

Prepare = Callable[[Any], Any]


def duration(value: Any) -> Any:
    """Return a number of nanoseconds as a timedelta; what is below a microsecond is cut."""
    return timedelta(microseconds=value // 1000) if type(value) is int else value


def in_items(make: Prepare | None) -> Prepare | None:
    """Return the function that prepares all items of a list."""
    return None if make is None else lambda value: list(map(make, value)) if type(value) is list else value


def at_places(makers: Sequence[Prepare | None], value: list[Any]) -> list[Any]:
    """Return a list whose first items are prepared, each by its function."""
    found = [one if make is None else make(one) for make, one in zip(makers, value, strict=False)]
    return found + value[len(found) :]


def in_map(key: Prepare | None, item: Prepare | None) -> Prepare | None:
    """Return the function that prepares all keys and values of a dict."""
    if key is None and item is None:
        return None

    def to_map(value: Any) -> Any:
        if type(value) is not dict:
            return value
        return {
            (one if key is None else key(one)): (other if item is None else item(other)) for one, other in value.items()
        }

    return to_map
