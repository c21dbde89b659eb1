"""Services that register one stream with different numbers of partitions are told, before anything is sent or read.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import fluxa_fast.asyncio
from fluxa_fast import FlushError, FluxaError, PartitionsDifferError, Recovery
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.flows.partition_count import count_key
from fluxa_fast.partitions import partition_streams
from tests.fix_asyncio import Run
from tests.fix_servers import PROGRAMS
from tests.proxy import Proxy

pytestmark = pytest.mark.xdist_group("partition count")  # so that there is one cluster

EAGER = pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])
KEY = "{orders}:partitions"
MakeBroker = Callable[..., Any]


@pytest.fixture
def make_broker(faces: Any) -> Iterator[MakeBroker]:
    """Makes brokers of one pool, with the streams `orders` (partitions) and `users` (one key)."""
    engines = []

    def make(*address: Any, partitions: int = 4, **options: Any) -> Any:
        registry = faces.Registry()
        registry.register_redis(*address, **options)
        registry.register_redis_stream("orders", partitions=partitions)
        registry.register_redis_stream("users")
        engines.append(registry.validate())
        return engines[-1].new_context().get_event_broker()

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(params=["server", "cluster"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """The address of an empty server or cluster, and a client of it."""
    if request.param == "cluster":
        cluster: EmbeddedCluster = request.getfixturevalue("own_cluster")
        client: Any = redis.RedisCluster("127.0.0.1", cluster.nodes[0].port)
        for node in cluster.nodes:
            node.command("FLUSHALL")
        url = cluster.url
    else:
        server: EmbeddedServer = request.getfixturevalue("quiet_server")
        url, client = server.url, server.client()
        client.flushall()
    yield url, client
    client.close()


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(3, 0, PROGRAMS[sorted(PROGRAMS)[-1]], node_timeout=1.0) as cluster:
        yield cluster


def _lengths(client: Any, partitions: int) -> int:
    return sum(client.xlen(key) for key in partition_streams("orders", partitions))


CALLS: dict[str, Callable[[Any], Any]] = {
    "consume": lambda consumer: consumer.consume(1, None, print),
    "auto_claim": lambda consumer: consumer.auto_claim(1, 0.0, print),
    "batches": lambda consumer: list(consumer.batches(1, None)),
}


def _session(broker: Any, call: str = "consume", kind: str = "consumer_single") -> None:
    """What a consumer does at the beginning of its first call."""
    CALLS[call](getattr(broker, kind)("orders", recovery=Recovery(deadline=0.5)))


# ---- what is compared -----------------------------------------------------------------------------------


def test_other_calls_of_the_broker_compare_it_too(broker_with: Callable[..., Any], client: redis.Redis) -> None:
    broker = broker_with(partitions=3)
    assert list(broker.read("orders")) == []
    assert not broker.remove_group("orders", "consumer_group")
    assert client.get(KEY) is None  # they only read
    broker.publish("orders", 1)
    other = broker_with(partitions=4)
    for call in (
        lambda: list(other.read("orders")),
        lambda: other.remove_group("orders", "consumer_group"),
        lambda: other.seek("orders", "consumer_group", "0"),
    ):
        with pytest.raises(PartitionsDifferError):
            call()


def test_the_first_service_writes_the_number_and_others_with_it_go_on(
    make_broker: MakeBroker, place: tuple[str, Any]
) -> None:
    url, client = place
    assert client.get(KEY) is None
    make_broker(url).publish("orders", 1, key="a")
    assert client.get(KEY) == b"4"
    assert client.ttl(KEY) == -1
    other = make_broker(url)
    with other.new_flusher() as flusher:
        flusher.publish("orders", 2, key="a")
        flusher.publish("users", 3)
    assert _lengths(client, 4) == 2
    assert client.xlen("users") == 1


def test_streams_without_partitions_ask_for_nothing(make_broker: MakeBroker, place: tuple[str, Any]) -> None:
    url, client = place
    broker = make_broker(url)
    broker.publish("users", 1)
    with broker.new_flusher() as flusher:
        flusher.publish("users", 2)
    assert client.get(KEY) is None


@EAGER
def test_another_number_is_refused_before_anything_is_sent(
    make_broker: MakeBroker, place: tuple[str, Any], faces: Any, eager: bool
) -> None:
    url, client = place
    make_broker(url, partitions=3).publish("orders", 1)
    broker = make_broker(url, partitions=4)
    flusher = broker.new_flusher(eager=eager)
    flusher.publish("users", 1)
    flusher.publish_many("orders", [b"x" * 1000] * 100)
    for call in (
        lambda: broker.publish("orders", 2),
        flusher.flush,
        lambda: _session(broker),
        lambda: broker.publish("orders", 2, key="a"),
        flusher.flush,
    ):
        with pytest.raises(PartitionsDifferError) as caught:
            call()
        error = caught.value
        assert (error.stream, error.registered, error.stored) == ("orders", 4, 3)
        assert str(error) == (
            "stream 'orders' is registered with 4 partitions here and with 3 by the services that use it (key "
            "'{orders}:partitions' in Redis): register the same number; if all services are stopped and the stream is "
            "empty, delete that key to change the number"
        )
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert len(flusher) == 101
    assert (_lengths(client, 3), _lengths(client, 4), client.xlen("users")) == (1, 0, 0)
    client.delete(KEY)
    assert len(flusher.flush()) == 101
    _session(broker)
    assert client.get(KEY) == b"4"


def test_once_the_events_are_dropped_the_flusher_sends_those_of_other_streams(
    make_broker: MakeBroker, server_url: str, client: redis.Redis
) -> None:
    client.set(KEY, 3)
    flusher = make_broker(server_url).new_flusher()
    flusher.publish("orders", 1)
    with pytest.raises(PartitionsDifferError):
        flusher.flush()
    assert flusher.clear() == 1
    flusher.publish("users", 1)
    assert len(flusher.flush()) == 1


def test_one_partition_is_another_number_than_two(
    make_broker: MakeBroker, server_url: str, client: redis.Redis
) -> None:
    make_broker(server_url, partitions=2).publish("orders", 1)
    with pytest.raises(PartitionsDifferError, match="with 1 partition here and with 2 by"):
        make_broker(server_url, partitions=1).publish("orders", 1)


@pytest.mark.parametrize("kind", ["consumer_single", "consumer_many", "consumer_ordered"])
def test_the_first_call_of_a_consumer_writes_and_compares_the_number(
    make_broker: MakeBroker, place: tuple[str, Any], kind: str
) -> None:
    url, client = place
    _session(make_broker(url), kind=kind)
    assert client.get(KEY) == b"4"
    for call in CALLS:
        _session(make_broker(url), call, kind)
        broker = make_broker(url, partitions=5)
        for _ in range(2):  # it is refused again
            with pytest.raises(PartitionsDifferError, match="with 5 partitions here and with 4 by"):
                _session(broker, call, kind)
    assert not [key for key in partition_streams("orders", 5) if client.exists(key)]  # nothing of it was made


def test_the_number_is_compared_once_for_each_broker(make_broker: MakeBroker, place: tuple[str, Any]) -> None:
    """So that who runs goes on when the number is gone, or another one is written by hand."""
    url, client = place
    broker = make_broker(url)
    broker.publish("orders", 1)
    flusher = broker.new_flusher()
    client.flushall()
    client.set(KEY, 7)
    broker.publish("orders", 2)
    flusher.publish("orders", 3)
    assert len(flusher.flush()) == 1
    assert _lengths(client, 4) == 2
    assert client.get(KEY) == b"7"


def test_a_type_of_bodies_that_is_registered_does_not_ask_again(
    make_broker: MakeBroker, server_url: str, client: redis.Redis
) -> None:
    broker = make_broker(server_url)
    broker.publish("orders", 1)
    typed = broker.register_body("orders", int)
    client.set(KEY, 7)
    typed.publish(2)
    with make_broker(server_url, partitions=7).new_flusher() as flusher:
        flusher.publish("orders", 1)


@pytest.mark.parametrize("stored", [b"", b"0", b"four", b"4 ", b"-4", b"04", b"\xff", b"123456"])
def test_what_is_no_number_is_refused(
    make_broker: MakeBroker, server_url: str, client: redis.Redis, stored: bytes
) -> None:
    client.set(KEY, stored)
    broker = make_broker(server_url)
    flusher = broker.new_flusher()
    flusher.publish("orders", 1)
    for call in (lambda: broker.publish("orders", 1), flusher.flush):
        with pytest.raises(
            FluxaError, match=r"'\{orders\}:partitions' in Redis is for the number of partitions"
        ) as caught:
            call()
        assert f"it holds {stored!r}" in str(caught.value)
        assert "delete that key, or give the stream another name" in str(caught.value)
    assert flusher.clear() == 1


def test_a_key_of_another_type_is_refused(make_broker: MakeBroker, place: tuple[str, Any], faces: Any) -> None:
    url, client = place
    client.rpush(KEY, "x")
    broker = make_broker(url)
    for call in (lambda: broker.publish("orders", 1), lambda: _session(broker)):
        with pytest.raises(FluxaError, match="it is a key of another type"):
            call()


def test_the_key_of_the_number_is_no_key_of_a_stream() -> None:
    assert count_key("orders") == KEY
    assert count_key("x}y") == "{19055}:partitions:x}y"


# ---- rights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rights", ["~orders:* +xadd", "~orders:* +xadd +get +set", "~orders:* ~{orders}:* +xadd +get"])
@EAGER
def test_without_the_rights_it_goes_on_and_says_so_once(
    make_broker: MakeBroker, own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, rights: str, eager: bool
) -> None:
    with own_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "user", "on", ">secret", *rights.split())
        broker = make_broker(f"127.0.0.1:{own_server.port}", username="user", password="secret")
        caplog.set_level(logging.WARNING, "fluxa_fast")
        for _ in range(2):
            broker.publish("orders", 1)
            with broker.new_flusher(eager=eager) as flusher:
                flusher.publish("orders", 1)
        (record,) = [record for record in caplog.records if record.name == "fluxa_fast"]
        assert "partitions of stream 'orders' can't be checked" in record.getMessage()
        assert "+set +get ~{orders}:partitions" in record.getMessage()
        assert admin.get(KEY) is None
        assert _lengths(admin, 4) == 4


# ---- outages --------------------------------------------------------------------------------------------


def test_publish_raises_what_the_network_says_and_asks_again(
    make_broker: MakeBroker, own_server: EmbeddedServer
) -> None:
    broker = make_broker(f"127.0.0.1:{own_server.port}")
    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        broker.publish("orders", 1)
    own_server.start()
    with own_server.client() as admin:
        admin.set(KEY, 3)
        with pytest.raises(PartitionsDifferError):
            broker.publish("orders", 1)
        admin.delete(KEY)
        broker.publish("orders", 1)
        assert admin.get(KEY) == b"4"


@EAGER
def test_promise_3_a_flush_that_can_not_ask_sends_nothing_of_it_and_tells(
    faces: Any, own_server: EmbeddedServer, server_url: str, client: redis.Redis, eager: bool
) -> None:
    registry = faces.Registry()
    registry.register_redis(own_server.url, pool="dead")
    registry.register_redis(server_url, pool="alive")
    registry.register_redis_stream("orders", "dead", partitions=4)
    registry.register_redis_stream("users", "alive")
    with registry.validate() as engine:
        flusher = engine.new_context().get_event_broker().new_flusher(eager=eager)
        for number in range(6):
            flusher.publish("users" if number % 3 == 0 else "orders", number)
        own_server.kill()
        with pytest.raises(FlushError) as caught:
            flusher.flush()
        error = caught.value
        assert len(error.confirmed) == 2 == client.xlen("users")
        [lost] = error.unconfirmed
        assert (lost.pool, list(lost.positions)) == ("dead", [1, 2, 4, 5])
        assert isinstance(lost.error, redis.ConnectionError)
        assert "nothing was sent, because the number of partitions of 'orders' could not be checked" in str(error)
        assert len(flusher) == 4
        own_server.start()
        assert len(flusher.flush()) == 4
        with own_server.client() as admin:
            assert admin.get(KEY) == b"4"
            assert _lengths(admin, 4) == 4


@EAGER
def test_promise_3_a_connection_that_is_cut_while_it_asks(
    make_broker: MakeBroker, own_server: EmbeddedServer, proxy: Proxy, eager: bool
) -> None:
    """At every byte: the fate of all events is known, and nothing was sent before the number was compared."""
    broker = make_broker(f"redis://127.0.0.1:{proxy.port}?protocol=2")
    broker.publish("users", 0)  # connects, so that what follows is the same
    with own_server.client() as admin:
        for at in range(1, 80, 3):
            admin.delete(KEY, *partition_streams("orders", 4))
            fresh = make_broker(f"redis://127.0.0.1:{proxy.port}?protocol=2")
            flusher = fresh.new_flusher(eager=eager)
            flusher.publish_many("orders", range(3))
            proxy.cut_down = at
            try:
                confirmed = len(flusher.flush())
            except FlushError as error:
                confirmed = len(error.confirmed)
                assert confirmed + sum(map(len, error.unconfirmed)) == 3
                assert not error.refused
                if "nothing was sent" in str(error):
                    assert _lengths(admin, 4) == 0
            assert len(flusher) == 3 - confirmed
            proxy.heal()
            proxy.cut()
            assert len(flusher.flush()) == 3 - confirmed
            assert admin.get(KEY) == b"4"
            assert _lengths(admin, 4) >= 3


def test_a_server_that_is_full_refuses_the_events_and_not_the_question(
    make_broker: MakeBroker, own_server: EmbeddedServer, faces: Any
) -> None:
    broker = make_broker(own_server.url)
    with own_server.client() as admin:
        admin.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            broker.publish("orders", 1)
        flusher = broker.new_flusher()
        flusher.publish("orders", 1)
        with pytest.raises(FlushError) as caught:
            flusher.flush()
        assert [one.code for one in caught.value.refused] == ["OOM"]
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            _session(broker)  # the consumer waits for memory as long as its recovery says, and no longer
        admin.config_set("maxmemory", 0)
        assert len(flusher.flush()) == 1
        assert admin.get(KEY) == b"4"


def test_a_consumer_waits_for_a_server_that_is_back_soon(
    make_broker: MakeBroker, own_server: EmbeddedServer, faces: Any
) -> None:
    broker = make_broker(own_server.url)
    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        _session(broker)
    own_server.start()
    _session(broker)
    with own_server.client() as admin:
        assert admin.get(KEY) == b"4"


# ---- many at the same time ------------------------------------------------------------------------------


def _async_broker(url: str) -> tuple[Any, Any]:
    registry = fluxa_fast.asyncio.Registry()
    registry.register_redis(url)
    registry.register_redis_stream("orders", partitions=4)
    engine = registry.validate()
    return engine, engine.new_context().get_event_broker()


def test_tasks_that_publish_at_the_same_time_ask_once(server_url: str, client: redis.Redis, run: Run) -> None:
    engine, broker = _async_broker(server_url)

    async def work() -> None:
        await asyncio.gather(*(broker.publish("orders", number) for number in range(100)))
        await engine.aclose()

    client.config_resetstat()
    run(work())
    assert client.info("commandstats")["cmdstat_get"]["calls"] == 2
    assert client.info("commandstats")["cmdstat_set"]["calls"] == 1
    assert _lengths(client, 4) == 100


def test_tasks_that_publish_at_the_same_time_share_an_error(server_url: str, client: redis.Redis, run: Run) -> None:
    engine, broker = _async_broker(server_url)
    client.set(KEY, 3)

    async def work() -> list[Any]:
        found = await asyncio.gather(*(broker.publish("orders", 1) for _ in range(100)), return_exceptions=True)
        with pytest.raises(PartitionsDifferError):
            await broker.publish("orders", 1)
        await engine.aclose()
        return found

    client.config_resetstat()
    errors = run(work())
    assert all(type(error) is PartitionsDifferError for error in errors)
    assert len(set(map(id, errors))) == 100
    assert client.info("commandstats")["cmdstat_get"]["calls"] == 2


def test_a_task_that_is_cancelled_while_it_asks_leaves_the_others_alone(
    server_url: str, client: redis.Redis, run: Run
) -> None:
    engine, broker = _async_broker(server_url)

    async def work() -> None:
        first = asyncio.create_task(broker.publish("orders", 1))
        others = [asyncio.create_task(broker.publish("orders", 1)) for _ in range(10)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(*others)
        await asyncio.gather(first, return_exceptions=True)
        await engine.aclose()

    run(work())
    assert client.get(KEY) == b"4"


def test_a_stream_that_a_task_uses_first_while_a_flush_asks_is_compared_too(
    server_url: str, client: redis.Redis, run: Run
) -> None:
    registry = fluxa_fast.asyncio.Registry()
    registry.register_redis(server_url)
    for stream in ("orders", "payments"):
        registry.register_redis_stream(stream, partitions=4)
    engine = registry.validate()
    client.set("{payments}:partitions", 3)

    async def work() -> None:
        flusher = engine.new_context().get_event_broker().new_flusher()
        flusher.publish("orders", 1)
        flushing = asyncio.create_task(flusher.flush())
        await asyncio.sleep(0)
        flusher.publish("payments", 1)
        with pytest.raises(PartitionsDifferError, match="'payments'"):
            await flushing
        assert flusher.clear() == 2
        await engine.aclose()

    run(work())


def test_an_event_loop_after_another_asks_on_its_own(server_url: str, client: redis.Redis) -> None:
    engine, broker = _async_broker(server_url)
    client.set(KEY, 3)

    async def refused() -> None:
        found = await asyncio.gather(*(broker.publish("orders", 1) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, PartitionsDifferError) for one in found)
        for link in engine._pools["default"]._idle:
            await link.drop()  # or else it is told that its loop is closed

    async def taken() -> None:
        await asyncio.gather(*(broker.publish("orders", 1) for _ in range(3)))
        await engine.aclose()

    with asyncio.Runner() as runner:
        runner.run(refused())
    client.delete(KEY)
    with asyncio.Runner() as runner:
        runner.run(taken())
