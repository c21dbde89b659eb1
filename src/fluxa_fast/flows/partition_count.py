"""Compares the number of partitions of a stream with the one in Redis, so that services notice when theirs differ.

Two services that register a stream with different numbers write and read different keys: events would not arrive, and
no error would say so.
"""

from __future__ import annotations

import re

from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from ..errors import PartitionsDifferError
from ..partitions import beside
from .agreement import Agreement

__all__ = ["PartitionCheck", "count_key", "not_checked"]

_NUMBER = re.compile(rb"[1-9]\d{0,4}")


def count_key(stream: str) -> str:
    """Return the Redis key that holds the number of partitions of a stream: ``{orders}:partitions``.

    The name of a stream with partitions has no ``{``, so no other stream has this Redis key.

    Args:
        stream: the registered name, behind the registry's prefix.
    """
    return beside(stream, "partitions")


class PartitionCheck(Agreement):
    """Whether one broker has still to compare its number of partitions of one stream.

    Attributes:
        number: how many partitions it is registered with here.
    """

    __slots__ = ("number",)

    what = "the number of partitions"
    unnoticed = "services that register another number are not noticed"

    def __init__(self, stream: str, number: int, key: str) -> None:
        super().__init__(stream, key, number)
        self.number: int = number

    def only_compared(self) -> PartitionCheck:
        """Return the same check for calls that only read: where there is no number yet, they write none."""
        other = PartitionCheck(self.stream, self.number, self.key)
        other.value = None
        other.due = self.due
        return other

    def check(self, stored: bytes) -> None:
        if not _NUMBER.fullmatch(stored):
            raise self.no_value(f"it holds {stored[:40]!r}")
        if int(stored) != self.number:
            raise PartitionsDifferError(self.stream, self.number, int(stored), self.key)


def not_checked(check: PartitionCheck, error: RedisError) -> RedisError:
    """Return the error for events that were not sent because the number could not be compared."""
    text = f"nothing was sent, because the number of partitions of {check.stream!r} could not be checked: {error}"
    kind = next((kind for kind in (TimeoutError, ConnectionError) if isinstance(error, kind)), ResponseError)
    told: RedisError = kind(text)
    told.__cause__ = error
    return told
