"""What both implementations of the hashes agree on: which keys there are, and what their bytes are."""

from __future__ import annotations

from typing import Final

from ..errors import SerializationError
from . import conversions

__all__ = ["SLOTS", "Key", "key_bytes", "without_partitions"]

SLOTS: Final = 16384
"""Slots of a Redis Cluster."""

Key = str | bytes | int
"""What keeps events together: a text as UTF-8, bytes as they are, a whole number in decimal."""


def key_bytes(key: Key) -> bytes:
    """The bytes that are hashed.

    Raises:
        SerializationError: for what is no key.
    """
    if isinstance(key, str):
        try:
            return key.encode()
        except UnicodeEncodeError as error:
            raise SerializationError(conversions.surrogates(error).reason, "key") from None
    if isinstance(key, bytes):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return b"%d" % key
    raise SerializationError(f"a key is a str, bytes or int, not {type(key).__qualname__}", "key")


def without_partitions(stream: str) -> ValueError:
    """The error for a key where there is nothing to choose from. A stream that has one partition takes keys."""
    return ValueError(
        f"stream {stream!r} has no partitions, so key= would have no effect: "
        "register the stream with partitions=, or leave key= out"
    )
