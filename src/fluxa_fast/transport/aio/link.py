"""One connection of redis.asyncio at a time, read and written by tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
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
        return conversation is not None and conversation.loop is asyncio.get_running_loop() and self.connected_here

    @property
    def connected_here(self) -> bool:
        """As `connected`, where the running event loop is known to be the pool's."""
        conversation = self.conversation
        return (
            conversation is not None and not self._owed and new_token(self._connection) is None and conversation.quiet
        )

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
        transport = redis_py.raw_transport(self._connection)
        self.conversation = Conversation(transport, self.reader, self._connection.socket_timeout)
        self.pool.lent[self._connection] = self.conversation
        if self.outdated and not await self._authenticated(self.conversation):
            return await self.connect()  # redis-py makes a new one then, with what the provider has now
        return self.conversation

    def _usable(self, conversation: Conversation) -> bool:
        return not self._owed and conversation.is_here() and conversation.quiet

    async def _borrow(self) -> Any:
        return await self.pool.borrow()

    async def _connected(self) -> Conversation:
        """The connection, if replies are to come over it."""
        if self.conversation is not None and not self.conversation.is_here():
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
        try:
            await self._authenticate(conversation)
        except RedisError:
            return False
        return True

    async def _authenticate(self, conversation: Conversation) -> None:
        renewal = Renewal(self._connection)
        commands = type(self.commands)()
        renewal.write(commands)
        self._owed = 1
        try:
            with commands.view() as view:
                conversation.write(bytes(view))
            conversation.listen(partial(any_reply, self.reader))
            reply = await conversation.outcome()
            renewal.settle(reply)
        except BaseException as error:
            await self._failed(error, "authenticating to")
            raise
        self._owed = 0

    # ---- giving the connection back ----

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        self._forget_state()
        connection, conversation = self._connection, self.conversation
        self._connection = self.conversation = None
        if conversation is not None:
            if not conversation.is_here():
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

    def send_now(self, commands: CommandBuffer, *, behind: bool = False) -> bool:
        """As `send`, if there is nothing to wait for. False: nothing was sent."""
        conversation = self.conversation
        if conversation is None or conversation.paused or self._ask_at is not None or len(commands) > WINDOW:
            return False
        if not ((conversation.is_here() and not self.outdated) if behind else self.connected):
            return False
        self._owed += commands.command_count
        try:
            with commands.view() as view:
                conversation.write(bytes(view))
        except BaseException as error:
            self.abandon()
            self._forget_state()
            if isinstance(error, OSError):
                raise network_error(error, "writing to", self.pool) from error
            raise
        commands.clear()
        return True

    async def send(self, commands: CommandBuffer, *, behind: bool = False) -> None:
        """Send the commands, and empty their buffer. `behind`: more replies are to come, and these after them."""
        conversation = await (self._connected() if behind else self.connect())
        wire = commands
        if self._ask_at is not None or (behind and self.outdated):
            wire = self._with_own(commands)
        self._owed += commands.command_count
        try:
            with wire.view() as view:
                conversation.write(bytes(view))
            commands.clear()
            if conversation.paused:
                await conversation.writable()
        except BaseException as error:
            await self._failed(error, "writing to")
            raise

    async def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any:
        """Send the one command of the buffer, empty it, and wait for its reply."""
        if not self.send_now(commands):
            await self.send(commands)
        return await self.receive(take, wait)

    def receive_now(self, take: Take) -> Any:
        """The next reply; or INCOMPLETE, if it is not here yet."""
        if self._renewal is not None or self._ask_at is not None:
            return INCOMPLETE  # `receive` reads what comes before the reply
        reply = take(self.reader)
        if reply is not INCOMPLETE:
            self._owed -= 1
        return reply

    async def receive(self, take: Take, wait: float) -> Any:
        """The next reply. The server may take `wait` seconds longer than the connection's time-out."""
        if self._renewal is not None or self._ask_at is not None:
            take = self._taking(take)
        conversation = self.conversation
        if conversation is None or not conversation.is_here():
            conversation = await self._connected()
        try:
            conversation.listen(partial(take, self.reader))
            reply = await conversation.outcome(wait, last=self._owed <= 1)
        except BaseException as error:
            await self._failed(error, "reading from")
            raise
        self._owed -= 1
        return reply

    async def receive_all(self, takes: Sequence[Take]) -> list[Any]:
        """The next replies, each as `receive`."""
        replies = []
        for take in takes:
            reply = self.receive_now(take)
            replies.append(await self.receive(take, 0.0) if reply is INCOMPLETE else reply)
        return replies

    async def exchange(self, commands: CommandBuffer, takes: Sequence[Take]) -> list[Any]:
        """Send the commands behind what is in flight, empty their buffer, and return the replies that come first."""
        if not self.send_now(commands, behind=True):
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
        conversation = self.conversation
        if self._pushed:
            conversation = await self._connected()
        elif conversation is None or not self.connected:
            conversation = await self.connect()
        self._owed = replies.expected
        sent = self._pushed
        try:
            conversation.listen(lambda: replies.take(self.reader) or INCOMPLETE)
            with commands.view() as view:
                while sent < len(view):
                    conversation.write(bytes(view[sent : sent + WINDOW]))
                    sent += WINDOW
                    if sent < len(view):
                        await conversation.writable()
            await conversation.outcome()
        except BaseException as error:
            await self._failed(error, "flushing to")
            raise
        self._owed = self._pushed = 0

    async def _failed(self, error: BaseException, doing: str) -> None:
        """An error leaves the connection in an unknown state, so it is dropped.

        Raises:
            redis.RedisError, FluxaError: for an error of the network.
        """
        await self.drop()
        if isinstance(error, OSError):
            raise network_error(error, doing, self.pool) from error
