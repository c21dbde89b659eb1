"""Replies that are not plain, as bytes for redis-py's own parser."""

from __future__ import annotations

from typing import Any

from ..protocol.interface import INCOMPLETE, Incomplete, PlainReplies

__all__ = ["Frames"]

_PUSH = 0x3E


class Frames:
    """Takes replies out of a reader. Pushes go with the reply behind them: redis-py reads them on the way to it."""

    def __init__(self, plain: PlainReplies, reader: Any) -> None:
        self._plain = plain
        self._reader = reader
        self._pushed = b""

    @property
    def pending(self) -> bool:
        """True if a push waits for the reply behind it."""
        return bool(self._pushed)

    def take(self) -> bytes | Incomplete:
        """The next reply, with the pushes before it."""
        while not isinstance(frame := self._plain.frame(self._reader), Incomplete):
            self._pushed += frame
            if frame[0] != _PUSH:
                taken, self._pushed = self._pushed, b""
                return taken
        return INCOMPLETE

    def left(self) -> bytes:
        """What was received behind the last reply."""
        return self._pushed + self._plain.unread(self._reader)
