"""redis-py's cluster clients: which node has a slot, and connections to that node.

redis-py asks the cluster for its nodes (``CLUSTER SLOTS``), and knows TLS, ACL users and remapped addresses. No command
goes through its routing, so redis-py sends nothing again.
"""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import AskError, ConnectionError, RedisClusterException, RedisError

from .closing import closed_error
from .connections import after_fork
from .credentials import async_follow, follow
from .pools import ASYNCIO, BLOCKING, no_retries

__all__ = ["AsyncTopology", "Topology", "TopologyBase"]


# What redis-py raises if no node answers, or if the node that answers is in no cluster.
_UNKNOWN = (RedisClusterException, OSError, LookupError)


def _node(host: str, port: int) -> Any:
    return redis.cluster.ClusterNode(host, port, "primary")  # type: ignore[no-untyped-call]


@dataclass(slots=True)
class _Moved:
    """A redirection: which node has a slot now.

    Attributes:
        to: the node that has the slot.
        by: the node that has redirected.
        kept: the redirection has outlived one view of the cluster that was older.
    """

    to: str
    by: str
    kept: bool = False


class TopologyBase:
    """What is known of a cluster.

    Args:
        make: makes the client when it is first needed, because redis-py's client connects at once.
        client: the client that was handed in, instead of `make`.

    Attributes:
        generation: counts the refreshes. A caller of `refresh` says which generation was wrong.
        closed: whether the engine was closed.
    """

    def __init__(self, make: Callable[[], Any] | None, client: Any = None) -> None:
        self._make = make
        self._client = client
        self._moved: dict[int, _Moved] = {}
        self.generation: int = 0
        self.closed: bool = False

    def owner(self, slot: int) -> str | None:
        """The name of the slot's primary, ``host:port``; None if no node is known to have it."""
        if (moved := self._moved.get(slot)) is not None:
            return moved.to
        return self._viewed(slot)

    def _viewed(self, slot: int) -> str | None:
        nodes = self._manager.slots_cache.get(slot) if self._client is not None else None
        return str(nodes[0].name) if nodes else None

    @property
    def known(self) -> bool:
        """Whether the cluster was asked before."""
        return self._client is not None and bool(self._manager.slots_cache)

    @property
    def _provider(self) -> Any:
        """The provider of the credentials, if there is one."""
        return self._manager.connection_kwargs.get("credential_provider")

    @property
    def _manager(self) -> Any:
        return self._client.nodes_manager

    @abstractmethod
    def connections(self, name: str) -> Any:
        """A new pool of connections to that node, made as redis-py makes its own."""

    def name_of(self, error: AskError, asked: str) -> str:
        """The name of the node that a redirection names. `asked`: the name of the node that redirects."""
        host, port = error.host or asked.rpartition(":")[0], int(error.port)
        host, port = self._manager.remap_host_port(host, port)
        return str(_node(host, port).name)

    def moved(self, slot: int, to: str, by: str) -> None:
        """Note a redirection to `to`. The node `by` knows better than the node that was asked for the topology."""
        if self.owner(slot) != to:
            self._moved[slot] = _Moved(to, by)

    def _viewed_anew(self) -> None:
        """Forget the redirections, except from nodes that still have the slot in the new view.

        The node that gave the view may not have heard of the move yet. So a redirection outlives one such view. The
        next view counts.
        """
        self._moved = {
            slot: _Moved(moved.to, moved.by, kept=True)
            for slot, moved in self._moved.items()
            if not moved.kept and self._viewed(slot) == moved.by
        }
        self.generation += 1

    def _failure(self, error: Exception) -> Exception:
        """The error of a refresh that has met `error`."""
        return closed_error() if self.closed else ConnectionError(f"the topology of the cluster is not known: {error}")

    def _forget(self) -> None:
        """Nothing is known any more."""
        self._moved.clear()
        self.generation += 1


