"""`flush(replicas=...)`, and failovers by Sentinels."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import pytest
from redis.exceptions import ReadOnlyError

from fluxa_fast import Engine, FlushError, NotReplicatedError, Recovery
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.partitions import key_slot
from fluxa_fast.redis_adapter.pools import ASYNCIO, BLOCKING, no_retries
from fluxa_fast.redis_adapter.sentinels import AsyncSentinels, Sentinels
from tests.fix_servers import PROGRAMS
from tests.integration.test_faults import Consuming, Producing
from tests.proxy import Proxy
from tests.sentinels import Replicated, replicated_servers

MakeEngine = Callable[..., Engine]


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def own_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    with replicated_servers(PROGRAMS[request.param], tmp_path_factory.mktemp("sentinels")) as servers:
        yield servers


@pytest.fixture
def servers(own_server: Replicated) -> Replicated:
    own_server.await_replicas()
    with own_server.admin() as admin:
        admin.flushall()
    return own_server


def test_events_count_as_confirmed_when_replicas_have_them(make_engine: MakeEngine, servers: Replicated) -> None:
    flusher = make_engine(**servers.pool).new_context().get_event_broker().new_flusher()
    flusher.publish_many("orders", range(1000))
    assert len(flusher.flush(replicas=2, timeout=10.0)) == 1000
    for replica in servers.replicas:
        with replica.client() as client:
            assert client.xlen("orders") == 1000
    assert len(flusher.flush(replicas=2)) == 0  # nothing to wait for


@pytest.mark.parametrize("eager", [False, True])
def test_what_too_few_replicas_have_stays_in_order(make_engine: MakeEngine, servers: Replicated, eager: bool) -> None:
    flusher = make_engine(**servers.pool).new_context().get_event_broker().new_flusher(eager=eager)
    with servers.admin() as admin:
        admin.set("users", "no stream")
        for number in range(4):
            flusher.publish("users" if number == 1 else "orders", number)
        began = time.monotonic()
        with pytest.raises(FlushError) as caught:
            flusher.flush(replicas=3, timeout=0.3)
        assert time.monotonic() - began >= 0.3
        error = caught.value
        assert len(error.confirmed) == 0
        assert list(error.confirmed) == []
        assert [one.position for one in error.refused] == [1]
        [lost] = error.unconfirmed
        assert list(lost.positions) == [0, 2, 3]
        assert isinstance(lost.error, NotReplicatedError)
        assert (lost.error.replicas, lost.error.wanted, lost.error.timeout) == (2, 3, 0.3)
        assert "2 of 3 replicas" in str(error)
        assert len(flusher) == 4
        assert flusher.discard_refused() == 1
        assert len(flusher.flush(replicas=2, timeout=10.0)) == 3
        assert [fields[b"s"] for _, fields in admin.xrange("orders")] == [b"\x00", b"\x02", b"\x03"] * 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"replicas": -1}, ValueError),
        ({"replicas": True}, TypeError),
        ({"replicas": "1"}, TypeError),
        ({"replicas": 1, "timeout": -1}, ValueError),
        ({"replicas": 1, "timeout": None}, TypeError),
    ],
)
def test_bad_arguments_are_refused(
    make_engine: MakeEngine, servers: Replicated, options: Any, error: type[Exception]
) -> None:
    flusher = make_engine(**servers.pool).new_context().get_event_broker().new_flusher()
    flusher.publish("orders", 1)
    with pytest.raises(error):
        flusher.flush(**options)
    assert flusher.clear() == 1


def test_a_sentinel_that_is_down_is_asked_once(make_engine: MakeEngine, servers: Replicated) -> None:
    proxy = Proxy(servers.sentinels[0].port)
    proxy.refusing = True
    first = f"127.0.0.1:{proxy.port}"
    broker = make_engine("mymaster", sentinels=[first, *servers.pool["sentinels"]]).new_context().get_event_broker()
    broker.publish("orders", 1)
    proxy.close()
    assert proxy.connections == 1


def test_masters_that_are_asked_for_at_the_same_time_lose_no_sentinel(servers: Replicated) -> None:
    """The first Sentinel is down, so that every thread and task that asks moves another one to the front."""
    addresses = [("127.0.0.1", 1), *(("127.0.0.1", one.port) for one in servers.sentinels)]
    blocking = Sentinels(addresses, sentinel_kwargs={"retry": no_retries(BLOCKING)})
    with ThreadPoolExecutor(8) as threads:
        for _ in range(10):
            blocking.sentinels = list(blocking.known)
            assert len(set(threads.map(blocking.discover_master, ["mymaster"] * 8))) == 1
            assert sorted(blocking.sentinels, key=id) == sorted(blocking.known, key=id)
    for sentinel in blocking.known:
        sentinel.close()

    async def ask() -> None:
        awaited = AsyncSentinels(addresses, sentinel_kwargs={"retry": no_retries(ASYNCIO)})
        for _ in range(10):
            awaited.sentinels = list(awaited.known)
            await asyncio.gather(*(awaited.discover_master("mymaster") for _ in range(8)))
            assert sorted(awaited.sentinels, key=id) == sorted(awaited.known, key=id)
        for sentinel in awaited.known:
            await sentinel.connection_pool.disconnect()

    asyncio.run(ask())


class _Replicating(Producing):
    options = MappingProxyType({"replicas": 1, "timeout": 0.5})


def test_a_failover_under_load_loses_nothing_that_was_confirmed(make_engine: MakeEngine, servers: Replicated) -> None:
    broker = make_engine(**servers.pool, socket_timeout=1.0).new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=Recovery(deadline=30.0, base=0.01, cap=0.2))
    producing, consuming = _Replicating(broker), Consuming(consumer)
    producing.start()
    consuming.start()
    try:
        time.sleep(0.3)
        with servers.failed_over():
            pass
        before = set(producing.confirmed)
        time.sleep(0.3)
    finally:
        producing.stopping.set()
        producing.join()
    assert producing.confirmed - before, "the producer did not go on"
    with servers.admin() as admin:
        end = time.monotonic() + 20.0
        while not producing.confirmed <= consuming.handled and time.monotonic() < end:
            time.sleep(0.02)
        consuming.stop()
        assert not producing.confirmed - consuming.handled
        assert not consuming.failures
        # What was handled, and whose acknowledgement did not reach the new master, comes again.
        while broker.consumer_single("orders").consume(1000, None, consuming.handle):
            pass
        assert admin.xlen("orders") == 0
        assert admin.xpending("orders", "consumer_group")["pending"] == 0


def test_waiting_for_replicas_never_reconnects_in_between(make_engine: MakeEngine, servers: Replicated) -> None:
    """WAIT is about what its own connection has written: on another one it would confirm anything."""
    broker = make_engine(**servers.pool).new_context().get_event_broker()
    flusher = broker.new_flusher()
    with servers.admin() as admin:
        flusher.publish("orders", 1)
        kill = threading.Timer(0.3, lambda: admin.client_kill_filter(_type="normal", skipme=True))
        kill.start()
        with pytest.raises(FlushError) as caught:
            flusher.flush(replicas=3, timeout=5.0)
        kill.join()
    assert len(caught.value.confirmed) == 0
    assert flusher.clear() == 1


# ---- a master that became a replica ----------------------------------------------------------------------


@pytest.fixture(params=sorted(PROGRAMS))
def site(request: pytest.FixtureRequest) -> Iterator[tuple[EmbeddedServer, EmbeddedServer, Proxy]]:
    """Two servers, and an address that names the first one."""
    program = PROGRAMS[request.param]
    with EmbeddedServer(program) as first, EmbeddedServer(program) as second:
        proxy = Proxy(first.port, recording=False)
        yield first, second, proxy
        proxy.close()


def _demote(first: EmbeddedServer, second: EmbeddedServer, proxy: Proxy) -> None:
    """The second server is the master from now on, and has the address. Connections to the first one stay open."""
    with first.client() as admin:
        admin.replicaof("127.0.0.1", str(second.port))
    proxy.server_port = second.port


@pytest.mark.parametrize("eager", [False, True])
def test_a_flush_leaves_a_master_that_became_a_replica(
    make_engine: MakeEngine, site: tuple[EmbeddedServer, EmbeddedServer, Proxy], eager: bool
) -> None:
    first, second, proxy = site
    flusher = make_engine(f"redis://127.0.0.1:{proxy.port}").new_context().get_event_broker().new_flusher(eager=eager)
    flusher.publish("orders", 0)
    flusher.flush()
    _demote(first, second, proxy)
    flusher.publish_many("orders", [1, 2])
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    assert [(one.position, type(one.error)) for one in caught.value.refused] == [(0, ReadOnlyError), (1, ReadOnlyError)]
    assert len(flusher.flush()) == 2
    with second.client() as admin:
        assert [fields[b"s"] for _, fields in admin.xrange("orders")] == [b"\x01", b"\x02"]


def test_publish_leaves_a_master_that_became_a_replica(
    make_engine: MakeEngine, site: tuple[EmbeddedServer, EmbeddedServer, Proxy]
) -> None:
    first, second, proxy = site
    broker = make_engine(f"redis://127.0.0.1:{proxy.port}").new_context().get_event_broker()
    broker.publish("orders", 0)
    _demote(first, second, proxy)
    with pytest.raises(ReadOnlyError):
        broker.publish("orders", 1)
    broker.publish("orders", 2)
    with second.client() as admin:
        assert [fields[b"s"] for _, fields in admin.xrange("orders")] == [b"\x02"]


@pytest.mark.xdist_group("cluster")
def test_a_flush_that_asks_for_replicas_leaves_a_node_that_became_a_replica(faces: Any) -> None:
    """It answers MOVED, and refuses WAIT: the refusal counted, and the flush asked the same node again for ever."""
    with EmbeddedCluster(3, 1, PROGRAMS[sorted(PROGRAMS)[0]], node_timeout=1.0) as cluster:
        registry = faces.Registry()
        registry.register_redis(cluster.url)
        registry.register_redis_stream("orders")
        engine = registry.validate()
        broker = engine.new_context().get_event_broker()
        broker.publish("orders", 0)
        target: Any = getattr(broker, "_target", broker)
        topology = target._pools["default"].topology
        owner = cluster.owner(key_slot("orders"))
        replica = next(node for node in cluster.nodes if _replicates(node, owner))
        topology.moved(key_slot("orders"), f"127.0.0.1:{replica.port}", f"127.0.0.1:{owner.port}")
        flusher = broker.new_flusher()
        flusher.publish("orders", 1)
        assert len(flusher.flush(replicas=1, timeout=10.0)) == 1
        engine.close()


def _replicates(node: EmbeddedServer, owner: EmbeddedServer) -> bool:
    with node.client() as client:
        told: Any = client.info("replication")
    return bool(told["role"] == "slave" and told["master_port"] == owner.port)
