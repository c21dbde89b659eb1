"""Real clusters: pools, redirections, and what a flush does about them."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

from fluxa_fast import FlushError, FluxaError, Recovery, RegistryError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.flows import retry
from fluxa_fast.partitions import key_slot, partition_of, partition_streams
from fluxa_fast.protocol import Implementation
from tests.awaited import Faces
from tests.fix_cluster import ON_CLUSTERS, PARTITIONS, MakeClusterEngine
from tests.fix_servers import PROGRAMS
from tests.integration.test_statistics import check_a_partition_of_another_type
from tests.slots import move_slot, moving_slot
from tests.unresponsive_server import unresponsive

if sys.platform == "win32":
    pytest.skip("faults of POSIX processes", allow_module_level=True)

pytestmark = ON_CLUSTERS

KEYS = partition_streams("orders", PARTITIONS)


def _broker(engine: Any) -> Any:
    return engine.new_context().get_event_broker()


def _lengths(cluster: EmbeddedCluster) -> list[int]:
    return [cluster.owner(key_slot(key)).command("XLEN", key) for key in KEYS]


def _numbers(cluster: EmbeddedCluster, key: str) -> list[int]:
    """The bodies of a partition, in order."""
    from fluxa_fast import unpack

    entries = cluster.owner(key_slot(key)).command("XRANGE", key, "-", "+")
    return [unpack(fields[fields.index(b"s") + 1]) for _, fields in entries]


def _other(cluster: EmbeddedCluster, slot: int) -> EmbeddedServer:
    owner = cluster.owner(slot)
    return next(node for node in cluster.nodes if node is not owner)


# ---- pools ----------------------------------------------------------------------------------------------


def test_slots_are_those_of_the_server(cluster: EmbeddedCluster, implementation: Implementation) -> None:
    keys = ["", "a", "{a}b", "a{}b", "{}{a}", "{{a}}", "a{b{c}d}", "}{a}", "x" * 1000, "Zoë", *KEYS]
    for key in keys:
        assert implementation.key_slot(key) == cluster.nodes[0].command("CLUSTER", "KEYSLOT", key), key


@pytest.mark.parametrize("form", ["url", "hosts", "one host", "client"])
def test_every_way_to_register_a_cluster(
    form: str, faces: Any, cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    hosts = cluster.url.removeprefix("redis+cluster://")
    client: Any = None
    if form == "url":
        engine = make_cluster_engine(cluster.url)
    elif form == "hosts":
        engine = make_cluster_engine(hosts, cluster=True)
    elif form == "one host":
        engine = make_cluster_engine(f"redis+cluster://{hosts.partition(',')[0]}?socket_timeout=5")
    else:
        port = cluster.nodes[0].port
        if isinstance(faces, Faces):
            client = redis.asyncio.RedisCluster("127.0.0.1", port)
        else:
            client = redis.RedisCluster("127.0.0.1", port)
        engine = make_cluster_engine(client=client)
    broker = _broker(engine)
    for number in range(60):
        broker.publish("orders", number, key=number)
    assert broker.publish("users", 1)
    assert sum(_lengths(cluster)) == 60
    assert all(_lengths(cluster))
    engine.close()
    if client is not None and not isinstance(faces, Faces):
        assert client.ping()  # it is its owner's
        client.close()
    elif client is not None:
        faces.call(getattr(client, "aclose", client.close))


@pytest.mark.parametrize(
    ("address", "options", "told"),
    [
        ("redis+cluster://localhost:7000/3", {}, "one database"),
        ("localhost:7000", {"db": 1, "cluster": True}, "one database"),
        ("unix+cluster:///tmp/s", {}, "begins with redis\\+cluster"),
        ("localhost:7000,nowhere:port", {"cluster": True}, "the port of 'nowhere:\\*\\*\\*' is no number"),
        ("localhost:7000", {"cluster": True, "sentinels": ["a:1"]}, "no sentinels"),
        ("localhost:7000", {"cluster": True, "no_such_option": 1}, "no_such_option"),
        ("redis+cluster://:pa/ss@localhost:7000", {}, "can't be read"),
    ],
)
def test_addresses_that_cannot_be(faces: Any, address: str, options: dict[str, Any], told: str) -> None:
    registry = faces.Registry()
    registry.register_redis(address, **options)
    with pytest.raises(RegistryError, match=told) as caught:
        registry.validate()
    assert "pa/ss" not in str(caught.value)


def test_a_cluster_that_is_not_there(faces: Any, make_cluster_engine: MakeClusterEngine) -> None:
    broker = _broker(make_cluster_engine("redis+cluster://127.0.0.1:1"))
    with pytest.raises(redis.ConnectionError, match="topology of the cluster is not known"):
        broker.publish("orders", 1)
    flusher = broker.new_flusher()
    flusher.publish("orders", 1)
    with pytest.raises(FlushError, match="1 unconfirmed"):
        flusher.flush()
    assert flusher.clear() == 1


_KINDS = ("consumer_single", "consumer_many", "consumer_ordered")


def _single_server_calls(broker: Any) -> dict[str, Any]:
    """Every call that asks a server about `users`."""

    def flush(eager: bool) -> None:
        flusher = broker.new_flusher(eager=eager)
        flusher.publish("users", 1)
        try:
            flusher.flush()
        finally:
            flusher.clear()

    def consume(kind: str, how: str, *arguments: Any) -> None:
        consumer = getattr(broker, kind)("users", recovery=Recovery(deadline=5.0))
        getattr(consumer, how)(*arguments)

    return {
        "publish": lambda: broker.publish("users", 1),
        "flush": lambda: flush(False),
        "eager": lambda: flush(True),
        **{kind: lambda kind=kind: consume(kind, "consume", 10, None, lambda _: None) for kind in _KINDS},
        "auto_claim": lambda: consume("consumer_many", "auto_claim", 10, 0, lambda _: None),
        "cleanup": lambda: consume("consumer_many", "cleanup"),
        "statistics": lambda: broker.get_stream_statistics("users"),
    }


@pytest.mark.parametrize("code", ["MOVED", "ASK"])
@pytest.mark.parametrize("partitions", [None, 2])
def test_a_node_that_was_registered_as_a_server_says_what_to_do(
    faces: Any, cluster: EmbeddedCluster, partitions: int | None, code: str
) -> None:
    key = "users" if partitions is None else partition_streams("users", partitions)[0]
    slot = key_slot(key)
    owner, other = cluster.owner(slot), _other(cluster, slot)
    with contextlib.ExitStack() as stack:
        if code == "ASK":
            stack.enter_context(moving_slot(cluster, slot, other))
        registry = faces.Registry()
        registry.register_redis(f"127.0.0.1:{(owner if code == 'ASK' else other).port}")
        registry.register_redis_stream("users", partitions=partitions)
        engine = stack.enter_context(registry.validate())
        told = f"{code} {slot} 127.0.0.1:{(other if code == 'ASK' else owner).port}"
        broker = _broker(engine)
        if partitions:  # the number of partitions lies in another slot, which may be at a third node
            getattr(broker, "_target", broker)._routes["users"].check.due = False
        for name, call in _single_server_calls(broker).items():
            if partitions and name not in (*_KINDS, "statistics"):
                continue  # it may be about the other partition
            if code == "ASK" and name == "consumer_ordered":
                continue  # a script with several keys, of which the lease is nowhere: TRYAGAIN
            with pytest.raises((redis.exceptions.MovedError, redis.exceptions.AskError, FlushError)) as caught:
                call()
            error = caught.value
            assert "pool 'default' is one node of a cluster; register it with cluster=True" in str(error), name
            if isinstance(error, FlushError):
                error = error.refused[0].error
            if not partitions:
                assert told in str(error), name
            assert isinstance(error, redis.exceptions.MovedError) == (code == "MOVED"), name
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), str(again), again.slot_id) == (type(error), str(error), error.slot_id)


def test_a_cluster_that_is_registered_as_one_is_not_told_to_be(
    faces: Any, cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All addresses lead to a node that does not have the slot, for longer than calls have patience."""
    monkeypatch.setattr(retry, "_PATIENCE", 0.3)
    port = _other(cluster, key_slot("users")).port
    hosts = f"127.0.0.1:{port}"
    broker = _broker(make_cluster_engine(hosts, cluster=True, address_remap=lambda address: (address[0], port)))
    flusher = broker.new_flusher()
    flusher.publish("users", 1)
    calls = (lambda: broker.publish("users", 1), flusher.flush, lambda: broker.get_stream_statistics("users"))
    for call in calls:
        with pytest.raises((redis.exceptions.MovedError, FlushError), match="MOVED ") as caught:
            call()
        assert "cluster=True" not in str(caught.value)
    flusher.clear()