class Topology(TopologyBase):
    """A cluster, as a `redis.RedisCluster` knows it. Threads may share it."""

    def __init__(self, make: Callable[[], Any] | None, client: Any = None) -> None:
        super().__init__(make, client)
        self._lock = threading.Lock()

    def refresh(self, seen: int) -> None:
        """Ask the cluster which node has which slots, unless that was done since generation `seen`.

        Raises:
            redis.ConnectionError: if none of the nodes can be reached.
        """
        with self._lock:
            if self.generation != seen:
                return
            if self.closed:
                raise closed_error()
            try:
                if self._client is None:
                    assert self._make is not None
                    self._client = self._make()
                else:
                    self._manager.initialize()
            except _UNKNOWN as error:
                raise self._failure(error) from error
            if self.closed and self._make is not None:  # meanwhile: what is connected now, `close` has not seen
                self._client.close()
                raise closed_error()
            follow(self, self._provider, Topology._tell)  # redis-py has made itself the listener
            self._viewed_anew()

    def connections(self, name: str) -> Any:
        """A new pool of connections to that node, made as redis-py makes its own.

        Not that one: when redis-py looks at the topology, it has its connections made again.
        """
        node = self._manager.nodes_cache.get(name)
        if node is None:  # one that has no slots yet
            host, _, port = name.rpartition(":")
            node = _node(host, int(port))
        if node.redis_connection is None:
            self._manager.create_redis_connections([node])
        theirs = node.redis_connection.connection_pool
        pool = redis.ConnectionPool(
            connection_class=theirs.connection_class,
            max_connections=theirs.max_connections,
            **{**theirs.connection_kwargs, "retry": no_retries(BLOCKING)},
        )
        follow(self, self._provider, Topology._tell)
        follow(pool, self._provider)
        return pool

    def _tell(self, token: Any) -> None:
        """Tell redis-py's own connections of a new token."""
        for node in tuple(self._manager.nodes_cache.values()):
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.re_auth_callback(token)

    def after_fork(self) -> None:
        """In a forked child, make new locks: a thread that is not there may have held the others."""
        self._lock = threading.Lock()
        if self._client is not None:
            for name in ("_lock", "_initialization_lock"):
                if hasattr(self._manager, name):
                    setattr(self._manager, name, threading.RLock())
            for node in self._manager.nodes_cache.values():
                if node.redis_connection is not None:
                    after_fork(node.redis_connection.connection_pool)

    def close(self) -> None:
        self.closed = True
        if self._client is not None:
            self._client.close()


class AsyncTopology(TopologyBase):
    """A cluster, as a `redis.asyncio.RedisCluster` knows it. The tasks of one event loop may share it.

    Its nodes have no pools that could be shared, so each gets one of its own, made as redis-py makes its connections.
    """

    def __init__(self, make: Callable[[], Any] | None, client: Any = None) -> None:
        super().__init__(make, client)
        self._lock = asyncio.Lock()

    async def refresh(self, seen: int) -> None:
        """As `Topology.refresh`."""
        async with self._lock:
            if self.generation != seen:
                return
            if self.closed:
                raise closed_error()
            if self._client is None:
                assert self._make is not None
                self._client = self._make()
            try:
                if self._make is None and not self.known:
                    await self._client.initialize()  # or it would not know that there is something to be closed
                else:
                    await self._manager.initialize()
            except _UNKNOWN as error:
                raise self._failure(error) from error
            if self.closed and self._make is not None:  # meanwhile: what is connected now, `close` has not seen
                await self.close()
                raise closed_error()
            async_follow(self, self._provider, AsyncTopology._tell)  # redis-py has made itself the listener
            self._viewed_anew()

    def connections(self, name: str) -> Any:
        """A new pool of connections to that node."""
        node = self._manager.nodes_cache.get(name)
        if node is None:
            host, _, port = name.rpartition(":")
            node = redis.asyncio.cluster.ClusterNode(host, int(port), "primary", **self._client.connection_kwargs)
        kwargs: Mapping[str, Any] = {**node.connection_kwargs, "retry": no_retries(ASYNCIO)}
        pool = redis.asyncio.ConnectionPool(
            connection_class=node.connection_class, max_connections=node.max_connections, **kwargs
        )
        async_follow(pool, self._provider)
        return pool

    async def _tell(self, token: Any) -> None:
        """Tell redis-py's own connections of a new token."""
        for node in tuple(self._manager.nodes_cache.values()):
            await node.re_auth_callback(token)

    def enter_loop(self) -> None:
        """Leave behind what belongs to another event loop. A client that was handed in stays: it is its owner's."""
        self._lock = asyncio.Lock()
        if self._make is not None:
            self._client = None
            self._forget()

    async def close(self) -> None:
        self.closed = True
        if self._client is not None:
            close = getattr(self._manager, "aclose", None) or self._manager.close  # redis-py 5.0.0 has another name
            for nodes in ("nodes_cache", "startup_nodes"):
                with suppress(RedisError, OSError):
                    await close(nodes)
