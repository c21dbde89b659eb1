"""The pure-Python implementation of `..interface`.

It uses msgpack, and hiredis if that is installed, wherever they do what the contract says. All other cases, and all
errors, are written in Python.
"""

from __future__ import annotations

from .batches import BatchWriter
from .commands import CommandBuffer, EventWriter
from .events import (
    Event,
    complete,
    count_deliveries,
    entries_in,
    entry_begin,
    mark_acknowledged,
    mark_taken_over,
    matching,
    resumed,
)
from .hashing import key_hash, key_slot
from .msgpack import pack, unpack
from .replies import Confirmations, ReplyReader

__all__ = [
    "BatchWriter",
    "CommandBuffer",
    "Confirmations",
    "Event",
    "EventWriter",
    "ReplyReader",
    "complete",
    "count_deliveries",
    "entries_in",
    "entry_begin",
    "key_hash",
    "key_slot",
    "mark_acknowledged",
    "mark_taken_over",
    "matching",
    "name",
    "pack",
    "plain_replies",
    "resumed",
    "staging",
    "unpack",
]

name = "python"

plain_replies = staging = None
"""None: the drop-in leaves it to redis-py, because Python code would not be faster."""
