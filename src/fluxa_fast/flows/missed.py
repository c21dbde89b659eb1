"""What the server says about a stream, and entries that were trimmed before a group was delivered them."""

from __future__ import annotations

from typing import Any

from ..protocol.entry_ids import parse_id
from ..protocol.interface import ErrorReply
from ..protocol.packed import events_in
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
        events_per_entry: of the oldest and the newest entry, on average.
    """

    def __init__(self, reply: Any) -> None:
        self.added: int | None = None
        self.length: int = 0
        self.first: bytes | None = None
        self.events_per_entry: float = 1.0
        if not isinstance(reply, ErrorReply):
            stream = named(reply)
            self.added = stream.get("entries-added")
            self.length = stream["length"]
            ends = [entry for entry in (stream["first-entry"], stream.get("last-entry")) if entry]
            self.first = ends[0][0] if ends else None
            if ends:
                self.events_per_entry = sum([events_in(entry[1]) for entry in ends]) / len(ends)


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
