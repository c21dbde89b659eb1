"""Partition keys, and the bytes of a partition key that both implementations hash."""

from __future__ import annotations

from typing import Final

from ..errors import SerializationError
from . import encode_errors

__all__ = ["SLOTS", "Key", "key_bytes", "without_partitions"]

SLOTS: Final = 16384
"""How many slots a Redis Cluster has."""

Key = str | bytes | int
"""A partition key: events with the same key go to the same partition. A str counts as UTF-8, an int as its digits."""


def key_bytes(key: Key) -> bytes:
    """Return the bytes of a key that are hashed.

    Raises:
        SerializationError: if it is not a str, bytes or an int, or can't be written as UTF-8.
    """
    if isinstance(key, str):
        try:
            return key.encode()
        except UnicodeEncodeError as error:
            raise SerializationError(encode_errors.surrogates(error).reason, "key") from None
    if isinstance(key, bytes):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return b"%d" % key
    raise SerializationError(f"a key is a str, bytes or int, not {type(key).__qualname__}", "key")


def without_partitions(stream: str) -> ValueError:
    """Return the error for a partition key on a stream without partitions. (A stream with one partition takes keys.)"""
    return ValueError(
        f"stream {stream!r} has no partitions, so key= would have no effect: "
        "register the stream with partitions=, or leave key= out"
    )
