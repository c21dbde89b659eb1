"""Pipelines of any length over a blocking connection: sent in pieces, while the replies come in."""

from __future__ import annotations

from contextlib import suppress

from ...protocol.interface import CommandBuffer, Confirmations
from ..pool_base import WINDOW
from .connection import INSTANT, WOULD_WAIT, Connection, DropOnError

__all__ = ["PipelineSender"]


class PipelineSender(Connection):
    """Sends one pipeline at a time. `push` and `pushed` never block and send a piece; the other two send the rest."""

    def push(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send what the socket takes, and take the replies that are there. `pipeline` goes on from here."""
        begun = self._pushed > 0
        sock = self._connected() if begun else self.connect()
        self._owed = replies.expected
        with commands.view() as view, DropOnError(self, "flushing to"):
            self._do_not_block()
            try:
                with suppress(*WOULD_WAIT):
                    while self._pushed < len(view):
                        # TLS: what could not be sent must be tried again with no fewer bytes, here or in `pipeline`.
                        self._pushed += sock.send(view[self._pushed : self._pushed + WINDOW])
            except OSError:
                self._read_what_arrived(replies)
                raise
            if not begun and self._pushed == len(view):
                return  # there can be no reply yet
            with suppress(*WOULD_WAIT):
                while self._poll() and not replies.take(self.reader):
                    self._fill()

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
        self._connected()
        with DropOnError(self, "flushing to"):
            if overdue:
                self._set_timeout(INSTANT)
                if not replies.take(self.reader):
                    self._fill()
            self._block()
            while not replies.take(self.reader):
                self._fill()
        self._owed = self._pushed = 0

    def pipeline(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send the commands by the window, and take the replies of one window while the next is under way."""
        sock = self._connected() if self._pushed else self.connect()
        self._owed = replies.expected
        sent = self._pushed
        with commands.view() as view, DropOnError(self, "flushing to"):
            self._block()
            try:
                while sent < len(view):
                    sock.sendall(view[sent : sent + WINDOW])
                    sent += WINDOW
                    while self._poll() and not replies.take(self.reader):
                        self._fill()
            except OSError:
                self._read_what_arrived(replies)
                raise
            while not replies.take(self.reader):
                self._fill()
        self._owed = self._pushed = 0

    def _read_what_arrived(self, replies: Confirmations) -> None:
        """Writing failed: take the replies that had come before."""
        with suppress(OSError):
            self._do_not_block()
            while not replies.take(self.reader):
                self._fill()
