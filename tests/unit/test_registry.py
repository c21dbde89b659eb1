"""What a registry refuses, before anything is connected: with every problem, in words, and without a password."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import RegistryError

REGISTRIES: list[Any] = [fluxa_fast.Registry, fluxa_fast.asyncio.Registry]

pytestmark = pytest.mark.parametrize("new", REGISTRIES, ids=["blocking", "asyncio"])


def problems(new: Any, *arguments: Any, **options: Any) -> str:
    """What is wrong with one pool; empty if nothing is."""
    registry = new()
    registry.register_redis(*arguments, **options)
    try:
        registry.validate()
    except RegistryError as error:
        return "\n".join(error.problems)
    return ""


def pool_of(new: Any, *arguments: Any, **options: Any) -> Any:
    """redis-py's pool of connections, of one that is right."""
    registry = new()
    registry.register_redis(*arguments, **options)
    return registry.validate()._pools["default"].connections


def client_of(new: Any) -> Any:
    return redis.Redis if new is fluxa_fast.Registry else redis.asyncio.Redis


# ---- odd arguments --------------------------------------------------------------------------------------


class _Odd:
    """Fails at whatever is done with it."""

    def _fail(self, *_: Any) -> Any:
        raise ArithmeticError("an odd one")

    __bool__ = __eq__ = __len__ = __iter__ = __repr__ = __str__ = __format__ = __contains__ = _fail
    __hash__ = None  # type: ignore[assignment]


_VALUES: list[Any] = [
    [], {}, set(), (), b"x", b"", "", " ", ":", "::", "x:", ":1", "[", "[]", "[::1", "[x]:1", "a:b:c", "\x00", "\ud800", "é", "//", "://", "redis://",
    "redis://[", "redis://[::1", "redis://a:b:c", "redis://\ud800", "redis+cluster://", "redis+cluster://,", "unix://", "unix://x", "x" * 300, "a..b", 0, 1,
    -1, 10**30, -(10**30), 1.5, math.nan, math.inf, True, False, None, object(), object, _Odd(), _Odd, timedelta(seconds=1), timedelta(-1), print,
    ["x"], [1], [None], [("a", 1)], [("a", "b")], [("a",)], [["a", 1, 2]], [b"a:1"], [_Odd()], {"a": 1}, {"socket_timeout": "x"},
]  # fmt: skip
_ODD = st.integers(0, len(_VALUES) - 1)  # Hypothesis would fail at what fails at everything
_NAMES = (
    "username", "password", "client_name", "socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options", "max_connections",
    "health_check_interval", "ssl", "ssl_ca_certs", "ssl_cert_reqs", "protocol", "retry", "retry_on_error", "decode_responses", "encoding", "host", "port", "path",
    "unix_socket_path", "connection_pool", "connection_class", "single_connection_client", "credential_provider", "redis_connect_func", "cache",
    "cache_config", "sentinel_kwargs", "address_remap", "startup_nodes", "url", "require_full_coverage", "event_dispatcher", "nonsense",
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    pools=st.lists(
        st.tuples(
            st.sampled_from(["localhost:6379", "redis://localhost", "a:1,b:2", None]) | st.text() | _ODD,
            st.dictionaries(st.sampled_from(["db", "pool", "client", "sentinels", "cluster"]), _ODD),
            st.dictionaries(st.sampled_from(_NAMES), _ODD, max_size=2),
        ),
        max_size=2,
    ),
    streams=st.lists(st.tuples(st.just("orders") | _ODD, st.just("default") | _ODD, st.none() | _ODD), max_size=2),
)
def test_odd_arguments_are_problems_and_nothing_else(new: Any, pools: Any, streams: Any) -> None:
    def value(one: Any) -> Any:
        return _VALUES[one] if isinstance(one, int) else one

    registry = new()
    for address, named, options in pools:
        registry.register_redis(value(address), **{name: value(one) for name, one in {**options, **named}.items()})
    for stream, pool, partitions in streams:
        registry.register_redis_stream(value(stream), value(pool), partitions=value(partitions))
    try:
        registry.validate()
    except RegistryError as error:
        assert all(error.problems)


