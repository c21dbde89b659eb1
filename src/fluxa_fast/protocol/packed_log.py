"""Which commands of a buffer are entries of packed streams, and how many events they have."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["PackedCommand", "PackedLog"]


class PackedCommand(NamedTuple):
    """An entry of a packed stream.

    Attributes:
        position: of its command in the buffer.
        lane: the index under which the order of publishing has its events.
        events: how many it has.
    """

    position: int
    lane: int
    events: int


class PackedLog:
    """The entries of packed streams in a buffer. Every other command of the buffer is one event.

    Attributes:
        commands: by ascending position.
    """

    __slots__ = ("commands",)

    def __init__(self, commands: Iterable[PackedCommand] = ()) -> None:
        self.commands: list[PackedCommand] = list(commands)

    def add(self, position: int, lane: int, events: int) -> None:
        """The command at the end of the buffer is such an entry."""
        self.commands.append(PackedCommand(position, lane, events))

    def truncate(self, commands: int) -> None:
        """The buffer has the first so many commands only."""
        del self.commands[bisect_left(self.commands, (commands,)) :]

    def extend(self, other: PackedLog, begin: int) -> None:
        """The commands of another buffer were appended, from the position `begin` on."""
        self.commands += [PackedCommand(begin + one.position, one.lane, one.events) for one in other.commands]

    def kept(self, positions: Iterable[int]) -> PackedLog | None:
        """Return the log of a buffer that has the commands at these positions only; None: none of them is in it."""
        found = {one.position: one for one in self.commands}
        kept = [
            found[position]._replace(position=place) for place, position in enumerate(positions) if position in found
        ]
        return PackedLog(kept) if kept else None
