"""The pool of a cluster, for blocking use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import ConnectionError, TimeoutError

from ...flows.publish.cluster_flush import SendAll, flush_cluster, publish_one
from ...flows.publish.pipeline import BufferFlush, Replication
from ...flows.statistics import cluster_statistics
from ...flows.steps import Concurrently, Flow, Pause, Publish, Refresh
from ...protocol.interface import EntryHead
from ...redis_adapter.closing import close_all
from ...redis_adapter.topology import Topology
from ...statistics import RedisStreamStatistics
from ..cluster_base import ClusterPoolBase, RoutedLinkBase
from .driver import drive, refuse, run_to_end
from .link import Link
from .multiplex import run_all
from .node_pipelines import are_short, send_all
from .pool import Pool

__all__ = ["ClusterPool", "RoutedLink"]

T = TypeVar("T")


class ClusterPool(ClusterPoolBase[Topology, Pool]):
    """The nodes of a cluster, for blocking use. Threads may share it."""

    def __init__(self, name: str, client: Any, *, owned: bool, **options: Any) -> None:
        topology = Topology(client) if owned else Topology(None, client)
        super().__init__(name, topology, Pool, owned=owned, **options)
        self._lock = threading.Lock()
        self._pid = os.getpid()

    # ---- nodes ----

    def node(self, name: str) -> Pool:
        """The pool of one node."""
        self.check_open()
        self._enter_process()
        found = self._nodes.get(name)
        if found is None:
            with self._lock:
                self.check_open()  # or `close` would not see the new one
                found = self._pool_of(name)
        return found

    def _enter_process(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self.topology.after_fork()

    def refresh(self, seen: int) -> None:
        """Ask the cluster which node has which slots, unless that was done since generation `seen`."""
        self.check_open()
        self._enter_process()
        self.topology.refresh(seen)

    def known_place(self, key: str, *, ask: bool = True) -> str:
        """The name of the node that has the Redis key. `ask`: ask the cluster if that is not known.

        Raises:
            redis.ConnectionError: if no node is known to have it.
        """
        if ask and self.place(key) is None:
            self.refresh(self.generation)
        return self._found(key)

    # ---- what is done over several nodes ----

    def drive(self, flow: Flow[T]) -> T:
        """The result of a flow that has no connection of its own."""
        return run_to_end(flow, self._perform)

    def _perform(self, step: Any) -> Any:
        if type(step) is SendAll:
            return self._send_all(step)
        if isinstance(step, Concurrently):
            return self._run_concurrently(step.jobs)
        if isinstance(step, Publish):
            return self.node(step.node).publish(step.head, step.body, step.tags)
        if isinstance(step, Refresh):
            return self.refresh(step.seen)
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        return refuse(step)

    def _send_all(self, step: SendAll) -> list[Any]:
        if not are_short(step.pipelines):
            return self._run_concurrently(step.jobs)
        pools = [self.node(one.node) for one in step.pipelines]
        links = [pool.take_link() for pool in pools]
        try:
            return send_all(step.pipelines, links)
        finally:
            for pool, link in zip(pools, links, strict=True):
                if not link.in_order:
                    link.drop()
                pool.return_link(link)

    def _run_concurrently(self, jobs: Sequence[tuple[str, Flow[Any]]]) -> list[Any]:
        pools = [self.node(name) for name, _ in jobs]
        links = [pool.take_link() for pool in pools]
        try:
            if len(jobs) == 1:  # the shorter way
                try:
                    return [drive(jobs[0][1], links[0])]
                except Exception as error:
                    return [error]
            return run_all([(flow, link) for (_, flow), link in zip(jobs, links, strict=True)])
        finally:
            for pool, link in zip(pools, links, strict=True):
                pool.return_link(link)

    # ---- as the pool of one server ----

    def node_link(self, node: str, key: str) -> Link:
        """A link to a node. `key`: the only Redis key of its commands, if the node has the key without its slot."""
        return self.new_link(key, node) if key else self.node(node).new_link()

    def new_link(self, key: str, ask_at: str | None = None) -> RoutedLink:
        """A link for commands about that Redis key. `ask_at`: a node that has the key without its slot."""
        self.check_open()
        return RoutedLink(self, key, ask_at)

    def run(self, flow: Flow[T], key: str) -> T:
        """The result of a flow about that Redis key, on a link of its own."""
        link = self.new_link(key)
        try:
            return drive(flow, link)
        finally:
            link.release()

    def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> str:
        """Send one event, and return its ID."""
        self.check_open()
        return self.drive(publish_one(self, head, body, tags))

    def statistics(self, streams: Sequence[str]) -> list[RedisStreamStatistics]:
        """The state of these streams, in one round trip to each node."""
        self.check_open()
        return self.drive(cluster_statistics(self, streams))

    def flush(
        self, flushes: Sequence[tuple[str, BufferFlush]], replication: Replication | None, link: Link | None = None
    ) -> None:
        """Send the buffers of these Redis keys."""
        self.drive(flush_cluster(self, flushes, replication))

    def close(self) -> None:
        """Return or close all connections. Closes redis-py's as well, unless the user handed the client in."""
        self._enter_process()
        with self._lock:
            self.closed = True
            nodes = list(self._nodes.values())
        close_all((*(node.close for node in nodes), *([self.topology.close] if self._owned else [])))


class RoutedLink(RoutedLinkBase, Link):
    """A link to the node that has a key."""

    _cluster: ClusterPool
    pool: Pool

    def _borrow(self) -> Any:
        hurried = self._limit is not None  # then redis-py is not asked for the topology, which may take its time
        self._node = self._ask_at or self._cluster.known_place(self._key, ask=not hurried)
        generation = self._cluster.generation
        self.pool = self._cluster.node(self._node)
        try:
            return super()._borrow()
        except (ConnectionError, TimeoutError):
            self._ask_at = None
            if not hurried:
                with suppress(ConnectionError):
                    self._cluster.refresh(generation)  # another node may have its slots by now
            raise

    def disconnect(self, error: Exception | None) -> None:
        generation = self._cluster.generation
        self.drop()
        if self._follow(error) and self._limit is None:
            with suppress(ConnectionError):
                self._cluster.refresh(generation)
