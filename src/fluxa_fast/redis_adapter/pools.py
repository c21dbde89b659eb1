"""redis-py's pools and cluster clients, out of registrations. Works with redis-py 5.0 and newer.

redis-py makes each connection (DNS, TLS, AUTH, HELLO, SELECT, Sentinel) and keeps them in its pool.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from .credentials import async_follow, follow
from .options import checked_database, checked_options, checked_sentinels
from .sentinels import AsyncSentinels, Sentinels

__all__ = [
    "ASYNCIO",
    "BLOCKING",
    "Flavour",
    "PoolSpec",
    "beside_client",
    "cluster_client",
    "connection_pool",
    "is_cluster",
    "no_retries",
    "told_without_secrets",
]

# Seconds. redis-py's own defaults differ between its versions; some wait for ever.
_DEFAULTS = {"socket_timeout": 30.0, "socket_connect_timeout": 5.0}
# A node that does not answer for longer counts as gone: another node may have its slots by then.
_CLUSTER_DEFAULTS = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0, "require_full_coverage": False}


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of the two sets of classes of redis-py: blocking, or for asyncio."""

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
        options: all other options of `redis.Redis`.
        cluster: whether it is a cluster.

    All of them are as they were given, until they are checked.
    """

    # What may hold a password is not in the repr.
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
    """The text of an error of a registration. A text that may show a password is left out."""
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
    """No retries inside of redis-py: outages are waited for by `flows`."""
    return flavour.retry(NoBackoff(), 0)


def connection_pool(spec: PoolSpec, flavour: Flavour) -> Any:
    """The redis-py connection pool of a registration. Nothing is connected yet.

    Raises:
        ValueError, redis.RedisError: for a wrong address or option.
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
    """The cluster client that was handed in, or else a function that makes one: redis-py's client connects at once.

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
