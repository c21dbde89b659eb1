"""The connections to one Redis, for blocking use."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from redis.exceptions import AskError, ResponseError

from ...errors import FluxaError
from ...flows.publish.pipeline import BufferFlush, Replication, not_begun, write_event
from ...flows.replies import ENTRY_ID, id_of
from ...flows.server_errors import rule_of
from ...flows.statistics import statistics
from ...flows.steps import Flow
from ...protocol.interface import EntryHead
from ...redis_adapter import connections as redis_py
from ...redis_adapter.closing import close_all
from ...statistics import RedisStreamStatistics
from ..pool_base import IDLE_LINKS, ServerPoolBase
from .driver import drive
from .link import Link

__all__ = ["Pool"]

T = TypeVar("T")


class Pool(ServerPoolBase[Link]):
    """The connections to one Redis, for blocking use. Threads may share it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pid = os.getpid()

    def _enter_process(self) -> None:
        """In a forked child, leave the locks behind: a thread that is not there may have held them."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self.lent.clear()
            redis_py.after_fork(self.connections)

    def reclaim(self) -> None:
        """Close the connections of links that were forgotten."""
        self._enter_process()
        while self.abandoned:
            with suppress(IndexError):  # another thread was faster
                redis_py.give_back(self.connections, self.abandoned.popleft(), reusable=False)

    def take_back(self, connection: Any, sock: Any, *, reusable: bool) -> None:
        """Return a connection of a link to redis-py's pool, unless `close` has done that."""
        if self.lent.pop(connection, None) is None:
            redis_py.close_socket(sock)
        else:
            redis_py.give_back(self.connections, connection, reusable=reusable and not (self.closed and self._owned))

    def _recall(self, connection: Any) -> None:
        """Take a connection from its link, for redis-py's pool. What a thread does over it fails at once."""
        link = self.lent.pop(connection, None)
        if link is not None:
            sock = redis_py.cut(connection)
            if (owner := link()) is not None:  # the link closes the socket; or else it is closed when the link is freed
                weakref.finalize(owner, redis_py.close_socket, sock)
            redis_py.give_back(self.connections, connection, reusable=False)

    def take_link(self) -> Link:
        """A link for one use. `return_link` takes it back."""
        try:
            return self._idle.pop()  # `close` has emptied it
        except IndexError:
            self.check_open()
            return Link(self)

    def link_to_push(self) -> Link | None:
        """A link on which a flush begins early."""
        return self.take_link()

    def return_link(self, link: Link) -> None:
        """Keep the link for the next use, or return its connection to redis-py's pool."""
        idle = self._idle
        if len(idle) < IDLE_LINKS and not self.closed:
            idle.append(link)
            if not self.closed:
                return
            try:  # `close` has come in between, and empties the list: whichever takes the link out releases it
                idle.remove(link)
            except ValueError:
                return
        link.release()

    def node_link(self, node: str, key: str) -> Link:
        """A link to a node; there is one node only."""
        return self.new_link()

    def refresh(self, seen: int) -> None:
        """There is nothing to ask."""

    def new_link(self, key: str = "") -> Link:
        """A link that one owner keeps, for commands about that Redis key."""
        self.check_open()
        return Link(self)

    def run(self, flow: Flow[T], key: str = "") -> T:
        """The result of a flow about that Redis key, on a link of its own."""
        link = self.take_link()
        try:
            return drive(flow, link)
        finally:
            self.return_link(link)

    def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> str:
        """Send one event, and return its ID."""
        link = self.take_link()
        try:
            write_event(link.commands, head, body, tags)
            reply = link.ask(link.commands, ENTRY_ID)
            return reply if type(reply) is str else self._refused(reply, link)
        except BaseException:
            link.commands.clear()
            raise
        finally:
            self.return_link(link)

    def _refused(self, reply: Any, link: Link) -> str:
        """Raise the server's error."""
        try:
            return id_of(reply)
        except AskError as error:
            raise self.told(error) from None
        except ResponseError as error:
            if rule_of(error).demoted:
                link.drop()  # this server is a replica now: the next event asks anew who is the master
            raise

    def statistics(self, streams: Sequence[str]) -> list[RedisStreamStatistics]:
        """The state of these streams, in one round trip."""
        return self.run(statistics(self.implementation.CommandBuffer(), self.name, streams))

    def flush(
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
                    drive(flush.flow(replication), link)
                elif flush.begin():
                    self._send(flush, link)
        finally:
            self.return_link(link)

    @staticmethod
    def _send(flush: BufferFlush, link: Link) -> None:
        """As the flow of the buffer, if no replica is waited for."""
        try:
            link.pipeline(flush.buffer, flush.replies)
        except BaseException as error:
            if not flush.keeps(error):
                raise
        if flush.demoted:
            link.drop()

    def close(self) -> None:
        """Return or close all connections. Closes redis-py's pool as well, unless the user handed it in."""
        self._enter_process()
        self.closed = True
        idle = []
        with suppress(IndexError):
            while True:
                idle.append(self._idle.pop())
        close_all(
            (
                *(link.release for link in idle),
                *(partial(self._recall, connection) for connection in self.lent.copy()),
                self.reclaim,
                *([partial(redis_py.close, self.connections)] if self._owned else []),
            )
        )
