"""`Registry`: the Redis pools and the streams of a program. It checks them once, and makes an `Engine` of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

import redis

from . import protocol
from .errors import RegistryError
from .groups import ONE_GROUP, checked_groups
from .hooks import Hooks, combined
from .keep import Keep, checked_keep
from .packing import Packing, checked_packing
from .partitions import RegisteredStream, beside, partition_streams
from .positions import Start
from .protocol.body_codec import BodyCodec
from .protocol.commands import entry_head
from .redis_adapter.pools import Flavour, PoolSpec

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Registry", "RegistryBase"]

C = TypeVar("C")
P = TypeVar("P")
Q = TypeVar("Q")

DEFAULT_POOL = "default"


class _StreamSpec(NamedTuple):
    """A stream as it was registered; nothing is checked."""

    name: str
    pool: str
    partitions: int | None
    groups: Sequence[str] | Mapping[str, Start] | None
    keep: Keep | Literal["until_handled"] | None
    packed: bool | Packing


class RegistryBase(Generic[C]):
    """The registry of both faces, without `validate`.

    Args:
        default: called with every value of an event that msgpack has no type for; returns what to write in its place.
            For a type that has a form of its own (UUID, Decimal, set...) it may return NotImplemented.
        decode: the counterpart of `default`. Called with a class that is asked for and that fluxa_fast does not know,
            and the plain value; returns a value of that class. Called with `msgpack.ExtType` for every extension that
            fluxa_fast does not know.
        encode_body: called with the msgpack bytes of every body; returns the bytes to store, such as compressed ones.
        decode_body: the counterpart of `encode_body`: called with the stored bytes; returns msgpack.
        hooks: are told what the engine does: `Hooks`, or several of them.
        prefix: stands in Redis in front of the name of every stream, so that several environments can share a server:
            with ``"staging:"`` the stream ``orders`` is the Redis key ``staging:orders``.

    Raises:
        TypeError: if a function can't be called, if `hooks` are not `Hooks`, or if `prefix` is no str.
    """

    def __init__(
        self,
        *,
        default: Callable[[Any], Any] | None = None,
        decode: Callable[[Any, Any], Any] | None = None,
        encode_body: Callable[[bytes], bytes] | None = None,
        decode_body: Callable[[bytes], bytes] | None = None,
        hooks: Hooks | Sequence[Hooks] = (),
        prefix: str = "",
    ) -> None:
        functions = {"default": default, "decode": decode, "encode_body": encode_body, "decode_body": decode_body}
        for name, function in functions.items():
            if function is not None and not callable(function):
                raise TypeError(f"{name}= is a function or None, not {type(function).__name__}")
        if not isinstance(prefix, str):
            raise TypeError(f"prefix= is a str, not {type(prefix).__name__}")
        self._prefix = prefix
        self._codec = BodyCodec(protocol.default, default, decode, encode_body, decode_body)
        self._hooks = combined(hooks)
        self._pools: list[tuple[str, PoolSpec]] = []
        self._streams: list[_StreamSpec] = []

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
        """Register a Redis or Valkey server or cluster, 6.2 or newer, under the name `pool`. Does not connect.

        Does not check the arguments either: `validate` does, and tells all that is wrong.

        Args:
            address: ``host:port`` (an IPv6 address in brackets: ``[::1]:6379``), the path of a unix socket
                (``/run/redis.sock``), or a URL (``redis://``, ``rediss://`` for TLS, ``unix://``), with the special
                characters of its password percent-encoded. With `sentinels`: the name of the master. For a cluster:
                some of its nodes, as ``redis+cluster://host:port,host:port`` (``rediss+cluster://`` for TLS), or as
                ``host:port,host:port`` with `cluster`.
            db: the number of the database. The URL may name it instead.
            pool: the name by which streams refer to this server or cluster.
            client: an existing `redis.Redis` or `redis.RedisCluster` (`fluxa_fast.asyncio`: those of `redis.asyncio`),
                whose connections are used. It excludes all other arguments but `pool`. The engine keeps at most one of
                the connections between two calls (asyncio: and one for single events), and one for each consumer. For a
                cluster it keeps as many for each node.
            sentinels: ``host:port`` of each Sentinel.
            cluster: whether the address is that of a cluster. A URL with ``+cluster`` needs no `cluster`.
            options: further arguments of `redis.Redis`: ``username``, ``password``, ``ssl_ca_certs``,
                ``socket_timeout`` (seconds or a timedelta; 30 s if not given, 5 s for a cluster),
                ``max_connections``... For a cluster also those of `redis.RedisCluster`: ``address_remap``...
        """
        from .redis_adapter.pools import PoolSpec

        self._pools.append((pool, PoolSpec(address, db, client, sentinels, options, cluster)))

    def register_redis_stream(
        self,
        stream: str,
        pool: str = DEFAULT_POOL,
        *,
        partitions: int | None = None,
        groups: Sequence[str] | Mapping[str, Start] | None = None,
        keep: Keep | Literal["until_handled"] | None = None,
        packed: bool | Packing = False,
    ) -> None:
        """Register a stream on a pool. Streams must be registered before they are published to or consumed from.

        Args:
            stream: the name of the stream, which is its Redis key, behind the `prefix` of the registry. With
                partitions, the Redis key of each partition begins with this name.
            pool: the name of a registered pool.
            partitions: the number of partitions, from 1 to 16384. Each partition is a Redis stream of its own, and the
                nodes of a cluster share them. All publishers and consumers must register the same number. It can't be
                changed while the stream has events. None: the stream is one Redis key.
            groups: the names of all groups that are given the events; or a dict of their names, with the first event
                of each: ``"0"`` (the oldest), ``"$"`` (the next one that is published), an ID, or a datetime. It counts
                only when the group is made. Consumers make all of them, so that no event is deleted before every group
                has had it. All services must declare the same. None: the one group is ``consumer_group``.
            keep: how much the stream keeps. With a `Keep`, acknowledged events stay until they are too old or too many.
                All services must register the same. None, or ``"until_handled"``: an event is deleted when all groups
                have acknowledged it.
            packed: whether flushers put many events into one entry, which costs the server much less; or a `Packing`
                that says how many. Consumers need to know nothing of it, but to be of a version that reads it. See the
                page on packed streams.
        """
        self._streams.append(_StreamSpec(stream, pool, partitions, groups, keep, packed))

    def _checked(
        self, flavour: Flavour, new_pool: Callable[..., P], new_cluster: Callable[..., Q]
    ) -> tuple[dict[str, P | Q], dict[str, RegisteredStream]]:
        """Return the pools and the streams, by name.

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
        from .redis_adapter.pools import (
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
            except Exception as error:  # an argument of a wrong type may raise anything
                problems.append(f"pool {_shown(name)}: {told_without_secrets(error, spec)}")
                continue
            new: Callable[..., P | Q] = new_cluster if cluster else new_pool
            pools[name] = new(
                name,
                connections,
                owned=spec.client is None,
                implementation=protocol.default,
                codec=self._codec,
            )
        return pools

    def _checked_streams(self, problems: list[str]) -> dict[str, RegisteredStream]:
        streams: dict[str, RegisteredStream] = {}
        pools = {pool for pool, _ in self._pools if isinstance(pool, str)}
        named_beside: dict[tuple[str, str], str] = {}
        for stream, pool, partitions, groups, keep, packed in self._streams:
            if problem := _name_problem("stream", stream, streams):
                problems.append(problem)
                continue
            found: list[str] = []
            key = self._prefix + stream
            keys: tuple[str, ...] = (key,)
            declared = ONE_GROUP
            kept = packing = None
            try:
                declared = checked_groups(groups)
            except (TypeError, ValueError) as error:
                found.append(str(error))
            try:
                kept = checked_keep(keep)
            except (TypeError, ValueError) as error:
                found.append(str(error))
            try:
                packing = checked_packing(packed)
            except (TypeError, ValueError, ImportError) as error:
                found.append(str(error))
            try:
                entry_head(key)
                if partitions is not None:
                    keys = partition_streams(key, partitions)
            except UnicodeEncodeError:
                found.append("the name has a lone surrogate, which UTF-8 can't hold")
            except ValueError as error:
                found.append(str(error))
            if not isinstance(pool, str):
                found.append(f"the name of its pool is a str, not {type(pool).__name__}")
            elif pool not in pools:
                found.append(f"there is no pool {_shown(pool)}")
            if not found and partitions is None:
                other = named_beside.setdefault((pool, beside(key, "")), stream)
                if other != stream:
                    found.append(
                        f"keys beside it would have the names of those of stream {other!r} on the same pool; rename"
                        " one of them"
                    )
            problems += [f"stream {_shown(stream)}: {problem}" for problem in found]
            streams[stream] = RegisteredStream(stream, pool, key, keys, partitions is not None, declared, kept, packing)
        return streams


class Registry(RegistryBase[redis.Redis | redis.RedisCluster]):
    """Collects pools and streams until `validate` makes an `Engine` of them.

    Args:
        default: called with every value of an event that msgpack has no type for; returns what to write in its place.
            For a type that has a form of its own (UUID, Decimal, set...) it may return NotImplemented.
        decode: the counterpart of `default`. Called with a class that is asked for and that fluxa_fast does not know,
            and the plain value; returns a value of that class. Called with `msgpack.ExtType` for every extension that
            fluxa_fast does not know.
        encode_body: called with the msgpack bytes of every body; returns the bytes to store, such as compressed ones.
        decode_body: the counterpart of `encode_body`: called with the stored bytes; returns msgpack.
        hooks: are told what the engine does: `Hooks`, or several of them.
        prefix: stands in Redis in front of the name of every stream, so that several environments can share a server:
            with ``"staging:"`` the stream ``orders`` is the Redis key ``staging:orders``.
    """

    def validate(self) -> Engine:
        """Check everything that was registered, and make an engine of it. Does not connect.

        Raises:
            RegistryError: with every problem that was found.

        Warns:
            ImplementationWarning: once, if the compiled protocol is missing and FLUXA_FAST_IMPL does not ask for the
                pure one.
        """
        from .engine import Engine  # imports much that `import fluxa_fast` need not wait for
        from .redis_adapter.pools import BLOCKING
        from .transport.blocking.cluster import ClusterPool
        from .transport.blocking.pool import Pool

        return Engine(*self._checked(BLOCKING, Pool, ClusterPool), self._hooks)


def _name_problem(kind: str, name: object, taken: Container[str]) -> str | None:
    """Return what is wrong with the name of a pool or a stream; None if it is right."""
    if not isinstance(name, str) or not name:
        told = repr(name) if isinstance(name, str) else type(name).__name__
        return f"the name of a {kind} is a str of at least one character, not {told}"
    if name in taken:
        return f"{kind} {_shown(name)} is registered more than once"
    return None


def _shown(name: str) -> str:
    """Return a name for an error. A name that looks like an address is redacted: it may have a password in it."""
    from .redis_adapter.addresses import redacted

    return redacted(name) if "@" in name or "://" in name else repr(name)
