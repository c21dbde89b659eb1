"""All that touches redis-py's internals: pools from addresses, and a connection's socket or transport.

Works with redis-py 5.0 and newer. redis-py makes the connection (DNS, TLS, AUTH, HELLO, SELECT, Sentinel) and keeps
the pool; from then on the socket is ours, so nothing is sent again by anybody but us.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.cluster
from redis.backoff import NoBackoff
from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url
from redis.retry import Retry

from .addresses import checked_address, checked_url, host_and_port, redacted
from .closing import close_all
from .credentials import async_follow, follow
from .deadline import connected_within, is_outside
from .options import checked_database, checked_options, checked_sentinels
from .sentinels import AsyncSentinels, Sentinels

__all__ = [
    "ASYNCIO",
    "BLOCKING",
    "Flavour",
    "PoolSpec",
    "after_fork",
    "async_after_fork",
    "async_borrow",
    "async_close",
    "async_give_back",
    "beside_client",
    "borrow",
    "close",
    "close_socket",
    "cluster_client",
    "connection_pool",
    "cut",
    "give_back",
    "is_cluster",
    "no_retries",
    "raw_socket",
    "raw_transport",
    "told_without_secrets",
]

# Seconds. redis-py's own defaults differ between its versions; some wait for ever.
_DEFAULTS = {"socket_timeout": 30.0, "socket_connect_timeout": 5.0}
# A node that is silent for longer is as good as gone: another one may have its slots by then.
_CLUSTER_DEFAULTS = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0, "require_full_coverage": False}


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of the two sets of classes that redis-py has."""

    name: str
    client: Any
    cluster: Any
    cluster_node: Any
    sentinel: Any
    retry: Any