@pytest.mark.parametrize(
    ("register", "told"),
    [
        (lambda one: one.register_redis("localhost:1", pool=["a"]), "the name of a pool is a str of at least one character, not list"),
        (lambda one: one.register_redis_stream({"a": 1}), "the name of a stream is a str of at least one character, not dict"),
        (lambda one: one.register_redis_stream("orders", pool=["a"]), "stream 'orders': the name of its pool is a str, not list"),
        (lambda one: one.register_redis_stream("orders", partitions=[3]), "stream 'orders': a stream has 1 to 16384 partitions, not 'list'"),
    ],
)  # fmt: skip
def test_names_that_have_no_hash(new: Any, register: Callable[[Any], None], told: str) -> None:
    registry = new()
    registry.register_redis("localhost:6379")
    register(registry)
    with pytest.raises(RegistryError) as caught:
        registry.validate()
    assert caught.value.problems == (told,)


def test_the_default_hook_is_looked_at_at_once(new: Any) -> None:
    assert new(default=None)
    assert new(default=repr)
    for default in (5, "repr", {}):
        with pytest.raises(TypeError, match="default= is a function or None, not"):
            new(default=default)


# ---- addresses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "options", "told"),
    [
        ("::1", {}, r"an IPv6 address is written in brackets: '\[::1\]:6379'"),
        ("fe80::1:6379", {}, r"an IPv6 address is written in brackets: '\[fe80::1:6379\]:6379'"),
        ("::1", {"cluster": True}, r"'\[::1\]:6379'"),
        ("mymaster", {"sentinels": ["::1"]}, r"sentinels\[0\]: an IPv6 address is written in brackets: '\[::1\]:26379'"),
        ("redis://::1/0", {}, r"'\[::1\]:6379'"),
        ("localhost:70000", {}, "the port of 'localhost:70000' is no number from 1 to 65535"),
        ("redis://localhost:70000", {}, "the port of 'localhost:70000' is no number from 1 to 65535"),
        ("redis://user:secret@localhost:70000/1", {}, "the port of 'localhost:70000' is no number from 1 to 65535"),
        ("redis://localhost:0", {}, "the port of 'localhost:0'"),
        ("redis://localhost:123456", {}, r"the port of 'localhost:\*\*\*'"),
        ("redis+cluster://a:1,b:70000", {}, "the port of 'b:70000'"),
        ("a:1,b:70000", {"cluster": True}, "the port of 'b:70000'"),
        ("mymaster", {"sentinels": ["a:1", "b:70000"]}, r"sentinels\[1\]: the port of 'b:70000'"),
        ("mymaster", {"sentinels": [("a", 70000)]}, r"sentinels\[0\]: the port of 'a:70000'"),
        ("localhost:6379/1", {}, "with a user, a password, a database or options it is a URL"),
        ("user:secret@localhost:6379", {}, r"'\*\*\*@localhost:6379' is no 'host:port': with a user"),
        ("a:1,b:2", {}, "is no 'host:port'"),
        ("redis://a:1,b:2", {}, r"has several hosts; if they are a cluster, begin with redis\+cluster://"),
        ("redis+cluster://a:1,,b:2", {}, "is no 'host:port'"),
        ("a..b:1", {}, "is no 'host:port'"),
        ("redis://localhost/abc", {}, r"the path of the URL 'redis://localhost/\*\*\*' is no number of a database"),
        ("redis://localhost/1/2", {}, "is no number of a database"),
        ("redis://localhost/-1", {}, "is no number of a database"),
        ("redis+cluster://localhost/abc", {}, "is no number of a database"),
        ("redis://localhost/1?db=2", {}, "names database 1 in its path, and database 2"),
        ("redis://localhost?db=-2", {}, "a database is a number from 0, not -2"),
        ("redis://localhost#x", {}, "has a '#'"),
        ("unix://run/redis.sock", {}, "three slashes"),
        ("unix://", {}, "three slashes"),
        ("valkey://localhost", {}, "begins with redis://, rediss:// or unix://, which 'valkey://localhost' does not"),
        (None, {}, "an address is 'host:port', a socket's path or a URL, not NoneType"),
        (None, {"sentinels": ["a:1"]}, "an address is the name of the master, not NoneType"),
        ("redis://:secret@a", {"sentinels": ["a:1"]}, r"the name of the master, and 'redis://\*\*\*@a' is none"),
    ],
)  # fmt: skip
def test_addresses_that_cant_be(new: Any, address: Any, options: dict[str, Any], told: str) -> None:
    said = problems(new, address, **options)
    assert re.search(told, said), said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost", {"host": "localhost", "port": 6379, "db": 0}),
        ("my_host-1.example:7000", {"host": "my_host-1.example", "port": 7000}),
        ("[::1]", {"host": "::1", "port": 6379}),
        ("[::1]:7000", {"host": "::1", "port": 7000}),
        ("redis://[::1]:7000/3", {"host": "::1", "port": 7000, "db": 3}),
        ("redis://localhost/3/", {"host": "localhost", "db": 3}),
        ("redis://localhost/3?db=3", {"db": 3}),
        ("redis://localhost/", {"db": 0}),
        (
            "redis://user:a%40b%2Fc%3Fd%23e@localhost",
            {"username": "user", "password": "a@b/c?d#e", "host": "localhost"},
        ),
        ("redis://user:a@b@localhost", {"password": "a@b", "host": "localhost"}),
        ("/abc", {"path": "/abc"}),
        ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}),
        ("unix://user:secret@/run/redis.sock", {"path": "/run/redis.sock", "password": "secret"}),
    ],
)
def test_addresses_that_are_read(new: Any, address: str, expected: dict[str, Any]) -> None:
    kwargs = pool_of(new, address).connection_kwargs
    assert {name: kwargs.get(name, 6379 if name == "port" else None) for name in expected} == expected


