"""Streams with partitions, on one server and on a cluster: publishing, consuming, owning, statistics."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from fluxa_fast import FluxaError, LeaseLostError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.partitions import beside, key_slot, partition_of, partition_streams
from fluxa_fast.protocol.entry_ids import parse_id
from tests.command import run
from tests.fix_cluster import ON_CLUSTERS, PARTITIONS, MakeClusterEngine
from tests.fix_servers import PROGRAMS
from tests.proxy import Proxy
from tests.slots import move_slot, moving_slot

pytestmark = ON_CLUSTERS

KEYS = partition_streams("orders", PARTITIONS)


class Place:
    """Where the partitions are: a server, or a cluster."""

    def __init__(self, url: str, owner: Callable[[str], Any], nodes: list[Any]) -> None:
        self.url = url
        self._owner = owner
        self.nodes = nodes

    def command(self, key: str, *arguments: object) -> Any:
        """The reply of the node that has the key."""
        return self._owner(key).command(*arguments)

    @property
    def left(self) -> int:
        return sum(self.command(key, "XLEN", key) for key in KEYS)

    def pending(self, key: str) -> int:
        return int(self.command(key, "XPENDING", key, "consumer_group")[0])


@pytest.fixture(params=["server", "cluster"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "cluster":
        cluster: EmbeddedCluster = request.getfixturevalue("partitions_cluster")
        for node in cluster.nodes:
            node.command("FLUSHALL")
        return Place(cluster.url, lambda key: cluster.owner(key_slot(key)), cluster.nodes)
    server: EmbeddedServer = request.getfixturevalue("partitions_server")
    with server.client() as client:
        client.flushall()
    return Place(server.url, lambda _: server, [server])


@pytest.fixture(scope="module")
def partitions_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="module")
def partitions_cluster() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(3, 0, PROGRAMS[sorted(PROGRAMS)[-1]], node_timeout=1.0) as cluster:
        yield cluster


@pytest.fixture
def broker(place: Place, make_cluster_engine: MakeClusterEngine) -> Any:
    return make_cluster_engine(place.url).new_context().get_event_broker()


def _publish(broker: Any, numbers: Sequence[int], keys: int = 1000) -> None:
    flusher = broker.new_flusher()
    for number in numbers:
        flusher.publish("orders", number, key=number % keys)
    flusher.flush()


class Seen:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.batches: list[int] = []

    def __call__(self, events: Sequence[Any]) -> None:
        self.batches.append(len(events))
        self.numbers += [event.body for event in events]

    def in_order(self, keys: int) -> bool:
        last: dict[int, int] = defaultdict(lambda: -1)
        for number in self.numbers:
            if last[number % keys] > number:
                return False
            last[number % keys] = number
        return True


# ---- groups, and reading without one --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["consumer_many", "consumer_ordered"])
def test_groups_share_partitions(place: Place, make_cluster_engine: MakeClusterEngine, kind: str) -> None:
    broker = make_cluster_engine(place.url, groups=["billing", "mailing"]).new_context().get_event_broker()
    _publish(broker, range(200))
    history = broker.read("orders")
    read = [(event.id, event.body) for event in history]
    assert sorted(body for _, body in read) == list(range(200))
    assert [id for id, _ in read] == sorted((id for id, _ in read), key=parse_id)
    assert [event.body for event in broker.read("orders", count=7)] == [body for _, body in read[:7]]
    middle = read[100][0]
    assert {event.body for event in broker.read("orders", start=middle)} | {
        event.body for event in broker.read("orders", end=middle)
    } == set(range(200))
    for group in ("billing", "mailing"):
        seen = Seen()
        with getattr(broker, kind)("orders", group=group) as consumer:
            while consumer.consume(50, 0.05, seen):
                pass
        assert sorted(seen.numbers) == list(range(200))
        assert place.left == (200 if group == "billing" else 0)
    _publish(broker, range(50))
    assert broker.remove_group("orders", "mailing") is True
    broker.seek("orders", "billing", "$")
    with broker.consumer_many("orders", group="billing") as consumer:
        assert consumer.consume(50, None, Seen()) == 0
    broker.seek("orders", "billing", "0")
    seen = Seen()
    with broker.consumer_single("orders", group="billing") as consumer:
        while consumer.consume(50, 0.05, seen):
            pass
    assert sorted(seen.numbers) == list(range(50))


# ---- consuming ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["consumer_single", "consumer_many", "consumer_ordered"])
@pytest.mark.parametrize("way", ["consume", "batches", "run"])
def test_all_partitions_are_consumed_once_and_in_order(kind: str, way: str, place: Place, broker: Any) -> None:
    _publish(broker, range(2000), keys=50)
    seen = Seen()
    with getattr(broker, kind)("orders") as consumer:
        assert consumer.stream == "orders"
        if way == "consume":
            while consumer.consume(100, None, seen):
                pass
        elif way == "batches":
            for events in consumer.batches(100, None):
                seen(events)
        else:

            def handle(events: Sequence[Any]) -> None:
                seen(events)
                if len(seen.numbers) >= 2000:
                    consumer.stop()

            consumer.run(handle, 100)
        assert set(consumer.partitions) == set(KEYS)
    assert sorted(seen.numbers) == list(range(2000))
    assert max(seen.batches) <= 100
    assert seen.in_order(50)
    assert place.left == 0
    assert not any(place.pending(key) for key in KEYS)


def test_a_waiting_consumer_is_woken(place: Place, broker: Any, later: Callable[..., None]) -> None:
    seen = Seen()
    with broker.consumer_many("orders") as consumer:
        assert consumer.consume(10, None, seen) == 0
        began = time.monotonic()
        assert consumer.consume(10, 0.3, seen) == 0
        assert 0.25 < time.monotonic() - began < 3.0
        later(0.3, broker.publish, "orders", 1, None, "k")
        assert consumer.consume(10, 10.0, seen) == 1
        later(0.3, consumer.stop)
        assert consumer.consume(10, 30.0, seen) == 0
    assert seen.numbers == [1]


@dataclass
class Order:
    number: int


def test_what_was_waited_for_has_its_type_and_is_acknowledged(
    place: Place, broker: Any, later: Callable[..., None]
) -> None:
    orders = broker.register_body("orders", Order)
    found: list[Any] = []

    def handle(events: Sequence[Any]) -> None:
        for event in events:
            found.append(event.body)
            event.ack()
            assert event.acknowledged

    with orders.consumer_many() as consumer:
        assert consumer.consume(10, None, handle) == 0
        later(0.3, orders.publish, Order(7), None, "k")
        assert consumer.consume(10, 10.0, handle) == 1
    assert found == [Order(7)]
    assert place.left == 0


def _reads(place: Place) -> int:
    """How many reads, and scripts behind them, the nodes have executed."""
    total = 0
    for node in place.nodes:
        for line in node.command("INFO", "commandstats").decode().splitlines():
            if line.startswith(("cmdstat_xread", "cmdstat_eval")):
                total += int(line.partition("calls=")[2].partition(",")[0])
    return total


def test_an_idle_consumer_does_not_poll_hard(place: Place, broker: Any) -> None:
    for kind in ("consumer_many", "consumer_ordered"):
        with getattr(broker, kind)("orders") as consumer:
            consumer.consume(10, None, print)
            before = _reads(place)
            consumer.consume(10, 2.0, print)
            assert _reads(place) - before < 2.0 * PARTITIONS * 25, kind


def test_a_full_partition_does_not_starve_the_others(place: Place, broker: Any) -> None:
    flusher = broker.new_flusher()
    hot = next(number for number in range(100) if partition_of(number, PARTITIONS) == 0)
    flusher.publish_many("orders", range(20_000), key=hot)
    flusher.flush()
    for number in range(PARTITIONS * 3):
        broker.publish("orders", -number - 1, key=number)
    seen = Seen()
    with broker.consumer_many("orders") as consumer:
        for events in consumer.batches(500, None):
            seen(events)
            if len([number for number in seen.numbers if number < 0]) >= PARTITIONS * 3 - 5:
                break
    assert len(seen.numbers) < 5000


def test_a_handler_that_fails_leaves_its_batch_pending(place: Place, broker: Any) -> None:
    _publish(broker, range(300))
    seen = Seen()

    def fail(events: Sequence[Any]) -> None:
        if len(seen.batches) == 2:
            raise KeyError("mine")
        seen(events)

    consumer = broker.consumer_many("orders")
    with pytest.raises(KeyError, match="mine"):
        consumer.run(fail, 20)
    handled = len(seen.numbers)
    assert place.left == 300 - handled
    seen.batches.append(0)
    for events in consumer.batches(20, None):
        seen(events)
    assert sorted(seen.numbers) == list(range(300))
    assert consumer.cleanup() == 0


def test_a_loop_that_is_left_keeps_its_batch(place: Place, broker: Any) -> None:
    _publish(broker, range(300))
    seen = Seen()
    with broker.consumer_many("orders") as consumer:
        for events in consumer.batches(20, None):
            if len(seen.batches) == 3:
                left = [event.body for event in events]
                break
            seen(events)
        for events in consumer.batches(20, None):
            seen(events)
    assert sorted(seen.numbers) == list(range(300))
    assert set(left) <= set(seen.numbers)


def test_single_events_are_acknowledged(place: Place, broker: Any) -> None:
    _publish(broker, range(30))

    class FailError(Exception):
        pass

    acknowledged: list[int] = []

    def handle(events: Sequence[Any]) -> None:
        for event in events[:2]:
            event.ack()
            acknowledged.append(event.body)
        raise FailError

    with broker.consumer_many("orders") as consumer:
        with pytest.raises(FailError):
            consumer.consume(10, None, handle)
        seen = Seen()
        while consumer.consume(10, None, seen):
            pass
    assert not set(seen.numbers) & set(acknowledged)
    assert sorted(seen.numbers + acknowledged) == list(range(30))


def test_at_most_once(place: Place, broker: Any) -> None:
    _publish(broker, range(500))
    seen = Seen()

    def fail_once(events: Sequence[Any]) -> None:
        seen(events)
        if len(seen.batches) == 3:
            raise KeyError

    consumer = broker.consumer_many("orders", delivery="at-most-once")
    with pytest.raises(KeyError):
        consumer.run(fail_once, 30)
    for events in consumer.batches(30, None):
        seen(events)
    consumer.cleanup()
    assert sorted(seen.numbers) == list(range(500))
    assert not any(place.pending(key) for key in KEYS)
    assert place.left == 0


def test_claiming_covers_all_partitions(place: Place, broker: Any) -> None:
    assert broker.consumer_many("orders").consume(1, None, print) == 0  # makes the groups of all partitions
    _publish(broker, range(300))
    crashed = broker.consumer_many("orders")
    with pytest.raises(KeyError):
        crashed.consume(300, None, lambda _: {}["gone"])
    waiting = sum(place.pending(key) for key in KEYS)
    assert waiting > 0
    assert crashed.cleanup() > 0
    seen = Seen()
    with broker.consumer_many("orders") as consumer:
        assert consumer.auto_claim(20, 0, seen) == waiting
        for events in consumer.batches(100, None):
            seen(events)
    assert sorted(seen.numbers) == list(range(300))
    assert place.left == 0


def test_two_consumers_share_the_events(place: Place, broker: Any) -> None:
    _publish(broker, range(400))
    first, second = broker.consumer_many("orders"), broker.consumer_many("orders")
    seen: list[Seen] = [Seen(), Seen()]
    while first.consume(50, None, seen[0]) + second.consume(50, None, seen[1]):
        pass
    assert all(one.numbers for one in seen)
    assert sorted(seen[0].numbers + seen[1].numbers) == list(range(400))
    assert first.name != second.name
    assert first.cleanup() == second.cleanup() == 0


@pytest.mark.parametrize("call", ["consume", "run"])
def test_a_second_caller_is_refused_and_changes_nothing(call: str, place: Place, broker: Any) -> None:
    _publish(broker, range(300))
    consumer = broker.consumer_many("orders")
    seen = Seen()
    refused: list[Exception] = []

    def intrude() -> None:
        try:
            consumer.consume(1, None, print)
        except FluxaError as error:
            refused.append(error)

    def handle(events: Sequence[Any]) -> None:
        seen(events)
        if len(seen.batches) == 1:
            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join(20.0)
        if len(seen.numbers) == 300:
            consumer.stop()

    if call == "run":
        consumer.run(handle, 20)
    else:
        while consumer.consume(20, None, handle):
            pass
    assert "in use" in str(refused)
    assert sorted(seen.numbers) == list(range(300))
    assert consumer.cleanup() == 0
    assert place.left == 0


def test_a_lost_group_is_made_again(place: Place, broker: Any) -> None:
    _publish(broker, range(60))
    seen = Seen()
    with broker.consumer_single("orders") as consumer:
        consumer.consume(5, None, seen)
        for key in KEYS:
            place.command(key, "DEL", key)
        _publish(broker, range(60, 120))
        while consumer.consume(50, 0.2, seen):
            pass
    assert set(range(60, 120)) <= set(seen.numbers)


def test_another_program_reads_one_partition_as_an_ordinary_stream(place: Place, broker: Any, faces: Any) -> None:
    _publish(broker, range(100))
    registry = faces.Registry()
    registry.register_redis(place.url)
    registry.register_redis_stream(KEYS[2])
    engine = registry.validate()
    seen = Seen()
    with engine.new_context().get_event_broker().consumer_single(KEYS[2]) as consumer:
        while consumer.consume(100, None, seen):
            pass
    engine.close()
    assert seen.numbers == [number for number in range(100) if partition_of(number, PARTITIONS) == 2]


def test_the_first_call_is_no_outage(place: Place, broker: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The topology is not known yet: that is nothing to warn about, and nothing to wait for."""
    assert broker.consumer_many("orders").consume(10, None, print) == 0
    assert not caplog.records