BLOCKING = Flavour("redis.Redis", redis.Redis, redis.RedisCluster, redis.cluster.ClusterNode, Sentinels, Retry)
ASYNCIO = Flavour(
    "redis.asyncio.Redis",
    redis.asyncio.Redis,
    redis.asyncio.RedisCluster,
    redis.asyncio.cluster.ClusterNode,
    AsyncSentinels,
    redis.asyncio.retry.Retry,
)


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Where a Redis pool is, as it was registered.

    Attributes:
        address: ``host:port``, the path of a unix socket, or a URL; with `sentinels`, the master's name.
        db: the number of the database.
        client: an existing client, instead of an address.
        sentinels: addresses of Sentinels.
        options: whatever else `redis.Redis` takes.
        cluster: whether it is a cluster. (As all of these it is what was given, until it was checked.)
    """

    # Not in the repr: whatever may hold a password.
    address: str | None = field(repr=False)
    db: int = 0
    client: Any = field(default=None, repr=False)
    sentinels: Sequence[str | tuple[str, int]] | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cluster: bool = False


def is_cluster(spec: PoolSpec) -> bool:
    """Whether the registration is of a cluster.

    Raises:
        TypeError: if `cluster` says neither.
    """
    if spec.client is not None:
        return isinstance(spec.client, (BLOCKING.cluster, ASYNCIO.cluster))
    if type(spec.cluster) is not bool:
        raise TypeError(f"cluster= is True or False, not {type(spec.cluster).__name__}")
    return spec.cluster or (isinstance(spec.address, str) and spec.address.partition("://")[0].endswith("+cluster"))


def beside_client(spec: PoolSpec) -> list[str]:
    """What was given beside `client=`, and has no effect there."""
    problems = []
    if spec.address is not None or spec.sentinels is not None or spec.options:
        problems.append("client= excludes an address, sentinels and options")
    if type(spec.db) is not int or spec.db != 0:
        problems.append("client= excludes db=: the database is that of the client")
    if spec.cluster is not False:
        problems.append("client= excludes cluster=: a redis.RedisCluster is a cluster, and no other client is")
    return problems


def told_without_secrets(error: Exception, spec: PoolSpec) -> str:
    """The text of an error that a registration has met. One that may show a password is left out."""
    text = str(error)
    if text and not any(secret in text for secret in _secrets(spec)):
        return text
    return f"{type(error).__name__}, whose text is left out because it may show a password"


def _secrets(spec: PoolSpec) -> set[str]:
    options: list[Mapping[str, Any]] = [spec.options]
    if isinstance(spec.options.get("sentinel_kwargs"), Mapping):
        options.append(spec.options["sentinel_kwargs"])
    given = [one.get(name) for one in options for name in ("password", "ssl_password")]
    found = {one if isinstance(one, str) else repr(one) for one in given if isinstance(one, (str, bytes, int))}
    if isinstance(spec.address, str):
        query = spec.address.partition("?")[2]
        if "password" in query:  # whose special characters may have made other options out of it
            found |= set(re.findall(r"\w+", f"{query} {unquote(query)}")) - {"password", *URL_QUERY_ARGUMENT_PARSERS}
    return {secret for secret in found if len(secret) > 2}


def no_retries(flavour: Flavour) -> Any:
    """No retries inside of redis-py: an outage is waited for by us, in one place."""
    return flavour.retry(NoBackoff(), 0)


def connection_pool(spec: PoolSpec, flavour: Flavour) -> Any:
    """The redis-py connection pool of a registration. Nothing is connected yet.

    Raises:
        ValueError, redis.RedisError: for an address or an option that can't be one.
        TypeError: for an option that redis-py doesn't take, or a client of another kind.
    """
    if spec.client is not None:
        return _checked_connections(_client_of(spec, flavour.client, flavour).connection_pool)
    pool = _new_pool(spec, flavour)
    _check_connections_of(pool)
    (follow if flavour is BLOCKING else async_follow)(pool, pool.connection_kwargs.get("credential_provider"))
    return pool


def _check_connections_of(pool: Any) -> None:
    """Make a connection, which connects later, but checks its options now."""
    checked_options({name: pool.connection_kwargs.get(name) for name in _IN_URLS})
    pool.connection_class(**pool.connection_kwargs)
    _checked_connections(pool)


_IN_URLS = ("socket_timeout", "socket_connect_timeout", "health_check_interval", "client_name")


def _new_pool(spec: PoolSpec, flavour: Flavour) -> Any:
    if not isinstance(spec.address, str) or not spec.address:
        what = "the name of the master" if spec.sentinels is not None else "'host:port', a socket's path or a URL"
        raise ValueError(f"an address is {what}, not {redacted(spec.address)}")
    db = checked_database(spec.db)
    options = checked_options({"retry": no_retries(flavour), **_DEFAULTS, **spec.options})
    if spec.sentinels is not None:
        return _sentinel_pool(spec, flavour, options)
    if "://" in spec.address:
        return _url_pool(spec.address, db, flavour, options)
    if "ssl" not in options and any(name.startswith("ssl_") for name in options):
        raise ValueError("ssl_... options have no effect without TLS: give ssl=True as well, or a URL with rediss://")
    if spec.address.startswith("/") or (spec.address.endswith(".sock") and "@" not in spec.address):
        return flavour.client(unix_socket_path=spec.address, db=db, **options).connection_pool
    checked_address(spec.address)
    host, port = host_and_port(spec.address.strip())
    return flavour.client(host=host, port=port, db=db, **options).connection_pool


def _url_pool(url: str, db: int, flavour: Flavour, options: dict[str, Any]) -> Any:
    scheme = checked_url(url)
    pool = flavour.client.from_url(url, **options).connection_pool
    in_url = pool.connection_kwargs.get("db")
    if in_url is None:
        pool.connection_kwargs["db"] = db
        return pool
    checked_database(in_url)
    in_path = urlsplit(url).path.strip("/") if scheme != "unix" else ""
    if in_path and int(in_path) != in_url:
        raise ValueError(f"the URL names database {int(in_path)} in its path, and database {in_url} behind that")
    if db and db != in_url:
        raise ValueError(f"the URL names database {in_url}, and the registration database {db}")
    return pool


def _sentinel_pool(spec: PoolSpec, flavour: Flavour, options: dict[str, Any]) -> Any:
    sentinels = checked_sentinels(spec.sentinels)
    name = spec.address
    if re.search(r"[\s@/]", str(name)):
        raise ValueError(f"with sentinels= the address is the name of the master, and {redacted(name)} is none")
    kwargs = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "retry": no_retries(flavour)}
    kwargs |= options.pop("sentinel_kwargs", None) or {}
    master = flavour.sentinel(sentinels, sentinel_kwargs=kwargs).master_for(name, db=spec.db, **options)
    return master.connection_pool


def cluster_client(spec: PoolSpec, flavour: Flavour) -> Any:
    """The cluster client of a registration, or else what makes it: nothing is to be connected yet, and redis-py's does.

    Raises:
        ValueError, TypeError, redis.RedisError: as `connection_pool`.
    """
    if spec.client is not None:
        return _client_of(spec, flavour.cluster, flavour)
    if spec.sentinels is not None:
        raise ValueError("a cluster has no sentinels: its nodes elect a new primary themselves")
    if checked_database(spec.db):
        raise ValueError(f"a cluster has one database, 0; not {spec.db!r}")
    hosts, in_url = _cluster_address(spec.address)
    options = checked_options({**_CLUSTER_DEFAULTS, **spec.options, **in_url})
    if "ssl" not in options and any(name.startswith("ssl_") for name in options):
        raise ValueError(
            "ssl_... options have no effect without TLS: give ssl=True as well, or a URL with rediss+cluster://"
        )
    of_cluster = set(inspect.signature(flavour.cluster.__init__).parameters) - set(
        inspect.signature(flavour.client.__init__).parameters
    )
    host, port = hosts[0]
    plain = {name: value for name, value in options.items() if name not in of_cluster}
    _check_connections_of(flavour.client(host=host, port=port, **plain).connection_pool)
    nodes = [flavour.cluster_node(host, port) for host, port in hosts]
    return lambda: flavour.cluster(startup_nodes=list(nodes), **options)


def _cluster_address(address: Any) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """The nodes of ``host:port,host:port`` or ``redis+cluster://user:password@host:port,host:port?option=value``."""
    if not isinstance(address, str) or not address:
        raise ValueError(f"the address of a cluster is 'host:port,host:port' or a URL, not {redacted(address)}")
    if "://" not in address:
        checked_address(address)
        return [host_and_port(one.strip()) for one in address.split(",")], {}
    scheme = checked_url(address, cluster=True)
    rest = address.partition("://")[2]
    end = min((place for mark in "/?" if (place := rest.find(mark)) >= 0), default=len(rest))
    user, at, hosts = rest[:end].rpartition("@")
    plain = scheme.removesuffix("+cluster")
    nodes = []
    options: dict[str, Any] = {}
    for one in hosts.split(","):
        url = f"{plain}://{user}{at}{one.strip()}{rest[end:]}"
        options = dict(parse_url(url))  # type: ignore[no-untyped-call]
        nodes.append((options.pop("host", "localhost"), options.pop("port", 6379)))
    if options.pop("db", 0):
        raise ValueError("a cluster has one database, 0")
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    return nodes, options