# ---- passwords ------------------------------------------------------------------------------------------

_WORDS = ("Zq7x", "Wv8k", "Jy4m", "Xf3h")
_FORMS: list[tuple[str, dict[str, Any]]] = [
    ("redis://user:{}@host.example:6379/0", {}),
    ("redis://:{}@host.example", {}),
    ("rediss://user:{}@host.example:6379", {}),
    ("unix://user:{}@/run/redis.sock", {}),
    ("user:{}@host.example:6379", {}),
    ("{}@host.example", {}),
    ("{}@host.example:port", {}),
    ("redis://user:{}@host.example:70000", {}),
    ("redis://user:{}@host.example/abc", {}),
    ("http://user:{}@host.example", {}),
    ("redis://host.example?password={}", {}),
    ("redis://host.example/0?db=x&password={}", {}),
    ("redis+cluster://user:{}@host.example:1,host.example:2", {}),
    ("redis+cluster://:{}@host.example:1,host.example:70000", {}),
    ("redis+cluster://host.example:1,host.example:2?password={}", {}),
    ("user:{}@host.example:1,host.example:2", {"cluster": True}),
    ("redis://user:{}@host.example:1", {"cluster": True}),
    ("redis://user:{}@host.example", {"sentinels": ["a:1"]}),
    ("mymaster", {"sentinels": ["user:{}@host.example:1"]}),
    ("mymaster", {"sentinels": [("user:{}@host.example", 1)]}),
    ("host.example", {"password": "{}", "nonsense": 1}),
    ("host.example", {"password": ["{}"]}),
    ("host.example", {"max_connections": "{}"}),
    ("host.example", {"db": "{}"}),
    ("host.example", {"pool": "redis://user:{}@host.example", "nonsense": 1}),
    ("host.example", {"client": "redis://user:{}@host.example"}),
    ("mymaster", {"sentinels": ["a:1"], "sentinel_kwargs": {"password": "{}", "socket_timeout": "{}"}}),
]


