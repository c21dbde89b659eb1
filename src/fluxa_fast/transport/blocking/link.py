"""What flows use of a blocking connection: requests and their replies, and pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...flows.steps import Take
from ...protocol.interface import INCOMPLETE, CommandBuffer
from ...redis_adapter.credentials import new_token
from .connection import GRACE, Connection
from .pipeline_sender import PipelineSender

__all__ = ["GRACE", "Link", "RequestReply"]


class RequestReply(Connection):
    """Sends commands, and receives their replies one by one. Only `receive_now` never blocks."""

    def send(self, commands: CommandBuffer, *, behind: bool = False) -> None:
        """Send the commands, and empty their buffer. `behind`: more replies are to come, and these after them."""
        wire = self._connected() if behind else self.connect()
        sent = commands
        if self._ask_at is not None or (behind and new_token(self._connection) is not None):
            sent = self._with_own(commands)
        self._owed += commands.command_count
        try:
            wire.send(sent, self._patience())
        except BaseException as error:
            self._drop_after(error, "writing to")
            raise
        commands.clear()

    def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any:
        """Send the one command of the buffer, empty it, and wait for its reply."""
        wire = self.connect()
        if self._ask_at is not None:
            self.send(commands)
            return self.receive(take, wait)
        self._owed = 1
        reader = self.reader
        try:
            wire.ask(commands, reader, self._patience(wait) if wait or self._limit is not None else self._timeout)
            commands.clear()
            while (reply := take(reader)) is INCOMPLETE:
                wire.receive(reader, self._patience(wait))
        except BaseException as error:
            self._drop_after(error, "asking")
            raise
        self._owed = 0
        return reply

    def receive(self, take: Take, wait: float) -> Any:
        """The next reply. The server may take `wait` seconds longer than the connection's time-out."""
        if self._renewal is not None or self._ask_at is not None:
            take = self._taking(take)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            wire = self._connected()
            try:
                while reply is INCOMPLETE:
                    wire.receive(self.reader, self._patience(wait))
                    reply = take(self.reader)
            except BaseException as error:
                self._drop_after(error, "reading from")
                raise
        self._owed -= 1
        return reply

    def receive_all(self, takes: Sequence[Take]) -> list[Any]:
        """The next replies, each as `receive`."""
        replies: list[Any] = []
        if self._renewal is not None or self._ask_at is not None:
            for take in takes:
                replies.append(self.receive(take, 0.0))
            return replies
        reader = self.reader
        try:
            for take in takes:
                while (reply := take(reader)) is INCOMPLETE:
                    self._connected().receive(reader, self._patience())
                replies.append(reply)
        except BaseException as error:
            self._drop_after(error, "reading from")
            raise
        self._owed -= len(replies)
        return replies

    def exchange(self, commands: CommandBuffer, takes: Sequence[Take]) -> list[Any]:
        """Send the commands behind what is in flight, empty their buffer, and return the replies that come first."""
        if self._ask_at is not None or self.reader.unread or new_token(self._connection) is not None:
            self.send(commands, behind=True)
            return self.receive_all(takes)
        wire = self._connected()
        self._owed += commands.command_count
        try:
            wire.ask(commands, self.reader, self._patience())
        except BaseException as error:
            self._drop_after(error, "asking")
            raise
        commands.clear()
        return self.receive_all(takes)

    def receive_now(self, take: Take) -> Any:
        """The next reply, or INCOMPLETE if it is not here yet."""
        if self._renewal is not None or self._ask_at is not None:
            take = self._taking(take)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            wire = self._connected()
            try:
                while reply is INCOMPLETE and wire.receive_now(self.reader):
                    reply = take(self.reader)
            except BaseException as error:
                self._drop_after(error, "reading from")
                raise
        if reply is not INCOMPLETE:
            self._owed -= 1
        return reply


class Link(RequestReply, PipelineSender):
    """A connection with both uses, because a flow mixes them: a pipeline, and WAIT behind it."""
