"""The shapes that redis-py gives to replies of stream reads, which differ by its version, protocol and settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["is_redis_pys", "stream_shape"]

Shape = Callable[[list[Any]], Any]


def _pairs(streams: list[Any]) -> Any:
    return streams


def _mapping(streams: list[Any]) -> Any:
    return dict(streams)


def _nested_mapping(streams: list[Any]) -> Any:
    return {name: [entries] for name, entries in streams}


_SHAPES: tuple[Shape, ...] = (_pairs, _mapping, _nested_mapping)


def is_redis_pys(callback: Any) -> bool:
    """True for a callback that came with redis-py, and so does nothing but shape a reply."""
    return str(getattr(callback, "__module__", "")).startswith("redis.")


@lru_cache(maxsize=64)
def stream_shape(callback: Any, from_map: bool) -> Shape | None:
    """What redis-py's callback makes of the reply of XREAD or XREADGROUP, which came as a map or as an array.

    It is asked, with a small reply. None if it is not redis-py's, or makes something unheard of.
    """
    if not is_redis_pys(callback):
        return None
    entries = [[b"1-0", [b"field", b"value"]], [b"2-0", [b"field", b"value"]]]
    try:
        made = callback({b"one": entries, b"two": entries} if from_map else [[b"one", entries], [b"two", entries]])
    except Exception:
        return None
    shaped = [(b"1-0", {b"field": b"value"}), (b"2-0", {b"field": b"value"})]
    for shape in _SHAPES:
        expected = shape([[b"one", shaped], [b"two", shaped]])
        if made == expected and type(made) is type(expected):
            return shape
    return None