# ---- statistics -----------------------------------------------------------------------------------------


def test_statistics_of_each_partition_and_of_all(place: Place, broker: Any) -> None:
    assert broker.get_stream_statistics("orders").group is None
    _publish(broker, range(120))
    consumer = broker.consumer_many("orders")
    with pytest.raises(KeyError):
        consumer.consume(12, None, lambda _: {}["gone"])
    whole = broker.get_stream_statistics("orders")
    assert [one.stream for one in whole.partitions] == list(KEYS)
    assert (whole.stream, whole.redis_pool, whole.len) == ("orders", "default", 120)
    assert whole.len == sum(one.len for one in whole.partitions)
    groups = [one.group for one in whole.partitions if one.group is not None]
    assert whole.group.pending == sum(group.pending for group in groups) > 0
    assert whole.group.lag in (None, sum(group.lag or 0 for group in groups))
    assert Counter({one.name: one.pending for one in whole.group.consumers}) == {consumer.name: whole.group.pending}
    assert whole.group.lower_id == min((group.lower_id for group in groups if group.pending), key=_numbers)
    assert whole.group.last_delivered_id == max((group.last_delivered_id for group in groups), key=_numbers)
    assert [one.stream for one in broker.get_streams_statistics()] == ["orders", "users"]
    assert broker.get_stream_statistics("users").partitions == ()


