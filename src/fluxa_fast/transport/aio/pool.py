"""The connections to one Redis, for an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ...errors import FluxaError
from ...flows.publish.pipeline import BufferFlush, Replication, not_begun
from ...flows.statistics import statistics
from ...flows.steps import Flow
from ...protocol.interface import EntryHead
from ...redis_adapter import connections as redis_py
from ...redis_adapter.closing import async_close_all, closed_error
from ...statistics import RedisStreamStatistics
from ..pool_base import IDLE_LINKS, ServerPoolBase
from .driver import Driver
from .link import Link
from .one_loop import OneLoop, process
from .shared_pipeline import SharedPipeline

__all__ = ["Pool"]

T = TypeVar("T")


class Pool(ServerPoolBase[Link]):
    """The connections to one Redis, for an event loop. Tasks may share it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._home = OneLoop(f"Redis pool {self.name!r}")
        self._process = process.number
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
        if self._process != process.number:
            self._process = process.number
            self._parents += redis_py.async_after_fork(self.connections)
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
        connection = await redis_py.async_borrow(self.connections)
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
            await redis_py.async_give_back(self.connections, connection, reusable=reusable)
        except BaseException:  # cancelled meanwhile, for example
            self.abandoned.append(connection)
            raise

    # ---- links ----

    def take_link(self) -> Link:
        """A link for one use. `return_link` takes it back."""
        self.check_open()
        self.enter_loop()
        return self._idle.pop() if self._idle else Link(self)

    def link_to_push(self) -> Link | None:
        """A link on which a flush begins early: it has a connection already, as nothing can be awaited here."""
        self.check_open()
        self.enter_loop()
        return self._idle.pop() if self._idle and self._idle[-1].connected else None

    async def return_link(self, link: Link) -> None:
        """Keep the link for the next use, or return its connection to redis-py's pool."""
        if not self._keep(link):
            await link.release()

    def _keep(self, link: Link) -> bool:
        """Keep the link for the next use, if there is need of it."""
        if self.closed or len(self._idle) >= IDLE_LINKS:
            return False
        self._idle.append(link)
        return True

    def node_link(self, node: str, key: str) -> Link:
        """A link to a node; there is one node only."""
        return self.new_link()

    async def refresh(self, seen: int) -> None:
        """There is nothing to ask."""

    def new_link(self, key: str = "") -> Link:
        """A link that one owner keeps, for commands about that Redis key."""
        self.check_open()
        return Link(self)

    def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> Coroutine[Any, Any, str]:
        """Send one event, together with those of other tasks, and return its ID."""
        if self.closed:
            raise closed_error()
        if self._home.loop is not asyncio.get_running_loop():
            self.enter_loop()
        return self._publishing.publish(head, body, tags)

    async def statistics(self, streams: Sequence[str]) -> list[RedisStreamStatistics]:
        """The state of these streams, in one round trip."""
        return await self.run(statistics(self.implementation.CommandBuffer(), self.name, streams))

    async def flush(
        self, flushes: Sequence[tuple[str, BufferFlush]], replication: Replication | None, link: Link | None = None
    ) -> None:
        """Send the pool's buffer. `link`: has begun with that, perhaps."""
        try:
            link = link or self.take_link()
        except FluxaError as error:
            return not_begun(flushes, error)
        try:
            for _, flush in flushes:
                if replication is not None:
                    await Driver(link).drive(flush.flow(replication))
                elif flush.begin():
                    await self._send(flush, link)
        finally:
            if not self._keep(link):
                await link.release()

    @staticmethod
    async def _send(flush: BufferFlush, link: Link) -> None:
        """As its flow, if no replica is waited for."""
        try:
            await link.pipeline(flush.buffer, flush.replies)
        except BaseException as error:
            if not flush.keeps(error):
                raise
        if flush.demoted:
            await link.drop()

    async def run(self, flow: Flow[T], key: str = "") -> T:
        """The result of a flow about that Redis key, on a link of its own."""
        link = self.take_link()
        try:
            return await Driver(link).drive(flow)
        finally:
            if not self._keep(link):
                await link.release()

    async def close(self) -> None:
        """Return or close all connections. Closes redis-py's as well, unless the user handed the client in."""
        self.enter_loop()
        self.closed = True
        idle, self._idle = self._idle, []
        await async_close_all(
            (
                self._publishing.close,
                *(link.release for link in idle),
                *(partial(self._recall, connection) for connection in tuple(self.lent)),
                self._reclaim,
                *([partial(redis_py.async_close, self.connections)] if self._owned else []),
            )
        )
        await asyncio.sleep(0)  # for transports to close their sockets

    async def _recall(self, connection: Any) -> None:
        """Take a connection from its link, for redis-py's pool. What a task does over it fails at once."""
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
