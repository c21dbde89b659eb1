"""Partitions of a stream: what they are called, and which one an event belongs to.

Both are written down in docs/cluster.md with vectors, because other languages must agree, for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count

from . import protocol
from .protocol.hashing import SLOTS, Key

__all__ = [
    "MOST_PARTITIONS",
    "RegisteredStream",
    "beside",
    "key_slot",
    "partition_of",
    "partition_streams",
    "partitions_with",
]

MOST_PARTITIONS = SLOTS


@dataclass(frozen=True, slots=True)
class RegisteredStream:
    """A stream, as it was registered.

    Attributes:
        name: of the stream.
        pool: the name of the pool that it is on.
        keys: the streams in Redis that it is made of: its partitions, or itself.
        partitioned: whether it has partitions.
    """

    name: str
    pool: str
    keys: tuple[str, ...]
    partitioned: bool


def key_slot(key: Key) -> int:
    """The slot of a Redis Cluster that a key belongs to (``CLUSTER KEYSLOT``): its CRC-16/XMODEM, mod 16384.

    Args:
        key: the name of a stream, for one. If it has a ``{...}`` that is not empty, only that counts.
    """
    return protocol.default.key_slot(key)


def partition_of(key: Key, partitions: int) -> int:
    """The partition that events with this key go to: CRC-32 of the key's bytes, mod the number of partitions.

    Args:
        key: a str counts as its UTF-8, an int as its decimal digits, bytes as they are.
        partitions: how many there are.

    Raises:
        SerializationError: for what is no key.
    """
    return protocol.default.key_hash(key) % partitions


def partition_streams(stream: str, partitions: int) -> tuple[str, ...]:
    """The keys in Redis of a stream's partitions, in order: ``orders:0of12:{8}``, for one.

    Partition `i` of `n` lies in the middle of the `i`-th of `n` equal parts of all slots. Its hash tag is the smallest
    number whose slot that is.

    Args:
        stream: the name as it is registered.
        partitions: how many there are, from 1 to 16384.

    Raises:
        ValueError: for another number, or a name with a brace in it, which would be taken for a hash tag.
    """
    if type(partitions) is not int or not 0 < partitions <= MOST_PARTITIONS:
        told = partitions if isinstance(partitions, int | float | str) else type(partitions).__name__
        raise ValueError(f"a stream has 1 to {MOST_PARTITIONS} partitions, not {told!r}")
    if "{" in stream:
        raise ValueError("the name of a stream with partitions has no '{': each partition has a hash tag of its own")
    return _partition_streams(stream, partitions)


@lru_cache(maxsize=1024)
def _partition_streams(stream: str, partitions: int) -> tuple[str, ...]:
    slots = [(2 * index + 1) * SLOTS // (2 * partitions) for index in range(partitions)]
    return tuple(f"{stream}:{index}of{partitions}:{{{_tags()[slot]}}}" for index, slot in enumerate(slots))


_PARTITION = re.compile(r"(?P<stream>[^{]+):(?P<index>\d{1,5})of(?P<partitions>\d{1,5}):\{\d{1,9}\}", re.DOTALL)


def partitions_with(key: str) -> tuple[str, int] | None:
    """The stream that a key in Redis is a partition of, and how many it has; None for one that is called otherwise."""
    found = _PARTITION.fullmatch(key)
    if found is None or not 0 <= int(found["index"]) < int(found["partitions"]) <= MOST_PARTITIONS:
        return None
    stream, partitions = found["stream"], int(found["partitions"])
    return (stream, partitions) if partition_streams(stream, partitions)[int(found["index"])] == key else None


def beside(key: str, what: str) -> str:
    """The name of a key in Redis that belongs to a stream, and lies in the slot of that stream.

    All keys beside a stream are named here. The rule is written down in docs/cluster.md, for other languages.

    Args:
        key: the key of the stream, or of one of its partitions.
        what: which of the keys beside it, such as ``lease``; a word without ``:`` and braces.
    """
    opening = key.find("{")
    closing = key.find("}", opening + 1)
    if opening >= 0 and closing > opening + 1:
        return f"{key}:{what}"
    if key and "}" not in key:
        return f"{{{key}}}:{what}"
    return f"{{{_tags()[key_slot(key)]}}}:{what}:{key}"  # in braces of its own, the name would end at its first brace


@cache
def _tags() -> list[str]:
    """Of every slot the smallest number that hashes to it."""
    slot_of = protocol.default.key_slot
    tags: dict[int, str] = {}
    for number in count():
        tags.setdefault(slot_of(tag := str(number)), tag)
        if len(tags) == SLOTS:
            return [tags[slot] for slot in range(SLOTS)]
    raise AssertionError("numbers don't end")