# ---- clients that were handed in ------------------------------------------------------------------------

_WITHOUT_SOCKETS = (
    "the connections of fakeredis have no socket, and fluxa_fast reads and writes that itself; for tests start a real "
    "server, with fluxa_fast.embedded.EmbeddedServer (pip install 'fluxa-fast[embedded]')"
)


def _client_of(spec: PoolSpec, kind: Any, flavour: Flavour) -> Any:
    client = spec.client
    if _package_of(type(client), "fakeredis"):
        raise TypeError(_WITHOUT_SOCKETS)
    if not isinstance(client, kind):
        raise _wrong_client(client, flavour)
    return client


def _checked_connections(pool: Any) -> Any:
    if getattr(pool, "cache", None) is not None:
        raise TypeError("client= takes a client without a client-side cache")
    if _package_of(pool.connection_class, "fakeredis"):
        raise TypeError(_WITHOUT_SOCKETS)
    return pool


def _package_of(kind: Any, package: str) -> bool:
    """Whether a class, or one that it is made of, comes from that package."""
    return any(str(one.__module__).partition(".")[0] == package for one in getattr(kind, "__mro__", ()))


def _wrong_client(client: Any, flavour: Flavour) -> TypeError:
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    hint = ""
    for other, package in ((BLOCKING, "fluxa_fast"), (ASYNCIO, "fluxa_fast.asyncio")):
        if isinstance(client, (other.client, other.cluster)):
            hint = f"; {package} is for those"
    if _package_of(type(client), "valkey"):
        hint = "; give the address of the server instead: redis-py connects to Valkey as well"
    return TypeError(f"client= takes a {flavour.name}, not {kind}{hint}")


# ---- connections --------------------------------------------------------------------------------------

_NEEDS_NAME = (
    inspect.signature(redis.ConnectionPool.get_connection).parameters["command_name"].default is inspect.Parameter.empty
)


