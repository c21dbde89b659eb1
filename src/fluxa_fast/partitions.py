"""Partitions of a stream: their Redis keys, and which partition an event goes to.

docs/cluster.md specifies both, with test vectors: implementations in other languages must do the same, and neither can
ever change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count

from . import protocol
from .keep import Keep
from .packing import Packing
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
    """A registered stream.

    Attributes:
        name: the name of the stream.
        pool: the name of its pool.
        key: the name of the stream in Redis: with the registry's prefix.
        keys: the Redis keys of its partitions; of a stream without partitions, `key`.
        partitioned: whether it has partitions.
        groups: that are declared: the name of each, and its position, as XGROUP CREATE takes it.
        keep: how much it keeps of what was handled; None: nothing.
        packing: how flushers pack its events; None: each event is an entry.
    """

    name: str
    pool: str
    key: str
    keys: tuple[str, ...]
    partitioned: bool
    groups: tuple[tuple[str, str], ...]
    keep: Keep | None = None
    packing: Packing | None = None


def key_slot(key: Key) -> int:
    """Return the cluster slot of a Redis key (``CLUSTER KEYSLOT``): its CRC-16/XMODEM, mod 16384.

    Args:
        key: a Redis key, such as the name of a stream. If it has a hash tag (a ``{...}`` that is not empty), only the
            tag counts.
    """
    return protocol.default.key_slot(key)


def partition_of(key: Key, partitions: int) -> int:
    """Return the partition that a partition key maps to: CRC-32 of the key's bytes, mod the number of partitions.

    Args:
        key: the partition key. A str counts as UTF-8, an int as its decimal digits.
        partitions: the number of partitions.

    Raises:
        SerializationError: if `key` can't be a partition key.
    """
    return protocol.default.key_hash(key) % partitions


def partition_streams(stream: str, partitions: int) -> tuple[str, ...]:
    """Return the Redis keys of a stream's partitions, in order, such as ``orders:0of12:{8}``.

    The slot of partition `i` of `n` is the middle of the `i`-th of `n` equal parts of all slots. The hash tag of the
    partition is the smallest number that hashes to this slot.

    Args:
        stream: the registered name, behind the registry's prefix.
        partitions: the number of partitions, from 1 to 16384.

    Raises:
        ValueError: for another number, or for a name with a brace, which would begin a hash tag.
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
    """Return the stream that has a Redis key as a partition, and its number of partitions; None for other keys."""
    found = _PARTITION.fullmatch(key)
    if found is None or not 0 <= int(found["index"]) < int(found["partitions"]) <= MOST_PARTITIONS:
        return None
    stream, partitions = found["stream"], int(found["partitions"])
    return (stream, partitions) if partition_streams(stream, partitions)[int(found["index"])] == key else None


def beside(key: str, what: str) -> str:
    """Return a Redis key that belongs to a stream and lies in the slot of that stream.

    This function names all Redis keys beside a stream. docs/cluster.md specifies the rule for other languages.

    Args:
        key: the Redis key of the stream or of its partition.
        what: a word without ``:`` and braces that tells the keys of a stream apart, such as ``lease``.
    """
    opening = key.find("{")
    closing = key.find("}", opening + 1)
    if opening >= 0 and closing > opening + 1:
        return f"{key}:{what}"
    if key and "}" not in key:
        return f"{{{key}}}:{what}"
    # A hash tag of the whole name would end at the first brace of the name.
    return f"{{{_tags()[key_slot(key)]}}}:{what}:{key}"


@cache
def _tags() -> list[str]:
    """Return for every slot the smallest number that hashes to it."""
    slot_of = protocol.default.key_slot
    tags: dict[int, str] = {}
    for number in count():
        tags.setdefault(slot_of(tag := str(number)), tag)
        if len(tags) == SLOTS:
            return [tags[slot] for slot in range(SLOTS)]
    raise AssertionError("numbers don't end")