def _filled(form: Any, password: str) -> Any:
    if isinstance(form, str):
        return form.replace("{}", password)
    if isinstance(form, (list, tuple)):
        return type(form)(_filled(one, password) for one in form)
    return {key: _filled(one, password) for key, one in form.items()} if isinstance(form, dict) else form


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(form=("redis://host.example?password={}", {}), marks=["&", "+", "="], as_bytes=False)
@example(form=("redis+cluster://host.example?password={}", {}), marks=["&", "%20", "="], as_bytes=False)
@example(form=("redis://user:{}@host.example", {}), marks=["@", "/", "x"], as_bytes=False)
@given(
    form=st.sampled_from(_FORMS),
    marks=st.lists(st.text("@/?#:,&=;%[]\\+ .!$'\"`~|<>{}^\t\n-_*()", min_size=1, max_size=3), min_size=3, max_size=3),
    as_bytes=st.booleans(),
)
def test_no_part_of_a_password_is_told(
    new: Any, caplog: pytest.LogCaptureFixture, form: tuple[str, dict[str, Any]], marks: list[str], as_bytes: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    password = _WORDS[0] + "".join(mark + word for mark, word in zip(marks, _WORDS[1:], strict=True))
    address, options = _filled(form, password)
    registry = new()
    registry.register_redis(address.encode() if as_bytes and "://" in address else address, **options)
    registry.register_redis_stream("orders", options.get("pool", "default"))
    registry.register_redis_stream("users", f"redis://user:{password}@host.example")
    registry.register_redis_stream(f"redis://user:{password}@host.example", "missing")
    with pytest.raises(RegistryError) as caught:
        registry.validate()
    for text in (str(caught.value), repr(caught.value), caplog.text):
        assert not [word for word in _WORDS if word in text], text


@settings(max_examples=300)
@given(
    form=st.sampled_from([form for form, options in _FORMS if not options and "cluster" not in form]),
    marks=st.lists(st.text("@/?#:,&=;[]\\+ .!$-_*()", min_size=1, max_size=3), min_size=3, max_size=3),
)
def test_no_part_of_a_password_is_taken_for_a_host(new: Any, form: str, marks: list[str]) -> None:
    """What is accepted is read as it is meant: an error of the connection names the host."""
    password = _WORDS[0] + "".join(mark + word for mark, word in zip(marks, _WORDS[1:], strict=True))
    try:
        kwargs = pool_of(new, _filled(form, password)).connection_kwargs
    except RegistryError:
        return
    for name in ("host", "path", "client_name"):
        assert not [word for word in _WORDS if word in str(kwargs.get(name, ""))]


# ---- options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["socket_timeout", "socket_connect_timeout"])
@pytest.mark.parametrize("where", ["server", "cluster", "sentinels"])
def test_timeouts_are_durations(new: Any, name: str, where: str) -> None:
    place: dict[str, Any] = {
        "server": {"address": "localhost"},
        "cluster": {"address": "localhost", "cluster": True},
        "sentinels": {"address": "mymaster", "sentinels": ["localhost"]},
    }[where]
    for value in ("5", True, math.nan, math.inf, -1, 0, timedelta(-1), [], 10**12):
        assert f"pool 'default': {name} is " in problems(new, **place, **{name: value}), value
    for value in (None, 5, 0.5, timedelta(seconds=5)):
        assert problems(new, **place, **{name: value}) == ""
    if where != "cluster":
        kwargs = pool_of(new, **place, **{name: timedelta(milliseconds=2500)}).connection_kwargs
        assert kwargs[name] == 2.5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_connections": 0}, "max_connections is a number from 1 or None, not 0"),
        ({"max_connections": True}, "max_connections is a number from 1 or None, not True"),
        ({"max_connections": "5"}, "max_connections is a number from 1 or None, not str"),
        ({"health_check_interval": "5"}, "health_check_interval is a number of seconds"),
        ({"db": "0"}, "a database is a number from 0, not str"),
        ({"db": True}, "a database is a number from 0, not True"),
        ({"db": -1}, "a database is a number from 0, not -1"),
        ({"cluster": 1}, "cluster= is True or False, not int"),
        ({"cluster": "yes"}, "cluster= is True or False, not str"),
        ({"sentinels": "a:1"}, "sentinels= is a list of at least one 'host:port', not str"),
        ({"sentinels": []}, "sentinels= is a list of at least one 'host:port', and it is empty"),
        ({"sentinels": 5}, "sentinels= is a list of at least one 'host:port', not int"),
        ({"sentinels": ["a:1", 5]}, "sentinels[1] is 'host:port' or a host and a port, not int"),
        ({"sentinels": [("a", "1")]}, "sentinels[0] is 'host:port' or a host and a port, not tuple"),
        ({"sentinels": [("a", 1, 2)]}, "sentinels[0] is 'host:port' or a host and a port, not tuple"),
        ({"sentinels": ["a"], "sentinel_kwargs": 5}, "sentinel_kwargs is a dict of options, not int"),
        ({"sentinels": ["a"], "sentinel_kwargs": {"socket_timeout": "x"}}, "sentinel_kwargs['socket_timeout'] is a number of seconds"),
        ({"password": ["x"]}, "password is a str, not list"),
        ({"username": True}, "username is a str, not bool"),
        ({"client_name": "two words"}, "client_name is of printable ASCII characters without spaces"),
        ({"protocol": 4}, "protocol is 2 or 3, not 4"),
        ({"credential_provider": 5}, "credential_provider has a method get_credentials, and int has none"),
        ({"redis_connect_func": 5}, "redis_connect_func is a function or None, not int"),
        ({"cluster": True, "address_remap": 5}, "address_remap is a function or None, not int"),
        ({"host": "x"}, "host= is not taken: the address says where the server is"),
        ({"cluster": True, "startup_nodes": []}, "startup_nodes= is not taken"),
        ({"connection_pool": object()}, "connection_pool= is not taken: give the client that has it as client="),
        ({"single_connection_client": True}, "single_connection_client= is not taken"),
        ({"ssl_ca_certs": "ca.pem"}, "ssl_... options have no effect without TLS"),
        ({"cluster": True, "ssl_ca_certs": "ca.pem"}, "ssl_... options have no effect without TLS"),
        ({"nonsense": 1}, "nonsense"),
        ({"cluster": True, "nonsense": 1}, "nonsense"),
    ],
)  # fmt: skip
def test_options_that_cant_be_are_told_by_their_names(new: Any, options: dict[str, Any], told: str) -> None:
    said = problems(new, "localhost", **options)
    assert told in said, said
    assert said.startswith("pool 'default': ")


