"""Entries that were trimmed before a group was delivered them."""

from __future__ import annotations

from typing import Any

from ..protocol.entry_ids import parse_id
from ..protocol.interface import ErrorReply
from .replies import named

__all__ = ["About", "missed"]


class About:
    """What the server says about a stream, as far as it is needed here.

    Args:
        reply: the reply to XINFO STREAM.

    Attributes:
        added: how many entries were ever added; None if it is not known (before Redis 7.0; without the right to ask).
        length: how many there are.
        first: the ID of the oldest; None: there is none.
    """

    def __init__(self, reply: Any) -> None:
        self.added: int | None = None
        self.length: int = 0
        self.first: bytes | None = None
        if not isinstance(reply, ErrorReply):
            stream = named(reply)
            self.added = stream.get("entries-added")
            self.length = stream["length"]
            self.first = stream["first-entry"][0] if stream["first-entry"] else None


def missed(group: dict[str, Any], about: About) -> int | None:
    """Return how many entries a group was not delivered because they were trimmed, since its last one.

    Args:
        group: what XINFO GROUPS says.
        about: its stream.

    Returns:
        None if it can't be told.
    """
    read = group.get("entries-read")
    if about.added is None or read is None:
        return None
    if about.first is not None and parse_id(about.first) <= parse_id(group["last-delivered-id"]):
        return 0
    return max(0, about.added - int(read) - about.length)
