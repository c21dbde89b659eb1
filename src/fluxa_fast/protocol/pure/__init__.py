"""The pure-Python implementation of `..interface`.

It leans on msgpack, and on hiredis where that is installed, for as long as they do what the contract says; the
rest, and every refusal, is written out in Python here.
"""

from __future__ import annotations

from .commands import CommandBuffer, EventWriter
from .events import Event, mark_acknowledged
from .hashing import key_hash, key_slot
from .msgpack import pack, unpack
from .replies import Confirmations, ReplyReader
from .staging import same_objects, stage_command, stage_entry

__all__ = [
    "CommandBuffer",
    "Confirmations",
    "Event",
    "EventWriter",
    "ReplyReader",
    "key_hash",
    "key_slot",
    "mark_acknowledged",
    "name",
    "pack",
    "plain_replies",
    "same_objects",
    "stage_command",
    "stage_entry",
    "unpack",
]

name = "python"

plain_replies = None
"""redis-py's own parser is as quick as what could be written in Python here, so the drop-in reads with that."""