def _numbers(id: str) -> list[int]:
    return [int(number) for number in id.split("-")]


@pytest.mark.blocking
def test_the_command_shows_each_partition_and_all(place: Place, broker: Any) -> None:
    _publish(broker, range(1200))
    broker.publish("users", 1)
    with suppress(ZeroDivisionError):
        broker.consumer_many("orders").consume(1200, None, lambda events: 1 / 0)
    for names in ((), ("orders",)):
        shown = run("stats", *names, "--url", place.url)
        assert shown.returncode == 0, shown.stderr
        rows = {line.split("│")[1].strip(): line for line in shown.stdout.splitlines() if "│" in line}
        assert [name for name in rows if name != "users"] == ["orders, 6 partitions", *KEYS]
        assert ("users" in rows) == (not names)
        assert "1,200" in rows["orders, 6 partitions"]
        for key in KEYS:
            assert f"{place.command(key, 'XLEN', key):,}" in rows[key]
    one = run("stats", KEYS[2], "--url", place.url).stdout
    assert KEYS[2] in one
    assert KEYS[1] not in one
    assert run("demo", "--events", "1000", "--url", place.url).returncode == 0
    version = run("version", "--json", "--url", place.url)
    assert json.loads(version.stdout)["server"]["mode"] == ("cluster" if len(place.nodes) > 1 else "standalone")


