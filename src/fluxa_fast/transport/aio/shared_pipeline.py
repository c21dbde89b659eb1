"""Single events of many tasks, sent together over one connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from operator import methodcaller
from typing import TYPE_CHECKING

from ...flows.publish.pipeline import write_event
from ...flows.replies import ENTRY_ID, id_of
from ...flows.server_errors import rule_of
from ...protocol.interface import INCOMPLETE, EntryHead, Incomplete
from ..failures import network_error, told_again

if TYPE_CHECKING:
    from .conversation import Conversation
    from .link import Link

__all__ = ["SharedPipeline"]

_is_cancelled = methodcaller("cancelled")


class SharedPipeline:
    """Publishes events one by one, for any number of tasks of one event loop.

    An event that comes while nothing is under way is sent at once. What tasks publish within one turn of the event
    loop goes out in one write. Replies are matched in order. If a task is cancelled, its own event is not sent,
    unless it was sent already. The events of other tasks are sent as ever.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sent: deque[asyncio.Future[str]] = deque()  # in the order in which their replies come
        self._unsent: list[asyncio.Future[str]] = []  # one for each event in the link's buffer
        self._connecting = asyncio.Lock()
        self._scheduled = False
        self._renewing: asyncio.Task[None] | None = None

    async def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> str:
        """Send the event, and return its ID. The running event loop is the pool's."""
        link = self._link
        write_event(link.commands, head, body, tags)
        conversation = link.conversation
        published: asyncio.Future[str]
        if conversation is not None and self._sent:
            published = conversation.loop.create_future()
            self._unsent.append(published)
            if not self._scheduled:
                self._scheduled = True
                conversation.loop.call_soon(self._write)
        elif conversation is not None and not self._unsent and not conversation.paused and link.connected_here:
            published = conversation.loop.create_future()
            self._sent.append(published)
            self._send(conversation)
            conversation.listen_on(self._take)
            conversation.expect()
        else:
            published = asyncio.get_running_loop().create_future()
            self._unsent.append(published)
            try:
                await self._connect(published)
            except BaseException:
                published.cancel()
                raise
        return await published

    async def _connect(self, published: asyncio.Future[str]) -> None:
        """Connect and send. If the task that connects is cancelled, the next task connects."""
        async with self._connecting:
            if not published.done():
                await self._connect_and_write()

    async def _renew(self) -> None:
        """Send what is unsent, once AUTH was."""
        async with self._connecting:
            await self._connect_and_write()

    async def _connect_and_write(self) -> None:
        if not self._sent and not self._link.connected:
            try:
                conversation = await self._link.connect()
            except Exception as error:
                self._fail(error)
                return
            conversation.on_error = self._fail
            conversation.on_resumed = self._write
        self._write()

    def _write(self) -> None:
        """Send what is unsent, except for events whose tasks were cancelled."""
        self._scheduled = False
        conversation = self._link.conversation
        if conversation is None or conversation.error or conversation.paused:
            return  # then `_fail` has told all tasks, or `_write` is called again
        if self._link.outdated:  # AUTH comes first, when all replies are there
            if self._unsent and not self._sent and (self._renewing is None or self._renewing.done()):
                self._renewing = conversation.loop.create_task(self._renew())
            return
        commands = self._link.commands
        if any(map(_is_cancelled, self._unsent)):
            wanted = [place for place, published in enumerate(self._unsent) if not published.cancelled()]
            commands.keep(wanted)
            self._unsent = [self._unsent[place] for place in wanted]
        if not self._unsent:
            return
        idle = not self._sent
        self._sent += self._unsent
        self._unsent = []
        self._send(conversation)
        if idle:
            conversation.listen(self._take)
            conversation.expect()

    def _send(self, conversation: Conversation) -> None:
        commands = self._link.commands
        with commands.view() as view:
            conversation.write(bytes(view))
        commands.clear()

    def _take(self) -> bool | Incomplete:
        """Tell the tasks whose replies have come. True when no task waits any more."""
        reader = self._link.reader
        demoted: Exception | None = None
        alone = len(self._sent) == 1
        while self._sent:
            reply: object = ENTRY_ID(reader)
            if reply is INCOMPLETE:
                return INCOMPLETE
            published = self._sent.popleft()
            if not published.done():
                try:
                    given = id_of(reply)
                    if alone and (conversation := self._link.conversation) is not None:
                        conversation.answered = published, given
                    else:
                        published.set_result(given)
                except Exception as error:
                    published.set_exception(self._link.pool.told(error))
                    demoted = error if rule_of(error).demoted else demoted
        if demoted is not None:  # this server is a replica now: the next event asks anew who is the master
            self._fail(demoted)
        elif (conversation := self._link.conversation) is not None:
            conversation.expect_nothing()
            if self._unsent and self._link.outdated:
                self._write()
        return True

    def _fail(self, error: Exception) -> None:
        """Tell all tasks of the error. The server may have what was sent."""
        waiting = [*self._sent, *self._unsent]
        self._sent.clear()
        self._unsent = []
        self._link.commands.clear()
        if self._link.conversation is not None:
            self._link.conversation.abort()
        told = error
        if isinstance(error, OSError):
            told = network_error(error, "publishing to", self._link.pool)
            told.__cause__ = error
        for published in waiting:
            if not published.done():
                published.set_exception(told_again(told))

    async def close(self) -> None:
        """Tell all tasks that the engine was closed."""
        if self._renewing is not None and not self._renewing.done():
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        self._fail(ConnectionAbortedError())
        await self._link.drop()
