"""The compiled implementation of `..interface`. It is used only if all of its modules are there."""

from __future__ import annotations

from importlib import import_module

from ..._version import __version__
from ..compiled_modules import COMPILED_MODULES, PACKAGE
from . import plain_replies, staging
from .batches import BatchWriter
from .buffer import built_with
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
from .packing import pack
from .replies import Confirmations, ReplyReader
from .unpacking import unpack

__all__ = [
    "BatchWriter",
    "CommandBuffer",
    "Confirmations",
    "Event",
    "EventWriter",
    "ReplyReader",
    "built_with",
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

name = "c"

for _name in COMPILED_MODULES:
    _module = import_module(f"{PACKAGE}.{_name}")
    if _module.built_for != __version__:
        raise RuntimeError(
            f"{_module.__name__} was compiled for fluxa_fast {_module.built_for}, but this is {__version__}; "
            "build it again (pip install -e . or make dev)"
        )
