"""The replies to the first commands of a pipeline, as they come in."""

from __future__ import annotations

from typing import Any

from .. import protocol
from ..protocol.interface import INCOMPLETE, Incomplete, PlainReplies, ReplyReader
from .staged import Staged

__all__ = ["PipelineReplies"]


class PipelineReplies:
    """Collects plain replies to stream commands, in order. It ends at the first reply or command of another kind.

    What was received behind that, and all that follows, is for redis-py's own parser: it is as fast with these.

    Args:
        staged: the commands that were sent.
        plain: how plain replies are read.
        text: whether strings in replies are text.
    """

    def __init__(self, staged: Staged, plain: PlainReplies, text: bool) -> None:
        self.reader: ReplyReader = protocol.default.ReplyReader()
        self._replies: list[Any] = []
        self._plain = plain
        self._text = text
        self._expected = staged.before_others

    def take(self) -> list[Any] | Incomplete:
        """Return all replies up to the end, or INCOMPLETE if more has to be received."""
        most = self._expected - len(self._replies)
        not_plain = self._plain.take_scalars(self.reader, self._replies, most, self._text)
        if not_plain or len(self._replies) == self._expected:
            return self._replies
        return INCOMPLETE

    def left(self) -> bytes:
        """What was received behind the last of these replies."""
        return self._plain.unread(self.reader)