@pytest.mark.parametrize("query", ["socket_timeout=nan", "socket_timeout=-1", "socket_connect_timeout=x", "max_connections=-1", "protocol=4"])  # fmt: skip
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_options_in_urls_are_looked_at_as_well(new: Any, scheme: str, query: str) -> None:
    assert query.partition("=")[0] in problems(new, f"{scheme}://localhost?{query}")


# ---- clients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ({"db": 1}, "client= excludes db=: the database is that of the client"),
        ({"db": "x"}, "client= excludes db="),
        ({"cluster": True}, "client= excludes cluster="),
        ({"address": "localhost"}, "client= excludes an address, sentinels and options"),
        ({"sentinels": []}, "client= excludes an address, sentinels and options"),
        ({"socket_timeout": 1}, "client= excludes an address, sentinels and options"),
    ],
)
def test_what_has_no_effect_beside_a_client(new: Any, beside: dict[str, Any], told: str) -> None:
    client = client_of(new)()
    assert problems(new, client=client) == ""
    assert f"pool 'default': {told}" in problems(new, client=client, **beside)


def _in_module(name: str, base: Any) -> Any:
    return type(base.__name__, (base,), {"__module__": name})


def test_fakeredis_is_refused_with_words(new: Any) -> None:
    kind = client_of(new)
    client = _in_module("fakeredis._clients._sync", kind)()
    pool = kind().connection_pool
    pool.connection_class = _in_module("fakeredis._connection", pool.connection_class)
    for one in (client, kind(connection_pool=pool)):
        said = problems(new, client=one)
        assert "the connections of fakeredis have no socket" in said
        assert "fluxa_fast.embedded.EmbeddedServer" in said
        assert "pip install 'fluxa-fast[embedded]'" in said


def test_the_real_fakeredis_is_refused(new: Any) -> None:
    fakeredis = pytest.importorskip("fakeredis")
    client = fakeredis.FakeRedis() if new is fluxa_fast.Registry else fakeredis.FakeAsyncRedis()
    assert "EmbeddedServer" in problems(new, client=client)


def test_the_real_valkey_py_is_refused(new: Any) -> None:
    valkey = pytest.importorskip("valkey")
    for kind in (valkey.Valkey, valkey.asyncio.Valkey):
        said = problems(new, client=kind())
        assert "client= takes a redis." in said
        assert "give the address of the server instead: redis-py connects to Valkey as well" in said


def test_clients_of_valkey_py_are_refused_with_words(new: Any) -> None:
    client = type("Valkey", (), {"__module__": "valkey.client"})()
    assert "not valkey.client.Valkey; give the address of the server instead" in problems(new, client=client)


def test_subclasses_of_users_are_taken(new: Any) -> None:
    kind = type("Mine", (client_of(new),), {"__module__": "mine"})
    assert problems(new, client=kind()) == ""


def test_a_client_side_cache_is_refused(new: Any) -> None:
    cache = pytest.importorskip("redis.cache")
    if new is fluxa_fast.Registry:
        said = problems(new, "localhost", protocol=3, cache_config=cache.CacheConfig())
        assert "client-side cache" in said
