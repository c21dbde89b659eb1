"""`Registry`: the Redis pools and the streams on them, which are checked once, and then become an `Engine`."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis

from . import protocol
from .errors import RegistryError
from .partitions import RegisteredStream, beside, partition_streams
from .protocol.commands import entry_head

if TYPE_CHECKING:
    from .engine import Engine
    from .redis_adapter.connections import Flavour, PoolSpec

__all__ = ["Registry", "RegistryBase"]

C = TypeVar("C")
P = TypeVar("P")
Q = TypeVar("Q")

DEFAULT_POOL = "default"


class RegistryBase(Generic[C]):
    """What the registries for blocking use and for asyncio have in common.

    Args:
        default: asked for a replacement of every value that msgpack has no type for, when an event is published.

    Raises:
        TypeError: if `default` can't be called.
    """

    def __init__(self, *, default: Callable[[Any], Any] | None = None) -> None:
        if default is not None and not callable(default):
            raise TypeError(f"default= is a function or None, not {type(default).__name__}")
        self._default = default
        self._pools: list[tuple[str, PoolSpec]] = []
        self._streams: list[tuple[str, str, int | None]] = []

    def register_redis(
        self,
        address: str | None = None,
        db: int = 0,
        pool: str = DEFAULT_POOL,
        *,
        client: C | None = None,
        sentinels: Sequence[str | tuple[str, int]] | None = None,
        cluster: bool = False,
        **options: Any,
    ) -> None:
        """Register a Redis or Valkey server or cluster, 6.2 or newer, under the name `pool`. Nothing is connected yet.

        Args:
            address: ``host:port`` (an IPv6 address in brackets: ``[::1]:6379``), the path of a unix socket
                (``/run/redis.sock``), or a URL (``redis://``, ``rediss://`` for TLS, ``unix://``), with the special
                characters of its password percent-encoded. With `sentinels`: the name of the master. Of a cluster: a
                few of its nodes, as ``redis+cluster://host:port,host:port`` (``rediss+cluster://`` for TLS), or as
                ``host:port,host:port`` with `cluster`.
            db: the number of the database; a database in the URL counts as well.
            pool: the name that streams refer to.
            client: an existing `redis.Redis` or `redis.RedisCluster` (`fluxa_fast.asyncio`: those of `redis.asyncio`),
                whose connections are used instead of an address. It excludes all other arguments but `pool`. The engine
                keeps at most one of them between two calls (asyncio: and one for single events), and one for each
                consumer; of a cluster, for each node.
            sentinels: ``host:port`` of each Sentinel.
            cluster: whether the address is that of a cluster. A URL with ``+cluster`` says so itself.
            options: what else `redis.Redis` takes: ``username``, ``password``, ``ssl_ca_certs``, ``socket_timeout``
                (seconds or a timedelta; 30 s if not given, 5 s for a cluster), ``max_connections``... And of a cluster
                what `redis.RedisCluster` takes: ``address_remap``...

        What is wrong with it is told by `validate`.
        """
        from .redis_adapter.connections import PoolSpec

        self._pools.append((pool, PoolSpec(address, db, client, sentinels, options, cluster)))

    def register_redis_stream(self, stream: str, pool: str = DEFAULT_POOL, *, partitions: int | None = None) -> None:
        """Register a stream on a pool. Streams must be registered before they are published to or consumed from.

        Args:
            stream: the name, which is the key in Redis; of a stream with partitions it is the beginning of their keys.
            pool: the name of a registered pool.
            partitions: in how many parts the stream is to be kept, from 1 to 16384; each is a stream in Redis of its
                own, and they are spread over the nodes of a cluster. All who publish and consume must name the same
                number, and it can't be changed while there are events. None: the stream is one key.
        """
        self._streams.append((stream, pool, partitions))

    def _checked(
        self, flavour: Flavour, new_pool: Callable[..., P], new_cluster: Callable[..., Q]
    ) -> tuple[dict[str, P | Q], dict[str, RegisteredStream]]:
        """The pools and the streams, by their names.

        Raises:
            RegistryError: with every problem that was found.
        """
        problems: list[str] = []
        pools = self._checked_pools(flavour, new_pool, new_cluster, problems)
        streams = self._checked_streams(problems)
        if problems:
            raise RegistryError(problems)
        protocol.warn_if_slow()
        return pools, streams

    def _checked_pools(
        self, flavour: Flavour, new_pool: Callable[..., P], new_cluster: Callable[..., Q], problems: list[str]
    ) -> dict[str, P | Q]:
        from .redis_adapter.connections import (
            beside_client,
            cluster_client,
            connection_pool,
            is_cluster,
            told_without_secrets,
        )

        pools: dict[str, P | Q] = {}
        names: set[str] = set()
        if not self._pools:
            problems.append("no Redis pool is registered; call register_redis()")
        for name, spec in self._pools:
            if problem := _name_problem("pool", name, names):
                problems.append(problem)
                continue
            names.add(name)
            if spec.client is not None:
                problems += [f"pool {_shown(name)}: {problem}" for problem in beside_client(spec)]
            try:
                cluster = is_cluster(spec)
                connections = cluster_client(spec, flavour) if cluster else connection_pool(spec, flavour)
            except Exception as error:  # whatever an argument of some odd type does
                problems.append(f"pool {_shown(name)}: {told_without_secrets(error, spec)}")
                continue
            new: Callable[..., P | Q] = new_cluster if cluster else new_pool
            pools[name] = new(
                name,
                connections,
                owned=spec.client is None,
                implementation=protocol.default,
                default=self._default,
            )
        return pools

    def _checked_streams(self, problems: list[str]) -> dict[str, RegisteredStream]:
        streams: dict[str, RegisteredStream] = {}
        pools = {pool for pool, _ in self._pools if isinstance(pool, str)}
        named_beside: dict[tuple[str, str], str] = {}
        for stream, pool, partitions in self._streams:
            if problem := _name_problem("stream", stream, streams):
                problems.append(problem)
                continue
            found: list[str] = []
            keys: tuple[str, ...] = (stream,)
            try:
                entry_head(stream)
                if partitions is not None:
                    keys = partition_streams(stream, partitions)
            except UnicodeEncodeError:
                found.append("the name has a lone surrogate, which UTF-8 can't hold")
            except ValueError as error:
                found.append(str(error))
            if not isinstance(pool, str):
                found.append(f"the name of its pool is a str, not {type(pool).__name__}")
            elif pool not in pools:
                found.append(f"there is no pool {_shown(pool)}")
            if not found and partitions is None:
                other = named_beside.setdefault((pool, beside(stream, "")), stream)
                if other != stream:
                    found.append(
                        f"keys beside it would have the names of those of stream {other!r} on the same pool; rename"
                        " one of them"
                    )
            problems += [f"stream {_shown(stream)}: {problem}" for problem in found]
            streams[stream] = RegisteredStream(stream, pool, keys, partitions is not None)
        return streams


class Registry(RegistryBase[redis.Redis | redis.RedisCluster]):
    """Collects pools and streams until `validate` makes an `Engine` of them.

    Args:
        default: asked for a replacement of every value that msgpack has no type for, when an event is published.

    Raises:
        TypeError: if `default` can't be called.
    """

    def validate(self) -> Engine:
        """Check everything that was registered, and make an engine of it. Does not connect.

        Raises:
            RegistryError: with every problem that was found.

        Warns:
            ImplementationWarning: once, if the compiled protocol is missing and the pure one was not asked for.
        """
        from .engine import Engine  # and with it all that an importer need not wait for
        from .redis_adapter.connections import BLOCKING
        from .transport.blocking.cluster import ClusterPool
        from .transport.blocking.pool import Pool

        return Engine(*self._checked(BLOCKING, Pool, ClusterPool))


def _name_problem(kind: str, name: object, taken: Container[str]) -> str | None:
    """What is wrong with the name of a pool or a stream; None if nothing is."""
    if not isinstance(name, str) or not name:
        told = repr(name) if isinstance(name, str) else type(name).__name__
        return f"the name of a {kind} is a str of at least one character, not {told}"
    if name in taken:
        return f"{kind} {_shown(name)} is registered more than once"
    return None


def _shown(name: str) -> str:
    """A name, for an error. One that looks like an address was perhaps to be one: it may have a password in it."""
    from .redis_adapter.addresses import redacted

    return redacted(name) if "@" in name or "://" in name else repr(name)