# ---- owning ---------------------------------------------------------------------------------------------


class Worker:
    """A consumer that owns partitions, in a thread."""

    def __init__(self, broker: Any, handler: Callable[[Sequence[Any]], object] = len) -> None:
        self.consumer = broker.consumer_ordered("orders", lease=1.0)
        self._handler = handler
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.consumer.run(self._handler, 50)
        self.consumer.cleanup()

    def stop(self) -> None:
        self.consumer.stop()
        self._thread.join(20.0)
        assert not self._thread.is_alive()


def _until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_partitions_are_shared_out_fairly_as_consumers_come_and_go(place: Place, broker: Any) -> None:
    workers: list[Worker] = []

    def shares() -> list[int]:
        return sorted(len(worker.consumer.partitions) for worker in workers)

    def all_owned_once() -> bool:
        return Counter(key for worker in workers for key in worker.consumer.partitions) == Counter(KEYS)

    try:
        for count, wanted in ((1, [6]), (2, [3, 3]), (4, [1, 1, 2, 2])):
            while len(workers) < count:
                workers.append(Worker(broker))
            _until(lambda wanted=wanted: shares() == wanted and all_owned_once())  # type: ignore[misc]
        workers.pop(0).stop()
        _until(lambda: shares() == [2, 2, 2] and all_owned_once())
    finally:
        for worker in workers:
            worker.stop()
    for key in KEYS:
        assert place.command(key, "EXISTS", beside(key, "lease")) == 0
    assert place.command(KEYS[0], "EXISTS", beside(KEYS[0], "consumers")) == 0


