"""Drives flows over connections of redis.asyncio."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from redis.exceptions import AskError, ConnectionError, RedisError

from ..errors import FluxaError
from ..flows.publish import PoolFlush, Replication, not_begun
from ..flows.statistics import statistics
from ..flows.steps import (
    Arrived,
    Ask,
    Breathe,
    Connect,
    Deliver,
    Disconnect,
    Flow,
    Pause,
    Pipeline,
    Receive,
    Send,
    Take,
    any_reply,
)
from ..handlers import call_awaiting
from ..protocol.interface import INCOMPLETE, CommandBuffer, Confirmations, EntryHead, ErrorReply, ReplyReader
from ..statistics import RedisStreamStatistics
from . import redis_py
from .conversation import Conversation
from .failing import close_all_awaited, closed_error, network_error
from .loops import OneLoop
from .pool import IDLE_LINKS, WINDOW, PoolBase
from .rotation import Renewal, new_credentials, renewed
from .shared import SharedPipeline

__all__ = ["GRACE", "Driver", "Link", "Pool", "ended", "together"]

T = TypeVar("T")
Handler = Callable[[Sequence[Any]], object]

GRACE = 1.0  # seconds in which a cancelled flow may still settle what was handled
_MANY = 2000  # events whose memory takes about half a millisecond to free


class Link:
    """One connection at a time, borrowed from a pool when it is first needed, with the reader of its replies.

    Belongs to one task at a time, or to a `SharedPipeline`. In another event loop, or in a forked child, it makes a
    new connection.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._connection: Any = None
        self.conversation: Conversation | None = None
        self._pid = 0
        self._owed = 0  # replies that the server still owes
        self._pushed = 0  # bytes of a pipeline that were sent by `push`
        self._renewal: Renewal | None = None  # an AUTH is under way
        self.reader: ReplyReader = pool.implementation.ReplyReader()
        self.commands: CommandBuffer = pool.implementation.CommandBuffer(pool.default)

    def __del__(self) -> None:
        # Its owner forgot it. This may run in any thread, so it is left to the link that connects next.
        if self._connection is not None and self.conversation is not None and self.pool.is_in(self.conversation.loop):
            self._abandon(self._connection)

    def _abandon(self, connection: Any) -> None:
        if self.pool.lent.pop(connection, None) is not None:
            self.pool.abandoned.append(connection)

    def abandon(self) -> None:
        """Close the connection from where nothing can be awaited; whoever connects next returns it."""
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
        return conversation is not None and self._connection._re_auth_token is None and self._usable(conversation)

    def _usable(self, conversation: Conversation) -> bool:
        return (
            conversation.loop is asyncio.get_running_loop()
            and self._pid == os.getpid()
            and not self._owed
            # What can be read now, nobody asked for; or the server has closed the connection.
            and not conversation.arrived
        )

    @property
    def outdated(self) -> bool:
        """Whether its credentials were renewed, and the server has not been told."""
        return self._connection is not None and self._connection._re_auth_token is not None

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
        self._renewal = None
        self._owed = 0
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
        """The connection of a conversation that goes on."""
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
        connection = self._connection
        token = connection._re_auth_token
        commands = type(self.commands)()
        commands.command("AUTH", *new_credentials(token))
        self._owed = 1
        try:
            async with _Failing(self, "authenticating to"):
                with commands.view() as view:
                    conversation.write(bytes(view))
                conversation.listen(partial(any_reply, self.reader))
                reply = await conversation.outcome()
        except RedisError:
            return False
        self._owed = 0
        renewed(connection, token)
        return not isinstance(reply, ErrorReply)

    async def _send_behind(self, commands: CommandBuffer) -> None:
        """Send AUTH with the new token in front of the commands, while other replies are to come."""
        token = self._connection._re_auth_token
        wire = type(self.commands)()
        wire.command("AUTH", *new_credentials(token))
        wire.extend(commands)
        commands.clear()
        self._renewal = Renewal(token, self._owed)
        await Link.send(self, wire, behind=True)

    async def _receive_around(self, take: Take, wait: float) -> Any:
        """Receive while a reply to AUTH is to come."""
        renewal, self._renewal = self._renewal, None
        assert renewal is not None
        if renewal.before:
            reply = await Link.receive(self, take, wait)
            renewal.before -= 1
            self._renewal = renewal
            return reply
        reply = await Link.receive(self, any_reply, wait)
        async with _Failing(self, "authenticating to"):
            renewal.settle(self._connection, reply)
        return await Link.receive(self, take, wait)

    # ---- giving the connection back ----

    async def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        self._renewal = None
        self._owed = self._pushed = 0
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

    @property
    def in_order(self) -> bool:
        """Whether the next command may be sent on this connection."""
        return not self._owed

    def arrived(self) -> bool:
        """Whether something can be read at once."""
        return self.conversation is not None and self.conversation.arrived

    # ---- moving bytes ----

    async def send(self, commands: CommandBuffer, *, behind: bool = False) -> None:
        """Send the commands, and empty their buffer. `behind`: more replies are to come, and these after them."""
        conversation = await (self._connected() if behind else self.connect())
        if behind and self._renewal is None and self.outdated:
            return await self._send_behind(commands)
        self._owed += commands.commands
        async with _Failing(self, "writing to"):
            with commands.view() as view:
                conversation.write(bytes(view))
            commands.clear()
            if conversation.paused:
                await conversation.writable()

    async def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any:
        """Send the one command of the buffer, empty it, and wait for its reply."""
        await self.send(commands)
        return await self.receive(take, wait)

    async def receive(self, take: Take, wait: float) -> Any:
        """The next reply. The server may take `wait` seconds longer than the connection's timeout."""
        if self._renewal is not None:
            return await self._receive_around(take, wait)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            conversation = await self._connected()
            async with _Failing(self, "reading from"):
                conversation.listen(partial(take, self.reader))
                reply = await conversation.outcome(wait)
        self._owed -= 1
        return reply

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
        async with _Failing(self, "flushing to"):
            conversation.listen(lambda: replies.take(self.reader) or INCOMPLETE)
            with commands.view() as view:
                while sent < len(view):
                    conversation.write(bytes(view[sent : sent + WINDOW]))
                    sent += WINDOW
                    if sent < len(view):
                        await conversation.writable()
            await conversation.outcome()
        self._owed = self._pushed = 0