def test_a_closed_engine(cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine) -> None:
    engine = make_cluster_engine(cluster.url)
    broker = _broker(engine)
    flusher = broker.new_flusher()
    broker.publish("orders", 1)
    engine.close()
    engine.close()
    flusher.publish("orders", 1)
    for call in (lambda: broker.publish("orders", 1), flusher.flush, lambda: broker.get_stream_statistics("orders")):
        with pytest.raises(FluxaError, match="the engine is closed"):
            call()
    assert flusher.clear() == 1


def test_a_partition_that_cant_be_told_makes_the_sum_unknown(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    cluster.owner(key_slot(KEYS[1])).command("SET", KEYS[1], "text")
    check_a_partition_of_another_type(_broker(make_cluster_engine(cluster.url)), KEYS)


# ---- flushing -------------------------------------------------------------------------------------------


def test_a_flush_goes_to_all_nodes_in_order(cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine) -> None:
    flusher = _broker(make_cluster_engine(cluster.url)).new_flusher()
    for number in range(3000):
        flusher.publish("orders", number, key=number)
    result = flusher.flush()
    assert len(result) == 3000
    assert not len(flusher)
    per_partition: dict[int, list[int]] = {index: [] for index in range(PARTITIONS)}
    for number in range(3000):
        per_partition[partition_of(number, PARTITIONS)].append(number)
    for index, key in enumerate(KEYS):
        assert _numbers(cluster, key) == per_partition[index]
    ids = {key: [id for id, _ in cluster.owner(key_slot(key)).command("XRANGE", key, "-", "+")] for key in KEYS}
    places = Counter[int]()
    for number, id in enumerate(result.ids):
        partition = partition_of(number, PARTITIONS)
        assert ids[KEYS[partition]][places[partition]].decode() == id
        places[partition] += 1


@pytest.mark.parametrize("sizes", [[10], [200_000], [10, 200_000]], ids=["short", "long", "both"])
def test_a_flush_has_pipelines_of_any_length(
    sizes: list[int], cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    """A node that is sent little, and one that reads its replies before it is sent the rest."""
    flusher = _broker(make_cluster_engine(cluster.url)).new_flusher()
    for _ in range(2):
        for number in range(24):
            flusher.publish("orders", "x" * sizes[number % len(sizes)], key=number)
        assert len(flusher.flush().ids) == 24
    assert sum(_lengths(cluster)) == 48
    assert len(flusher) == 0


def test_without_keys_a_batch_goes_to_one_partition_and_the_next_to_another(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    flusher = _broker(make_cluster_engine(cluster.url)).new_flusher()
    for batch in range(PARTITIONS):
        before = _lengths(cluster)
        flusher.publish_many("orders", range(batch, batch + 50))
        flusher.publish("orders", 0)
        flusher.flush()
        assert sorted(now - was for now, was in zip(_lengths(cluster), before, strict=True))[-2:] == [0, 51]
    assert _lengths(cluster) == [51] * PARTITIONS


@contextmanager
def _asked_of_all(cluster: EmbeddedCluster, name: str, counts: list[int]) -> Iterator[None]:
    """How often a command was called on all nodes meanwhile."""

    def calls() -> int:
        total = 0
        for node in cluster.running:
            for line in node.command("INFO", "commandstats").decode().splitlines():
                if line.startswith(f"cmdstat_{name}:"):
                    total += int(line.partition("calls=")[2].partition(",")[0])
        return total

    before = calls()
    yield
    counts.append(calls() - before)


def test_a_moved_slot_is_followed_and_the_topology_is_asked_for_once(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    broker = _broker(make_cluster_engine(cluster.url))
    flusher = broker.new_flusher()
    broker.publish("orders", -1, key="warm")
    for key in KEYS[:2]:
        move_slot(cluster, key_slot(key), _other(cluster, key_slot(key)))
    for number in range(1200):
        flusher.publish("orders", number, key=number)
    counts: list[int] = []
    with _asked_of_all(cluster, "cluster|slots", counts):
        result = flusher.flush()
    assert len(result) == len(set(enumerate(result.ids))) == 1200
    assert counts == [1]
    for index, key in enumerate(KEYS):
        wanted = [number for number in range(1200) if partition_of(number, PARTITIONS) == index]
        assert [number for number in _numbers(cluster, key) if number >= 0] == wanted
    with _asked_of_all(cluster, "cluster|slots", counts):
        flusher.publish_many("orders", range(10), key="k")
        flusher.flush()
        broker.publish("orders", 1, key="k")
    assert counts == [1, 0]


@pytest.mark.blocking
def test_a_view_that_is_older_than_a_redirection_is_believed_the_second_time(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    """Gossip may not have reached the node that is asked for the topology."""
    pool: Any = make_cluster_engine(cluster.url)._pools["default"]
    pool.refresh(pool.generation)
    slot = key_slot(KEYS[0])
    owner = pool.topology.owner(slot)
    other, third = (f"127.0.0.1:{node.port}" for node in cluster.nodes if not owner.endswith(f":{node.port}"))
    for teller, believed in ((owner, [other, owner]), (third, [owner, owner])):
        pool.topology.moved(slot, other, teller)  # and no node has heard of it
        assert pool.topology.owner(slot) == other
        for expected in believed:
            pool.refresh(pool.generation)
            assert pool.topology.owner(slot) == expected


def test_a_slot_on_its_way_is_asked_for_at_the_new_node(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    broker = _broker(make_cluster_engine(cluster.url))
    flusher = broker.new_flusher()
    key = KEYS[0]
    mine = [number for number in range(600) if partition_of(number, PARTITIONS) == 0]
    broker.publish("orders", -1, key=mine[0])
    slot = key_slot(key)
    with moving_slot(cluster, slot, _other(cluster, slot)):
        for number in range(600):
            flusher.publish("orders", number, key=number)
        assert len(flusher.flush().ids) == 600
        assert broker.publish("orders", 1000, key=mine[0])
        with broker.consumer_single("orders") as consumer:
            seen: list[int] = []
            while consumer.consume(1000, None, lambda events: seen.extend(event.body for event in events)):
                pass
            assert sorted(seen) == [-1, *range(600), 1000]
            assert [number for number in seen if number in {-1, 1000, *mine}] == [-1, *mine, 1000]
    assert broker.get_stream_statistics("orders").len == 0


def test_a_stream_of_one_key_is_followed_as_well(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    broker = _broker(make_cluster_engine(cluster.url))
    slot = key_slot("users")
    seen: list[int] = []
    with broker.consumer_single("users") as consumer:
        for number in range(4):
            broker.publish("users", number)
            assert consumer.consume(10, 1.0, lambda events: seen.extend(event.body for event in events)) == 1
            move_slot(cluster, slot, _other(cluster, slot))
        with moving_slot(cluster, slot, _other(cluster, slot)):
            broker.publish("users", 4)
            assert consumer.consume(10, 1.0, lambda events: seen.extend(event.body for event in events)) == 1
    assert seen == [0, 1, 2, 3, 4]


def test_the_topology_may_be_asked_for_while_no_node_owns_a_slot(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    """CLUSTERDOWN: what can't be placed is refused when patience ends, the rest is there; and then all goes on."""
    flusher = _broker(make_cluster_engine(cluster.url)).new_flusher()
    flusher.publish_many("orders", range(10), key="warm")
    flusher.flush()
    slot = key_slot(KEYS[2])
    owner = cluster.owner(slot)
    for node in cluster.nodes:
        node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        node.command("CLUSTER", "DELSLOTS", slot)
    try:
        before = _lengths_of_others(cluster, 2)
        for number in range(600):
            flusher.publish("orders", number, key=number)
        lost = [number for number in range(600) if partition_of(number, PARTITIONS) == 2]
        with pytest.raises(FlushError) as caught:
            flusher.flush()
        assert len(caught.value.confirmed) == 600 - len(lost)
        gone = {one.position for one in caught.value.refused}.union(*(u.positions for u in caught.value.unconfirmed))
        assert gone == set(lost)
        assert len(flusher) == len(lost)
        assert _lengths_of_others(cluster, 2) == before + 600 - len(lost)
    finally:
        for node in [owner, *(node for node in cluster.nodes if node is not owner)]:
            with contextlib.suppress(redis.ResponseError):
                node.command("CLUSTER", "DELSLOTS", slot)
        owner.command("CLUSTER", "ADDSLOTS", slot)
        owner.command("CLUSTER", "BUMPEPOCH")
        cluster.wait_until_ready()
        cluster.wait_until(
            lambda: all(_knows(node, slot, owner) for node in cluster.nodes), "the slot is not known to all"
        )
    assert len(flusher.flush()) == len(lost)
    assert _numbers(cluster, KEYS[2])[-len(lost) :] == lost


def _knows(node: EmbeddedServer, slot: int, owner: EmbeddedServer) -> bool:
    return any(
        begin <= slot <= end and first[1] == owner.port for begin, end, first, *_ in node.command("CLUSTER", "SLOTS")
    )


def _lengths_of_others(cluster: EmbeddedCluster, without: int) -> int:
    return sum(cluster.owner(key_slot(key)).command("XLEN", key) for index, key in enumerate(KEYS) if index != without)


def test_what_one_node_refuses_for_good_is_told_and_the_rest_is_there(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    flusher = _broker(make_cluster_engine(cluster.url)).new_flusher()
    cluster.owner(key_slot(KEYS[3])).command("SET", KEYS[3], "no stream")
    for number in range(120):
        flusher.publish("orders", number, key=number)
    wrong = [number for number in range(120) if partition_of(number, PARTITIONS) == 3]
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    assert [one.position for one in caught.value.refused] == wrong
    assert {one.stream for one in caught.value.refused} == {KEYS[3]}
    assert len(caught.value.confirmed) == len(caught.value.confirmed.ids) == 120 - len(wrong)
    assert flusher.discard_refused() == len(wrong)
    assert not len(flusher)


@pytest.mark.parametrize("how_many", [1, 2])
def test_a_dead_node_does_not_block_the_others(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine, how_many: int
) -> None:
    """Events that were sent to an unresponsive node are unconfirmed, and stay in order; other nodes have theirs."""
    flusher = _broker(make_cluster_engine(cluster.url, socket_timeout=0.5)).new_flusher()
    for number in range(300):  # so that there is a connection to each node
        flusher.publish("orders", number, key=number)
    flusher.flush()
    gone = cluster.nodes[:how_many]
    theirs = {index for index, key in enumerate(KEYS) if cluster.owner(key_slot(key)) in gone}
    lost = [number for number in range(300) if partition_of(number, PARTITIONS) in theirs]
    with unresponsive(*gone):
        for number in range(300):
            flusher.publish("orders", number, key=number)
        with pytest.raises(FlushError, match="timeout while") as caught:
            flusher.flush()
    assert sorted(position for one in caught.value.unconfirmed for position in one.positions) == lost
    assert len(caught.value.confirmed) == 300 - len(lost)
    cluster.wait_until_ready()
    assert len(flusher.flush()) == len(lost)
    for index in theirs:
        wanted = [number for number in lost if partition_of(number, PARTITIONS) == index]
        assert _numbers(cluster, KEYS[index])[-len(wanted) :] == wanted


@pytest.mark.blocking
def test_a_flush_that_is_interrupted_keeps_its_account(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    """A signal comes while nodes do not respond. No node is waited for after that, and the next flush sends the rest."""
    flusher = _broker(make_cluster_engine(cluster.url, socket_timeout=20.0)).new_flusher()
    for number in range(300):
        flusher.publish("orders", number, key=number)
    flusher.flush()
    gone = cluster.nodes[:2]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        with unresponsive(*gone):
            for number in range(300, 600):
                flusher.publish("orders", number, key=number)
            timer.start()
            began = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                flusher.flush()
            assert time.monotonic() < began + 20.0, "the other node was waited for"
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    cluster.wait_until_ready()
    left = len(flusher)
    theirs = [key for key in KEYS if cluster.owner(key_slot(key)) in gone]
    assert left >= sum(KEYS[partition_of(number, PARTITIONS)] in theirs for number in range(300, 600))
    assert len(flusher.flush()) == left
    for index, key in enumerate(KEYS):
        wanted = [number for number in range(600) if partition_of(number, PARTITIONS) == index]
        assert list(dict.fromkeys(_numbers(cluster, key))) == wanted


def test_a_lost_node_is_waited_for_while_consuming(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    broker = _broker(make_cluster_engine(cluster.url, socket_timeout=0.5))
    for number in range(60):
        broker.publish("orders", number, key=number)
    gone = cluster.owner(key_slot(KEYS[0]))
    seen: list[int] = []
    os.kill(gone.pid, signal.SIGSTOP)
    timer = threading.Timer(1.5, os.kill, (gone.pid, signal.SIGCONT))
    timer.start()
    try:
        with broker.consumer_many("orders", recovery=Recovery(deadline=20.0, base=0.05, cap=0.2)) as consumer:
            end = time.monotonic() + 20.0
            while len(set(seen)) < 60 and time.monotonic() < end:
                consumer.consume(100, 1.0, lambda events: seen.extend(event.body for event in events))
    finally:
        timer.join()
    assert sorted(set(seen)) == list(range(60))
    cluster.wait_until_ready()


# ---- failover -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("program", sorted(PROGRAMS)[-1:])
def test_a_replica_takes_over(program: str, make_cluster_engine: MakeClusterEngine) -> None:
    with EmbeddedCluster(3, 1, PROGRAMS[program], node_timeout=1.0) as cluster:
        broker = _broker(make_cluster_engine(cluster.url, socket_timeout=1.0))
        flusher = broker.new_flusher()
        for number in range(600):
            flusher.publish("orders", number, key=number)
        assert len(flusher.flush(replicas=1, timeout=5.0)) == 600
        cluster.owner(key_slot(KEYS[0])).kill()
        for number in range(600, 1200):
            flusher.publish("orders", number, key=number)
        end = time.monotonic() + 60.0
        while len(flusher) and time.monotonic() < end:
            with contextlib.suppress(FlushError):
                flusher.flush()
        assert not len(flusher)
        seen: list[int] = []
        with broker.consumer_single("orders") as consumer:
            for events in consumer.batches(100, None):
                seen += [event.body for event in events]
        assert sorted(set(seen)) == list(range(1200))
        broker.get_stream_statistics("orders")