def test_an_owner_that_waits_reads_when_it_is_woken(place: Place, broker: Any) -> None:
    """One event after the other, each of them published when the one before was handled."""
    seen = Seen()
    worker = Worker(broker, seen)
    _until(lambda: len(worker.consumer.partitions) == PARTITIONS)
    before = _reads(place)
    began = time.monotonic()
    for number in range(20):
        broker.publish("orders", number, key="k")
        _until(lambda number=number: len(seen.numbers) > number)  # type: ignore[misc]
    seconds = time.monotonic() - began
    worker.stop()
    assert _reads(place) - before < 20 * PARTITIONS * 6 + seconds * PARTITIONS * 25
    assert seen.numbers == list(range(20))


def test_an_owner_knows_from_where_to_wait(
    partitions_server: EmbeddedServer, make_cluster_engine: MakeClusterEngine
) -> None:
    """Whatever comes between a read and a wait would be overlooked by a wait for "what is newer than now" ($)."""
    partitions_server.command("FLUSHALL")
    proxy = Proxy(partitions_server.port)
    broker = make_cluster_engine(f"redis://127.0.0.1:{proxy.port}").new_context().get_event_broker()
    seen = Seen()
    worker = Worker(broker, seen)
    _until(lambda: b"XREAD\r\n" in proxy.forwarded)
    broker.publish("orders", 1)
    _until(lambda: len(seen.numbers) == 1)
    worker.stop()
    proxy.close()
    assert b"\r\n$1\r\n$\r\n" not in proxy.forwarded