def borrow(pool: Any, within: float | None = None) -> Any:
    """A connected connection of the pool.

    Args:
        pool: redis-py's.
        within: seconds in which it must be connected, whatever the pool's time-outs are. Such a connection is a new
            one, beside those that the pool counts, and `give_back` closes it.

    Raises:
        redis.ConnectionError, redis.TimeoutError: if it can't be connected.
    """
    if within is not None:
        return _with_token(connected_within(pool, within))
    return _with_token(pool.get_connection("XADD") if _NEEDS_NAME else pool.get_connection())


def _with_token(connection: Any) -> Any:
    """Links ask a connection for a token that it has not sent; redis-py has them since 5.3."""
    if not hasattr(connection, "_re_auth_token"):
        connection._re_auth_token = None
    return connection


def give_back(pool: Any, connection: Any, *, reusable: bool) -> None:
    """Return a connection to its pool; one that is not reusable is closed before."""
    outside = is_outside(connection)
    try:
        if outside or not reusable:
            connection._re_auth_token = None  # or redis-py would connect it again, to send AUTH
            connection.disconnect()
    finally:
        if not outside:
            pool.release(connection)


def close(pool: Any) -> None:
    """Close all connections of a pool, and those to the Sentinels that it asks.

    Those that a thread is connecting are cut: it closes them itself, because to close a socket that another thread uses
    may close one that a third thread has just opened, under the same number.
    """
    pools = (pool, *_pools_of_sentinels(pool))
    for one in pools:
        for connection in one._in_use_connections.copy():
            if connection._sock is not None:
                _shut(connection._sock)
    close_all(partial(one.disconnect, inuse_connections=False) for one in pools)


def cut(connection: Any) -> socket.socket:
    """Take the socket from a connection, and end what a thread does over it. `close_socket` is left to that thread."""
    sock: socket.socket = connection._sock
    _shut(sock)
    connection._sock = None
    return sock


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # the server was faster
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not that of TLS, after which bytes would be sent in the clear


def close_socket(sock: socket.socket) -> None:
    """Close a socket that was taken from its connection."""
    with suppress(OSError):
        sock.close()


def _pools_of_sentinels(pool: Any) -> list[Any]:
    manager = getattr(pool, "sentinel_manager", None)
    return [sentinel.connection_pool for sentinel in getattr(manager, "known", getattr(manager, "sentinels", ()))]


def after_fork(pool: Any) -> None:
    """Give a pool that was made before a fork new locks: a thread that is not in the child may have held the others."""
    for one in (pool, *_pools_of_sentinels(pool)):
        for name in ("_lock", "_fork_lock"):
            if hasattr(one, name):
                setattr(one, name, threading.RLock())


def raw_socket(connection: Any) -> socket.socket:
    """The socket of a connected connection, plain or TLS."""
    sock: socket.socket = connection._sock
    return sock


# ---- connections of redis.asyncio ---------------------------------------------------------------------

_AWAITED_NEEDS_NAME = (
    inspect.signature(redis.asyncio.ConnectionPool.get_connection).parameters["command_name"].default
    is inspect.Parameter.empty
)


async def async_borrow(pool: Any) -> Any:
    """As `borrow`."""
    return _with_token(await (pool.get_connection("XADD") if _AWAITED_NEEDS_NAME else pool.get_connection()))


async def async_give_back(pool: Any, connection: Any, *, reusable: bool) -> None:
    """As `give_back`."""
    if not reusable:
        connection._re_auth_token = None
        await connection.disconnect(nowait=True)
    await pool.release(connection)


async def async_close(pool: Any) -> None:
    """As `close`."""
    for one in (pool, *_pools_of_sentinels(pool)):
        await one.disconnect()


def async_after_fork(pool: Any) -> list[Any]:
    """Leave the connections of a pool to the parent process. Returns what must not be collected.

    Both processes have the same epoll: to close a transport here would be to stop the parent's loop from listening to
    it, and that is what redis-py's connections and asyncio's writers do when they are collected.
    """
    writers = []
    for name in ("_available_connections", "_in_use_connections"):
        for connection in getattr(pool, name, ()):
            if connection._writer is not None:
                writers.append(connection._writer)
                with suppress(AttributeError):  # uvloop's
                    connection._writer.transport._closing = True
            connection._reader = connection._writer = None
    return writers


def raw_transport(connection: Any) -> asyncio.Transport:
    """The transport of a connected connection."""
    transport: asyncio.Transport = connection._writer.transport
    return transport
