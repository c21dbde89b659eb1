"""Entries that were acknowledged, and may be in the stream still.

Another group needs them; or an entry in front of them is pending, so they could not be trimmed with it.
"""

from __future__ import annotations

import math
import time

from ...protocol.entry_ids import parse_id

__all__ = ["NOTHING", "HeldEntries", "Span"]

Span = tuple[str, str]
"""The lowest and the highest ID of entries that may be held; two empty strings: there are none."""

_MOST = 10_000  # entries, before they are looked at though batches come
_PATIENCE = 1.0  # seconds for which another group, or another consumer, may be behind

NOTHING: Span = ("", "")


class HeldEntries:
    """What one consumer knows of them. Threads may share it.

    Attributes:
        span: between which two IDs they lie, as the server has said.
        sent: the same, with all that acknowledgements under way are about.
        count: how many were acknowledged and not looked at since the first of them was deleted.
        moved_at: when (monotonic seconds) the first of them was deleted last.
        cursor: the ID from which on the next call looks at them, one by one; "": from the first.
        untidy: whether some may be deleted that no group needs.
    """

    __slots__ = ("count", "cursor", "moved_at", "sent", "span", "untidy")

    def __init__(self) -> None:
        self.span: Span = NOTHING
        self.sent: Span = NOTHING
        self.count: int = 0
        self.moved_at: float = -math.inf
        self.cursor: str = ""
        self.untidy: bool = False

    @property
    def stuck(self) -> bool:
        """Whether they are many, and the first of them stays: an entry in front is not acknowledged."""
        return self.count > _MOST and time.monotonic() > self.moved_at + _PATIENCE

    def __bool__(self) -> bool:
        return self.span != NOTHING

    def begun(self, new: Span) -> Span:
        """An acknowledgement of the entries in `new` is about to be sent. Returns the span that it is to be given.

        The next one is to be given them too, because it may be sent before this one is answered.
        """
        self.sent = _united(self.sent, new)
        return self.sent

    def cut_off(self) -> None:
        """Acknowledgements were sent, and their replies are not waited for: what they were about may be held."""
        if self.sent != NOTHING:
            self.span = self.sent
            self.untidy = True

    def tried(self, asked: Span, left: Span) -> None:
        """Take note of an acknowledgement that was given the span `asked`, and says that `left` may stay."""
        if asked == self.sent:
            self.span = self.sent = left
        elif left != NOTHING:  # another acknowledgement was sent or answered meanwhile
            self.span = _united(left, self.span)
            self.sent = _united(left, self.sent)
        if self.span == NOTHING:
            self.count = 0
            self.cursor = ""
            self.untidy = False

    def trimmed(self, acknowledged: int, moved: bool, looked_at: int, cursor: str) -> None:
        """Take note of a trim.

        Args:
            acknowledged: how many entries were acknowledged with it.
            moved: whether the first of those that were held is gone.
            looked_at: how many the script could look at, one by one.
            cursor: from which ID on the next one looks; "": the script has looked at all, if it could look at any.
        """
        if self.span == NOTHING:
            return
        self.cursor = cursor
        self.untidy = bool(cursor) or not looked_at
        if moved or not self.count:
            self.moved_at = time.monotonic()
        self.count = (0 if moved or not self.untidy else max(0, self.count - looked_at)) + acknowledged


def _united(one: Span, other: Span) -> Span:
    """Return the span that has both."""
    if NOTHING in (one, other):
        return other if one == NOTHING else one
    return min(one[0], other[0], key=parse_id), max(one[1], other[1], key=parse_id)
