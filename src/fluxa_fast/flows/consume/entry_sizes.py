"""How large the entries of a stream are, so that a read brings the events that a batch has, and hardly more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...protocol.interface import EventBatch

if TYPE_CHECKING:
    from ...packing import Packing

__all__ = ["EntrySizes"]

_FIRST = 100  # entries that the first read asks for at most: each may have a thousand events
_WEIGHT = 0.5  # of the last read in the running average: a small entry is often the last one of a flush
_MOST_BYTES = 1_000_000  # of packed entries in one reply: a server that writes it does nothing else


class EntrySizes:
    """What one consumer knows of the entries in one Redis stream.

    Args:
        packing: how the stream is registered; None: its entries may be packed all the same.

    Attributes:
        packed: whether entries with several events were read, or are to be expected.
        plain: whether entries were read, and each of them was one event.
    """

    __slots__ = ("_bytes", "_events", "_known", "packed", "plain")

    def __init__(self, packing: Packing | None) -> None:
        self.packed: bool = packing is not None
        self.plain: bool = False
        self._known = False  # whether packed entries were read
        self._events = 1.0 if packing is None else float(packing.max_events)  # of an entry, by a running average
        self._bytes = 0.0 if packing is None else float(packing.max_bytes)

    def entries_for(self, events: int) -> int:
        """Return how many entries to ask for, so that they have about so many events."""
        if not self.packed:
            return events if self.plain else min(events, _FIRST)
        entries = round(events / self._events)
        if self._bytes:
            entries = min(entries, int(_MOST_BYTES / self._bytes))
        return max(1, entries)

    def to_claim(self, events: int) -> int:
        """The same for a claim. The script bounds their bytes, so the first one may ask for as many."""
        return self.entries_for(events) if self.packed else events

    def note(self, batch: EventBatch) -> None:
        """Take note of what was read."""
        entries = len(batch.events) - batch.extra
        if not entries:
            return
        if not (self.packed or batch.extra):
            self.plain = True
            return
        weight = _WEIGHT if self._known else 1.0
        self._known = self.packed = True
        self.plain = False
        self._events += weight * (len(batch.events) / entries - self._events)
        if batch.size:
            self._bytes += weight * (batch.size / entries - self._bytes)
