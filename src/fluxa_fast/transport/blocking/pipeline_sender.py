"""Pipelines of any length over a blocking connection: sent in pieces, while the replies come in."""

from __future__ import annotations

from contextlib import suppress

from ...protocol.interface import CommandBuffer, Confirmations
from .connection import INSTANT, Connection

__all__ = ["PipelineSender"]


class PipelineSender(Connection):
    """Sends one pipeline at a time. `push` and `pushed` never block and send a piece; the other two send the rest."""

    def push(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send what the socket takes, and take the replies that are there. `pipeline` goes on from here."""
        begun = self._pushed > 0
        wire = self._connected() if begun else self.connect()
        self._owed = replies.expected
        try:
            self._pushed = wire.send_now(commands, self._pushed)
            if begun or self.sending(commands):  # else there can be no reply yet
                self._take_what_arrived(replies)
        except BaseException as error:
            if isinstance(error, OSError):
                self._take_the_last(replies)
            self._drop_after(error, "flushing to")
            raise

    def pushed(self, commands: CommandBuffer, replies: Confirmations) -> bool:
        """As `push`. True once all was sent and all replies are there: `pipeline` in many steps."""
        self.push(commands, replies)
        if self.sending(commands) or not replies.take(self.reader):
            return False
        self._owed = self._pushed = 0
        return True

    def sending(self, commands: CommandBuffer) -> bool:
        """Whether `push` has not sent all of it."""
        return self._pushed < len(commands)

    def gather(self, replies: Confirmations, *, overdue: bool) -> None:
        """Wait for the rest of the replies to a pipeline that was pushed. `overdue`: not for the first of them."""
        wire = self._connected()
        try:
            if overdue and not replies.take(self.reader):
                wire.receive(self.reader, INSTANT)
            while not replies.take(self.reader):
                wire.receive(self.reader, self._patience())
        except BaseException as error:
            self._drop_after(error, "flushing to")
            raise
        self._owed = self._pushed = 0

    def pipeline(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send the commands by the window, and take the replies of one window while the next is under way."""
        wire = self._connected() if self._pushed else self.connect()
        self._owed = replies.expected
        try:
            wire.pipeline(commands, self._pushed, replies, self.reader, self._patience())
        except BaseException as error:
            if isinstance(error, OSError):
                self._take_the_last(replies)
            self._drop_after(error, "flushing to")
            raise
        self._owed = self._pushed = 0

    def _take_what_arrived(self, replies: Confirmations) -> None:
        while not replies.take(self.reader) and self._wire.receive_now(self.reader):
            pass

    def _take_the_last(self, replies: Confirmations) -> None:
        """The connection has failed: take the replies that had come before."""
        with suppress(OSError):
            self._take_what_arrived(replies)
