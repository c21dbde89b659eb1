"""One connection of redis.asyncio at a time, read and written by tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from redis.exceptions import AskError, ConnectionError, RedisError

from ...flows.steps import Take, any_reply
from ...protocol.interface import INCOMPLETE, CommandBuffer, Confirmations
from ...redis_adapter import connections as redis_py
from ...redis_adapter.closing import closed_error
from ...redis_adapter.credentials import Renewal, new_token
from ..failures import network_error
from ..link_base import LinkBase
from ..pool_base import WINDOW, PoolBase
from .conversation import Conversation

if TYPE_CHECKING:
    from .pool import Pool

__all__ = ["Link"]


class Link(LinkBase):
    """A connection that belongs to one task at a time, or to a `SharedPipeline`.

    In another event loop, or in a forked child, it is replaced by a new one.
    """

    pool: Pool

    def __init__(self, pool: PoolBase) -> None:
        super().__init__(pool)
        self.conversation: Conversation | None = None

    def __del__(self) -> None:
        # Its owner forgot it. This may run in any thread, so the connection is left to the link that connects next.
        if self._connection is not None and self.conversation is not None and self.pool.is_in(self.conversation.loop):
            self._abandon(self._connection)

    def _abandon(self, connection: Any) -> None:
        if self.pool.lent.pop(connection, None) is not None:
            self.pool.abandoned.append(connection)

    def abandon(self) -> None:
        """Close the connection from where nothing can be awaited. The link that connects next returns it."""
        connection, conversation = self._connection, self.conversation
        self._connection = self.conversation = None
        if conversation is not None:
            conversation.abort()
        if connection is not None:
            self._abandon(connection)

    # ---- connection ----

    @property
    def connected(self) -> bool:
        """Whether a new command may be sent at once."""
        conversation = self.conversation
        return conversation is not None and new_token(self._connection) is None and self._usable(conversation)

    def _usable(self, conversation: Conversation) -> bool:
        return (
            conversation.loop is asyncio.get_running_loop()
            and self._pid == os.getpid()
            and not self._owed
            # What can be read now, no command has asked for; or the server has closed the connection.
            and not conversation.arrived
        )

    def _is_here(self, conversation: Conversation) -> bool:
        return conversation.loop is asyncio.get_running_loop() and self._pid == os.getpid()

    async def connect(self) -> Conversation:
        """The connection, ready for a new command."""
        if self.conversation is not None:
            if self.connected:
                return self.conversation
            if self.outdated and self._usable(self.conversation) and await self._authenticated(self.conversation):
                return self.conversation
            await self._leave()
        self.reader.reset()
        self._forget_state()
        try:
            self._connection = await self._borrow()
        except Exception as error:
            if self.pool.closed:  # meanwhile, and with it what redis-py was connecting
                raise closed_error() from error
            raise
        self._pid = os.getpid()
        transport = redis_py.raw_transport(self._connection)
        self.conversation = Conversation(transport, self.reader, self._connection.socket_timeout)
        self.pool.lent[self._connection] = self.conversation
        if self.outdated and not await self._authenticated(self.conversation):
            return await self.connect()  # redis-py makes a new one then, with what the provider has now
        return self.conversation

    async def _borrow(self) -> Any:
        return await self.pool.borrow()

    async def _connected(self) -> Conversation:
        """The connection, if replies are to come over it."""
        if self.conversation is not None and not self._is_here(self.conversation):
            await self._leave()
        if self.conversation is None:
            if self.pool.closed:
                raise closed_error()
            raise ConnectionError("the connection was closed before its reply came")
        return self.conversation

    async def _leave(self) -> None:
        """Close the connection, unless another loop is using it.

        Raises:
            FluxaError: if that loop is running.
        """
        self.pool.enter_loop()
        await self.drop()

    # ---- credentials that were renewed ----

    async def _authenticated(self, conversation: Conversation) -> bool:
        """Send AUTH with the new token. False if the server refuses it: then the connection is not to be used."""
        renewal = Renewal(self._connection)
        commands = type(self.commands)()
        renewal.write(commands)
        self._owed = 1
        try:
            async with DropOnError(self, "authenticating to"):
                with commands.view() as view:
                    conversation.write(bytes(view))
                conversation.listen(partial(any_reply, self.reader))
                reply = await conversation.outcome()
                renewal.settle(reply)
        except RedisError:
            return False
        self._owed = 0
        return True

    # ---- giving the connection back ----

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        self._forget_state()
        connection, conversation = self._connection, self.conversation
        self._connection = self.conversation = None
        if conversation is not None:
            if not self._is_here(conversation):
                return  # the other loop can't be reached from here
            conversation.abort()
        if connection is not None and self.pool.lent.pop(connection, None) is not None:
            await self.pool.give_back(connection, reusable=False)

    async def disconnect(self, error: Exception | None) -> None:
        """Close the connection, because of that error."""
        await self.drop()
        if isinstance(error, AskError):
            self.pool.redirected(error, "")

    async def release(self) -> None:
        """Return the connection to redis-py's pool, in working order."""
        if self.conversation is not None:
            if not self.connected:
                await self.drop()
            else:
                connection = self._connection
                self.conversation.hand_back()
                self._connection = self.conversation = None
                if self.pool.lent.pop(connection, None) is not None:
                    await self.pool.give_back(connection, reusable=True)

    def arrived(self) -> bool:
        """Whether something can be read at once."""
        return self.conversation is not None and self.conversation.arrived

    # ---- moving bytes ----

    async def send(self, commands: CommandBuffer, *, behind: bool = False) -> None:
        """Send the commands, and empty their buffer. `behind`: more replies are to come, and these after them."""
        conversation = await (self._connected() if behind else self.connect())
        wire = commands
        if self._ask_at is not None or (behind and self.outdated):
            wire = self._with_own(commands)
        self._owed += commands.command_count
        async with DropOnError(self, "writing to"):
            with wire.view() as view:
                conversation.write(bytes(view))
            commands.clear()
            if conversation.paused:
                await conversation.writable()

    async def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any:
        """Send the one command of the buffer, empty it, and wait for its reply."""
        await self.send(commands)
        return await self.receive(take, wait)

    async def receive(self, take: Take, wait: float) -> Any:
        """The next reply. The server may take `wait` seconds longer than the connection's time-out."""
        if self._renewal is not None or self._ask_at is not None:
            take = self._taking(take)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            conversation = await self._connected()
            async with DropOnError(self, "reading from"):
                conversation.listen(partial(take, self.reader))
                reply = await conversation.outcome(wait)
        self._owed -= 1
        return reply

    async def receive_all(self, takes: Sequence[Take]) -> list[Any]:
        """The next replies, each as `receive`."""
        return [await self.receive(take, 0.0) for take in takes]

    async def exchange(self, commands: CommandBuffer, takes: Sequence[Take]) -> list[Any]:
        """Send the commands behind what is in flight, empty their buffer, and return the replies that come first."""
        await self.send(commands, behind=True)
        return await self.receive_all(takes)

    def push(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send what the transport takes, if there is a connection. `pipeline` goes on from here."""
        conversation = self.conversation
        if conversation is None or conversation.error is not None:
            return
        if conversation.loop is not asyncio._get_running_loop():  # another thread's, or there is none
            return
        self._owed = replies.expected
        if not self._pushed:
            conversation.listen(lambda: replies.take(self.reader) and INCOMPLETE)
        with commands.view() as view:
            while self._pushed < len(view) and not conversation.paused:
                conversation.write(bytes(view[self._pushed : self._pushed + WINDOW]))
                self._pushed = min(len(view), self._pushed + WINDOW)

    async def pipeline(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send the commands by the window, and take the replies of one window while the next is under way."""
        conversation = await (self._connected() if self._pushed else self.connect())
        self._owed = replies.expected
        sent = self._pushed
        async with DropOnError(self, "flushing to"):
            conversation.listen(lambda: replies.take(self.reader) or INCOMPLETE)
            with commands.view() as view:
                while sent < len(view):
                    conversation.write(bytes(view[sent : sent + WINDOW]))
                    sent += WINDOW
                    if sent < len(view):
                        await conversation.writable()
            await conversation.outcome()
        self._owed = self._pushed = 0


class DropOnError:
    """A context: an error leaves the connection in an unknown state, so it is dropped.

    Errors of the network become redis-py's.
    """

    __slots__ = ("_doing", "_link")

    def __init__(self, link: Link, doing: str) -> None:
        self._link = link
        self._doing = doing

    async def __aenter__(self) -> None:
        return

    async def __aexit__(self, kind: object, error: BaseException | None, frames: TracebackType | None) -> None:
        if error is None:
            return
        await self._link.drop()
        if isinstance(error, OSError):
            raise network_error(error, self._doing, self._link.pool) from error
