"""Entries that were acknowledged, and stay in the stream because another group still needs them."""

from __future__ import annotations

from ...protocol.entry_ids import parse_id

__all__ = ["NOTHING", "HeldEntries", "Span"]

Span = tuple[str, str]
"""The lowest and the highest ID of entries that may be held; two empty strings: there are none."""

NOTHING: Span = ("", "")


class HeldEntries:
    """What one consumer knows of them: between which two IDs they lie. Threads may share it."""

    __slots__ = ("span",)

    def __init__(self) -> None:
        self.span: Span = NOTHING

    def __bool__(self) -> bool:
        return self.span != NOTHING

    def tried(self, asked: Span, left: Span) -> None:
        """Take note of an acknowledgement that was given the span `asked`, and says that `left` may stay."""
        now = self.span
        if now == asked:
            self.span = left
        elif left != NOTHING:  # another acknowledgement was answered meanwhile
            spans = [left] if now == NOTHING else [left, now]
            self.span = (min((one[0] for one in spans), key=parse_id), max((one[1] for one in spans), key=parse_id))
