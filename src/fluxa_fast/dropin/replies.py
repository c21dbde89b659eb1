"""The replies to the commands of a pipeline, as they come in."""

from __future__ import annotations

from typing import Any

from .. import protocol
from ..protocol.interface import INCOMPLETE, Incomplete, PlainReplies, ReplyReader
from .frames import Frames
from .staged import Command, Staged

__all__ = ["PipelineReplies"]

_AN_EAGER_ONE: Command = (("XADD",), {})  # none of them has a callback, or their replies would be redis-py's as well


class PipelineReplies:
    """Collects the replies in order. Those that are not plain, and those of other commands, are redis-py's.

    Args:
        staged: the commands that were sent.
        plain: how plain replies are read.
        text: whether strings in replies are text.
    """

    def __init__(self, staged: Staged, plain: PlainReplies, text: bool) -> None:
        self.reader: ReplyReader = protocol.default.ReplyReader()
        self.replies: list[Any] = []
        self._plain = plain
        self._text = text
        self._expected = len(staged)
        self._later = iter((*staged.later, (self._expected, _AN_EAGER_ONE)))
        self._next_later, self._later_command = next(self._later)
        self._frames = Frames(plain, self.reader)

    @property
    def complete(self) -> bool:
        return len(self.replies) == self._expected

    def take(self) -> tuple[bytes, Command] | Incomplete | None:
        """Take the replies that were received.

        Returns:
            INCOMPLETE if more has to be received, None if that were all, or the bytes of a reply that redis-py is to
            parse, with its command; `add` takes what that gives.
        """
        most = self._next_later - len(self.replies)
        not_plain = self._frames.pending or self._plain.take_scalars(self.reader, self.replies, most, self._text)
        if self.complete:
            return None
        if not not_plain and len(self.replies) < self._next_later:
            return INCOMPLETE
        frame = self._frames.take()
        if isinstance(frame, Incomplete):
            return INCOMPLETE
        if len(self.replies) < self._next_later:
            return frame, _AN_EAGER_ONE
        command = self._later_command
        self._next_later, self._later_command = next(self._later)
        return frame, command

    def add(self, reply: Any) -> None:
        self.replies.append(reply)

    def left(self) -> bytes:
        """What was received behind the last reply."""
        return self._frames.left()