class _Failing:
    """A context: whatever goes wrong leaves the connection in an unknown state, so it is dropped.

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


class Pool(PoolBase[Link]):
    """The connections to one Redis, for an event loop. Tasks may share it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._home = OneLoop(f"Redis pool {self.name!r}")
        self._pid = os.getpid()
        self._parents: list[Any] = []  # what belongs to the process that forked this one
        self._publishing = SharedPipeline(Link(self))

    def is_in(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this is the event loop in which the pool is used."""
        return self._home.loop is loop

    def enter_loop(self) -> None:
        """Use the pool in the running event loop.

        Raises:
            FluxaError: if another loop uses it, and is running.
        """
        loop = asyncio.get_running_loop()
        if self._home.loop is not loop:
            self._home.enter(loop, self._leave_loop)

    def _leave_loop(self, before: asyncio.AbstractEventLoop | None) -> None:
        """Leave behind what belongs to an event loop that was used before."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._parents += redis_py.after_fork_awaited(self.connections)
        if before is not None:
            self._idle.clear()
            self._publishing = SharedPipeline(Link(self))
            self.abandoned.clear()
            self.lent.clear()
            if self._owned:
                self.connections.reset()

    # ---- connections ----

    async def borrow(self) -> Any:
        """A connection of redis-py's pool."""
        self.check_open()
        self.enter_loop()
        await self._reclaim()
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task else 0
        connection = await redis_py.borrow_awaited(self.connections)
        if task and task.cancelling() > cancelled_before:
            # redis-py connects with `asyncio.wait_for`, which until Python 3.11 may forget that the task was cancelled.
            await self.give_back(connection, reusable=True)
            raise asyncio.CancelledError
        if self.closed:  # meanwhile
            await self.give_back(connection, reusable=False)
            raise closed_error()
        return connection

    async def give_back(self, connection: Any, *, reusable: bool) -> None:
        """Return a connection to redis-py's pool."""
        reusable = reusable and not (self.closed and self._owned)
        try:
            await redis_py.give_back_awaited(self.connections, connection, reusable=reusable)
        except BaseException:  # cancelled meanwhile, for one
            self.abandoned.append(connection)
            raise

    # ---- links ----

    def take_link(self) -> Link:
        self.check_open()
        self.enter_loop()
        return self._idle.pop() if self._idle else Link(self)

    def take_connected_link(self) -> Link | None:
        """A link that has a connection already, if there is one."""
        self.check_open()
        self.enter_loop()
        return self._idle.pop() if self._idle and self._idle[-1].connected else None

    async def return_link(self, link: Link) -> None:
        if not self.closed and len(self._idle) < IDLE_LINKS:
            self._idle.append(link)
        else:
            await link.release()

    def lane_link(self, node: str, key: str) -> Link:
        """A link to a node; there is one node only."""
        return self.new_link()

    async def refresh(self, seen: int) -> None:
        """There is nothing to ask."""

    def new_link(self, key: str = "") -> Link:
        """A link that one owner keeps, for commands about that key."""
        self.check_open()
        return Link(self)

    async def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> str:
        """The ID of one event, which is sent with those of other tasks."""
        self.check_open()
        self.enter_loop()
        return await self._publishing.publish(head, body, tags)

    async def statistics(self, streams: Sequence[str]) -> list[RedisStreamStatistics]:
        """The state of these streams, in one round trip."""
        return await self.run(statistics(self.implementation.CommandBuffer(), self.name, streams))

    async def flush(
        self, flushes: Sequence[tuple[str, PoolFlush]], replication: Replication | None, link: Link | None = None
    ) -> None:
        """Send the pool's buffer; `link` has begun with that, perhaps."""
        try:
            link = link or self.take_link()
        except FluxaError as error:
            return not_begun(flushes, error)
        try:
            for _, flush in flushes:
                await Driver(link).drive(flush.flow(replication))
        finally:
            await self.return_link(link)

    async def run(self, flow: Flow[T], key: str = "") -> T:
        """The result of a flow about that key, on a link of its own."""
        link = self.take_link()
        try:
            return await Driver(link).drive(flow)
        finally:
            await self.return_link(link)

    async def close(self) -> None:
        """Return or close all connections. Closes redis-py's as well, unless the user handed the client in."""
        self.enter_loop()
        self.closed = True
        idle, self._idle = self._idle, []
        await close_all_awaited(
            (
                self._publishing.close,
                *(link.release for link in idle),
                *(partial(self._recall, connection) for connection in tuple(self.lent)),
                self._reclaim,
                *([partial(redis_py.close_awaited, self.connections)] if self._owned else []),
            )
        )
        await asyncio.sleep(0)  # for transports to close their sockets

    async def _recall(self, connection: Any) -> None:
        """Return a connection to redis-py's pool that a link has. What a task does over it fails at once."""
        conversation = self.lent.pop(connection, None)
        if conversation is not None:
            conversation.abort()
            await self.give_back(connection, reusable=False)

    async def _reclaim(self) -> None:
        """Return the connections of links that were forgotten."""
        while self.abandoned:
            connection = self.abandoned.popleft()
            with suppress(Exception):  # it is closed already, perhaps
                redis_py.raw_transport(connection).abort()
            await self.give_back(connection, reusable=False)


class Driver:
    """Runs flows over a link.

    Args:
        handler: is called with the events that a flow delivers; what it returns is awaited if it can be.
    """

    def __init__(self, link: Link, handler: Handler | None = None) -> None:
        self._link = link
        self._handler = handler
        self._delivered: deque[list[Any]] = deque()
        self._deadline: float | None = None  # loop time, once the flow was cancelled

    async def drive(self, flow: Flow[T], *, thrown: BaseException | None = None) -> T:
        """Run a flow to its end. `thrown` is what a flow that waits at a step is resumed with."""
        step: Any = None
        try:
            step = next(flow) if thrown is None else flow.throw(thrown)
            while True:
                try:
                    outcome = await self.perform(step)
                except BaseException as error:
                    self.interrupted_by(error)
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
        finally:
            if not self._link.in_order:
                await self._link.drop()
        step = None
        await self.let_go()
        return result

    def interrupted_by(self, error: BaseException) -> None:
        """Once cancelled, a flow has little time to settle what is under way."""
        if isinstance(error, asyncio.CancelledError) and self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + GRACE

    async def perform(self, step: Any) -> Any:
        """Do what one step asks for."""
        if self._deadline is None:
            return await self._perform(step)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._perform(step)
        except TimeoutError as error:
            await self._link.drop()
            raise network_error(error, "settling with", self._link.pool) from error

    async def _perform(self, step: Any) -> Any:
        kind = type(step)
        link = self._link
        if kind is Ask:
            return await link.ask(step.commands, step.take, step.wait)
        if kind is Receive:
            return await link.receive(step.take, step.wait)
        if kind is Send:
            return await link.send(step.commands, behind=step.behind)
        if kind is Deliver and self._handler is not None:
            await self.delivering(step.events)
            return await call_awaiting(self._handler, step.events)
        if kind is Arrived:
            return link.arrived()
        if kind is Pipeline:
            return await link.pipeline(step.commands, step.confirmations)
        if kind is Breathe:
            return await asyncio.sleep(0)
        if kind is Pause:
            return await asyncio.sleep(step.seconds)
        if kind is Disconnect:
            return await link.disconnect(step.error)
        if kind is Connect:
            return await link.connect() and None
        raise TypeError(f"a flow asked for {step!r}, and this driver does not support that step")

    # To free a hundred thousand events takes tens of milliseconds. So the last reference to those of a large batch is
    # kept here, until nobody else should have one: the flow has acknowledged them when two more batches were delivered.

    async def delivering(self, events: Sequence[Any]) -> None:
        """Note that a batch is about to be delivered."""
        if len(events) > _MANY:
            self._delivered.append(list(events))
            await asyncio.sleep(0)
            if len(self._delivered) > 2:
                await _free(self._delivered.popleft())

    async def let_go(self) -> None:
        """The flow is over."""
        while self._delivered:
            await _free(self._delivered.popleft())


async def _free(events: list[Any]) -> None:
    while events:
        del events[-_MANY:]
        await asyncio.sleep(0)


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until all of them have ended, even if that is to be cancelled as well."""
    cancelled: BaseException | None = None
    while any(not task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it at the same time. The first exception ends the rest, and is raised when all have ended."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await ended(tasks)