def test_an_owner_does_not_wait_for_what_was_delivered(place: Place, broker: Any) -> None:
    """Entries that only another group keeps in the stream wake no consumer, whichever consumer had them."""
    for key in KEYS:
        place.command(key, "XGROUP", "CREATE", key, "audit", "0", "MKSTREAM")
    first, second = (broker.consumer_ordered("orders") for _ in range(2))
    for consumer in (first, second):
        _publish(broker, range(60))
        seen = Seen()
        with consumer:
            while len(seen.numbers) < 60:
                consumer.consume(100, 1.0, seen)
    with first:
        first.consume(10, None, print)
        before = _reads(place)
        first.consume(10, 2.0, print)
        assert _reads(place) - before < 2.0 * PARTITIONS * 25
    assert place.left == 120


def test_order_is_kept_while_partitions_change_hands(place: Place, broker: Any) -> None:
    order: list[int] = []

    def remember(events: Sequence[Any]) -> None:
        time.sleep(0.002)
        order.extend(event.body for event in events)  # one list for all threads

    workers = [Worker(broker, remember)]
    try:
        for begin in range(0, 4000, 400):
            _publish(broker, range(begin, begin + 400), keys=20)
            if begin in (800, 1600):
                workers.append(Worker(broker, remember))
            if begin == 2400:
                workers.pop(0).stop()
            time.sleep(0.3)
        _until(lambda: place.left == 0)
    finally:
        for worker in workers:
            worker.stop()
    order = list(dict.fromkeys(order))  # a lease may end on a busy machine: then the next owner has its events again
    assert sorted(order) == list(range(4000))
    for key in range(20):
        assert [number for number in order if number % 20 == key] == list(range(key, 4000, 20))


def test_a_consumer_that_lost_a_lease_can_not_acknowledge(place: Place, broker: Any) -> None:
    """As if it had been stopped past its lease: another one has the partition by then."""
    _publish(broker, range(60))
    late = broker.consumer_ordered("orders", lease=30.0)
    seen = Seen()

    def be_robbed(events: Sequence[Any]) -> None:
        for key in KEYS:
            place.command(key, "SET", beside(key, "lease"), "another consumer")
        seen(events)

    while not seen.numbers or late.partitions:  # a partition is found to be lost when its batch is acknowledged
        late.consume(10, 0.2, be_robbed)
    assert place.left == 60
    for key in KEYS:
        place.command(key, "DEL", beside(key, "lease"))
    other = broker.consumer_ordered("orders", lease=30.0)
    late.cleanup()
    again = Seen()
    for events in other.batches(10, 0.5):
        again(events)
    assert sorted(again.numbers) == list(range(60))
    assert place.left == 0
    other.cleanup()


def test_a_single_acknowledgement_is_fenced_too(place: Place, broker: Any) -> None:
    _publish(broker, range(10))
    consumer = broker.consumer_ordered("orders", lease=30.0)
    kept: list[Any] = []
    while not kept:
        with pytest.raises(KeyError):
            while True:
                consumer.consume(10, 0.2, lambda events: kept.extend(events) or {}["keep"])
    key = kept[0].stream
    place.command(key, "SET", beside(key, "lease"), "another consumer")
    with pytest.raises(LeaseLostError, match="lease on"):
        kept[0].ack()
    assert not kept[0].acknowledged
    place.command(key, "DEL", beside(key, "lease"))
    consumer.cleanup()


def test_what_a_former_owner_has_read_is_delivered_first(place: Place, broker: Any) -> None:
    """A read of a former owner that comes late takes events away from the new one; they are found, and in order."""
    _publish(broker, range(300), keys=10)
    consumer = broker.consumer_ordered("orders", lease=30.0)
    seen = Seen()
    stolen = 0

    def handle(events: Sequence[Any]) -> None:
        nonlocal stolen
        seen(events)
        if stolen < 10:
            for key in KEYS:
                with suppress(redis.ResponseError):  # it has no group yet
                    place.command(
                        key,
                        *("XREADGROUP", "GROUP", "consumer_group", "consumer-ordered"),
                        *("COUNT", 2, "STREAMS", key, ">"),
                    )
            stolen += 1

    for events in consumer.batches(20, 0.5):
        handle(events)
    assert sorted(set(seen.numbers)) == list(range(300))
    first: dict[int, None] = dict.fromkeys(seen.numbers)
    last: dict[int, int] = defaultdict(lambda: -1)
    for number in first:
        assert last[number % 10] < number
        last[number % 10] = number
    assert place.left == 0
    consumer.cleanup()


