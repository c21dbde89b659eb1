"""What flows use of a blocking connection: requests and their replies, and pipelines."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ...flows.steps import Take
from ...protocol.interface import INCOMPLETE, CommandBuffer
from ...redis_adapter.credentials import new_token
from .connection import GRACE, WOULD_WAIT, Connection, DropOnError
from .pipeline_sender import PipelineSender

__all__ = ["GRACE", "Link", "RequestReply"]


class RequestReply(Connection):
    """Sends commands, and receives their replies one by one. Only `receive_now` never blocks."""

    def send(self, commands: CommandBuffer, *, behind: bool = False) -> None:
        """Send the commands, and empty their buffer. `behind`: more replies are to come, and these after them."""
        sock = self._connected() if behind else self.connect()
        wire = commands
        if self._ask_at is not None or (behind and new_token(self._connection) is not None):
            wire = self._wire(commands)
        self._owed += commands.command_count
        with wire.view() as view, DropOnError(self, "writing to"):
            self._block()
            sock.sendall(view)
        commands.clear()

    def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any:
        """Send the one command of the buffer, empty it, and wait for its reply."""
        sock = self.connect()
        if self._ask_at is not None:
            self.send(commands)
            return self.receive(take, wait)
        self._owed = 1
        with DropOnError(self, "asking"):
            self._block(wait)
            with commands.view() as view:
                sock.sendall(view)
            commands.clear()
            self._fill()
            while (reply := take(self.reader)) is INCOMPLETE:
                self._fill()
        self._owed = 0
        return reply

    def receive(self, take: Take, wait: float) -> Any:
        """The next reply. The server may take `wait` seconds longer than the connection's time-out."""
        if self._renewal is not None or self._ask_at is not None:
            take = self._taking(take)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            self._connected()
            with DropOnError(self, "reading from"):
                self._block(wait)
                while reply is INCOMPLETE:
                    self._fill()
                    reply = take(self.reader)
        self._owed -= 1
        return reply

    def receive_now(self, take: Take) -> Any:
        """The next reply, or INCOMPLETE if it is not here yet."""
        if self._renewal is not None or self._ask_at is not None:
            take = self._taking(take)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            self._connected()
            with DropOnError(self, "reading from"), suppress(*WOULD_WAIT):
                self._do_not_block()
                while reply is INCOMPLETE:
                    self._fill()
                    reply = take(self.reader)
        if reply is not INCOMPLETE:
            self._owed -= 1
        return reply


class Link(RequestReply, PipelineSender):
    """A connection with both uses, because a flow mixes them: a pipeline, and WAIT behind it."""
