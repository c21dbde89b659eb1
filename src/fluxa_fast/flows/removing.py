"""Removes a group of a stream, and tells the consumers that still run."""

from __future__ import annotations

from ..groups import beside_group
from ..protocol.interface import CommandBuffer
from ..scripts import REMOVE_GROUP
from .replies import NUMBER
from .retry import raise_for_error
from .steps import Flow, ask

__all__ = ["remove_group"]

_TOMBSTONE = 3_600_000  # milliseconds: longer than a handler has a batch


def remove_group(commands: CommandBuffer, key: str, group: str) -> Flow[bool]:
    """``XGROUP DESTROY key group``, in a script that leaves a tombstone. Returns whether there was the group.

    Raises:
        ServerNotReadyError, redis.ResponseError: what the server says.
    """
    tombstone = beside_group(key, "removed", group)
    commands.command("EVAL", REMOVE_GROUP.text, 2, key, tombstone, group, _TOMBSTONE)
    return bool(raise_for_error((yield from ask(commands, NUMBER))))
