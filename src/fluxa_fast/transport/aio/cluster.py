"""The pool of a cluster, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import ConnectionError, TimeoutError

from ...flows.publish.cluster_flush import NodePipeline, SendAll, flush_cluster, publish_one
from ...flows.publish.pipeline import BufferFlush, Replication
from ...flows.statistics import cluster_statistics
from ...flows.steps import Concurrently, Flow, Publish, Refresh
from ...protocol.interface import EntryHead
from ...redis_adapter.closing import async_close_all
from ...redis_adapter.topology import AsyncTopology
from ...statistics import RedisStreamStatistics
from ..cluster_base import ClusterPoolBase, RoutedLinkBase
from ..pool_base import WINDOW
from .driver import Driver, together
from .link import Link
from .one_loop import OneLoop
from .pool import Pool

__all__ = ["ClusterPool", "RoutedLink"]

T = TypeVar("T")


class ClusterPool(ClusterPoolBase[AsyncTopology, Pool]):
    """The nodes of a cluster, for an event loop. Tasks may share it."""

    def __init__(self, name: str, client: Any, *, owned: bool, **options: Any) -> None:
        topology = AsyncTopology(client) if owned else AsyncTopology(None, client)
        super().__init__(name, topology, Pool, owned=owned, **options)
        self._home = OneLoop(f"Redis pool {name!r}")

    # ---- nodes ----

    def enter_loop(self) -> None:
        """As `Pool.enter_loop`."""
        loop = asyncio.get_running_loop()
        if self._home.loop is not loop:
            self._home.enter(loop, self._leave_loop)

    def _leave_loop(self, before: asyncio.AbstractEventLoop | None) -> None:
        if before is not None:
            self.topology.enter_loop()

    def _enter_loop(self) -> None:
        self.check_open()
        self.enter_loop()

    def node(self, name: str) -> Pool:
        """The pool of one node."""
        self._enter_loop()
        return self._pool_of(name)

    async def refresh(self, seen: int) -> None:
        """Ask the cluster which node has which slots, unless that was done since generation `seen`."""
        self._enter_loop()
        await self.topology.refresh(seen)

    async def known_place(self, key: str) -> str:
        """The name of the node that has the Redis key.

        Raises:
            redis.ConnectionError: if no node is known to have it.
        """
        self._enter_loop()
        if self.place(key) is None:
            await self.refresh(self.generation)
        return self._found(key)

    # ---- what is done over several nodes ----

    async def drive(self, flow: Flow[T]) -> T:
        """The result of a flow that has no connection of its own."""
        return await _ClusterDriver(self).drive(flow)

    async def send_all(self, step: SendAll) -> list[Any]:
        """As `run_concurrently`. Short pipelines over connections that are there need no task for each."""
        pools = [self.node(one.node) for one in step.pipelines]
        links = [pool.take_link() for pool in pools]
        outcomes: list[Any] | None = None
        try:
            short = max([len(one.commands) for one in step.pipelines]) <= WINDOW
            if short and all([link.connected for link in links]):  # noqa: C419 (a generator would take longer)
                outcomes = await _pushed(step.pipelines, links)
        finally:
            for pool, link in zip(pools, links, strict=True):
                if not link.in_order:
                    await link.drop()
                await pool.return_link(link)
        return await self.run_concurrently(step.jobs) if outcomes is None else outcomes

    async def run_concurrently(self, jobs: Sequence[tuple[str, Flow[Any]]]) -> list[Any]:
        """What each flow returned, or the error that ended it. Each has the name of its node."""
        return await together([self._outcome(name, flow) for name, flow in jobs])

    async def _outcome(self, name: str, flow: Flow[Any]) -> Any:
        pool = self.node(name)
        link = pool.take_link()
        try:
            return await Driver(link).drive(flow)
        except Exception as error:
            return error
        finally:
            await pool.return_link(link)

    # ---- as the pool of one server ----

    def node_link(self, node: str, key: str) -> Link:
        """A link to a node. `key`: the only Redis key of its commands, if the node has the key without its slot."""
        return self.new_link(key, node) if key else self.node(node).new_link()

    def new_link(self, key: str, ask_at: str | None = None) -> RoutedLink:
        """A link for commands about that Redis key. `ask_at`: a node that has the key without its slot."""
        self.check_open()
        return RoutedLink(self, key, ask_at)

    async def run(self, flow: Flow[T], key: str) -> T:
        """The result of a flow about that Redis key, on a link of its own."""
        link = self.new_link(key)
        try:
            return await Driver(link).drive(flow)
        finally:
            await link.release()

    async def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> str:
        """Send one event, and return its ID."""
        self._enter_loop()
        return await self.drive(publish_one(self, head, body, tags))

    async def statistics(self, streams: Sequence[str]) -> list[RedisStreamStatistics]:
        """The state of these streams, in one round trip to each node."""
        self._enter_loop()
        return await self.drive(cluster_statistics(self, streams))

    async def flush(
        self, flushes: Sequence[tuple[str, BufferFlush]], replication: Replication | None, link: Link | None = None
    ) -> None:
        """Send the buffers of these Redis keys."""
        self.enter_loop()
        await self.drive(flush_cluster(self, flushes, replication))

    async def close(self) -> None:
        """Return or close all connections. Closes redis-py's as well, unless the user handed the client in."""
        self.enter_loop()
        self.closed = True
        nodes = tuple(self._nodes.values())
        await async_close_all((*(node.close for node in nodes), *([self.topology.close] if self._owned else [])))


async def _pushed(pipelines: Sequence[NodePipeline], links: Sequence[Link]) -> list[Any]:
    """Send all, and wait for one node after the other. The event loop takes the replies of all nodes meanwhile."""
    outcomes: list[Any] = []
    for one, link in zip(pipelines, links, strict=True):
        link.push(one.commands, one.replies)
    for one, link in zip(pipelines, links, strict=True):
        outcomes.append(None)
        try:
            await link.pipeline(one.commands, one.replies)
        except Exception as error:
            outcomes[-1] = error
    return outcomes


class _ClusterDriver(Driver):
    """Does what the flows over several nodes ask for."""

    def __init__(self, cluster: ClusterPool) -> None:
        super().__init__(None)
        self._cluster = cluster

    def _do(self, step: Any) -> Awaitable[Any]:
        if type(step) is SendAll:
            return self._cluster.send_all(step)
        if isinstance(step, Concurrently):
            return self._cluster.run_concurrently(step.jobs)
        if isinstance(step, Publish):
            return self._cluster.node(step.node).publish(step.head, step.body, step.tags)
        if isinstance(step, Refresh):
            return self._cluster.refresh(step.seen)
        return super()._do(step)


class RoutedLink(RoutedLinkBase, Link):
    """A link to the node that has a key."""

    _cluster: ClusterPool
    pool: Pool

    async def _borrow(self) -> Any:
        self._node = self._ask_at or await self._cluster.known_place(self._key)
        generation = self._cluster.generation
        self.pool = self._cluster.node(self._node)
        try:
            return await super()._borrow()
        except (ConnectionError, TimeoutError):
            self._ask_at = None
            with suppress(ConnectionError):
                await self._cluster.refresh(generation)  # another node may have its slots by now
            raise

    async def disconnect(self, error: Exception | None) -> None:
        generation = self._cluster.generation
        await self.drop()
        if self._follow(error):
            with suppress(ConnectionError):
                await self._cluster.refresh(generation)