def test_a_stream_of_one_key_has_one_owner(place: Place, broker: Any) -> None:
    for number in range(20):
        broker.publish("users", number)
    first, second = (broker.consumer_ordered("users", lease=30.0) for _ in range(2))
    seen = [Seen(), Seen()]
    for _ in range(5):
        first.consume(10, 0.1, seen[0])
        second.consume(10, 0.1, seen[1])
    assert seen[0].numbers == list(range(20))
    assert not seen[1].numbers
    first.cleanup()
    broker.publish("users", 20)
    _until(lambda: bool(second.consume(10, 0.2, seen[1])))
    assert seen[1].numbers == [20]
    second.cleanup()


def test_leases_that_cannot_be(broker: Any) -> None:
    for lease in (0.1, 0, -1):
        with pytest.raises(ValueError, match="lease"):
            broker.consumer_ordered("orders", lease=lease)
    with pytest.raises(TypeError):
        broker.consumer_ordered("orders", lease="10")


def test_without_scripts_nothing_can_be_owned(place: Place, make_cluster_engine: MakeClusterEngine) -> None:
    for node in place.nodes:
        node.command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-@scripting")
    engine = make_cluster_engine(place.url, username="reader", password="pw")
    with pytest.raises(redis.ResponseError, match=r"(?i)no permissions|eval"):
        engine.new_context().get_event_broker().consumer_ordered("orders").consume(10, 1.0, print)


# ---- slots that move ------------------------------------------------------------------------------------


def test_a_slot_that_is_half_moved_has_no_second_lease(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    """The stream has moved, the keys beside it have not. No consumer may make them anew at the new node."""
    broker = make_cluster_engine(cluster.url).new_context().get_event_broker()
    seen = Seen()
    consumers = [broker.consumer_ordered("orders", lease=0.5) for _ in range(2)]
    threads = [threading.Thread(target=one.run, args=(seen, 50)) for one in consumers]
    _publish(broker, range(600), keys=20)
    slot = key_slot(KEYS[0])
    owner = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not owner)
    try:
        threads[0].start()
        _until(lambda: len(seen.numbers) == 600)
        with moving_slot(cluster, slot, target, first=[KEYS[0]]):
            threads[1].start()
            time.sleep(2.5)  # each has looked at who is there, and for leases
            assert target.command("CLUSTER", "GETKEYSINSLOT", slot, 10) == [KEYS[0].encode()]
        _publish(broker, range(600, 1200), keys=20)
        _until(lambda: len(seen.numbers) == 1200)
        _until(lambda: sorted(len(one.partitions) for one in consumers) == [3, 3])
    finally:
        for one, thread in zip(consumers, threads, strict=True):
            one.stop()
            thread.join(20.0)
            one.cleanup()
    assert sorted(seen.numbers) == list(range(1200))


@pytest.mark.parametrize("kind", ["consumer_many", "consumer_ordered"])
def test_partitions_change_nodes_under_load(
    kind: str, cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    broker = make_cluster_engine(cluster.url).new_context().get_event_broker()
    seen = Seen()
    consumer = getattr(broker, kind)("orders")
    thread = threading.Thread(target=consumer.run, args=(seen, 50))
    thread.start()
    try:
        flusher = broker.new_flusher()
        for round in range(12):
            for number in range(round * 200, round * 200 + 200):
                flusher.publish("orders", number, key=number % 20)
            flusher.flush()
            slot = key_slot(KEYS[round % PARTITIONS])
            owner = cluster.owner(slot)
            move_slot(cluster, slot, next(node for node in cluster.nodes if node is not owner))
        _until(lambda: len(set(seen.numbers)) == 2400)
    finally:
        consumer.stop()
        thread.join(20.0)
        consumer.cleanup()
    assert sorted(seen.numbers) == list(range(2400))
    if kind == "consumer_ordered":
        assert seen.in_order(20)
