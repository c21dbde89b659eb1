"""The hash of a Redis key (its cluster slot) and of a partition key, from Python's standard library."""

from __future__ import annotations

from binascii import crc_hqx
from zlib import crc32

from ..hashing import SLOTS, Key, key_bytes

__all__ = ["key_hash", "key_slot"]


def key_slot(key: Key) -> int:
    data = key_bytes(key)
    begin = data.find(b"{") + 1
    end = data.find(b"}", begin) if begin else -1
    return crc_hqx(data[begin:end] if end > begin else data, 0) % SLOTS


def key_hash(key: Key) -> int:
    return crc32(key_bytes(key))
