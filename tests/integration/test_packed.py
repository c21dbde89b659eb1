"""Packed streams: many events in one entry, from the flusher to the handler."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker, FlushError, Keep, Packing, RegistryError, SerializationError
from fluxa_fast.embedded.cluster import EmbeddedCluster

Make = Callable[..., EventBroker]


@pytest.fixture
def broker_of(faces: Any, server_url: str, client: redis.Redis) -> Iterator[Make]:
    """Makes a broker with the packed stream `clicks` and the plain stream `orders`."""
    engines = []

    def make(url: str = server_url, packed: Any = True, hooks: Any = (), **options: Any) -> EventBroker:
        codec = {name: options.pop(name) for name in ("encode_body", "decode_body") if name in options}
        registry = faces.Registry(**codec)
        registry.register_redis(url)
        registry.register_redis_stream("clicks", packed=packed, **options)
        registry.register_redis_stream("orders")
        engine = registry.validate()
        engines.append(engine)
        return engine.new_context().get_event_broker()  # type: ignore[no-any-return]

    yield make
    for engine in engines:
        engine.close()


def collect(into: list[Any]) -> Callable[[Sequence[Any]], None]:
    def handle(events: Sequence[Any]) -> None:
        into.append([event.body for event in events])

    return handle


def flat(batches: Sequence[Sequence[Any]]) -> list[Any]:
    return [body for batch in batches for body in batch]


def entries(client: redis.Redis, key: str = "clicks") -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange(key)]  # type: ignore[union-attr]


def fill(broker: EventBroker, count: int, tags: dict[str, str] | None = None) -> None:
    with broker.new_flusher() as flusher:
        for number in range(count):
            flusher.publish("clicks", number, tags)


# ---- publishing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
def test_ids_stand_in_the_order_of_publishing(broker_of: Make, client: redis.Redis, eager: bool) -> None:
    broker = broker_of(packed=Packing(max_events=100))
    flusher = broker.new_flusher(eager=eager)
    published = []
    for number in range(1200):
        stream = "orders" if number % 5 == 4 else "clicks"
        flusher.publish(stream, number, {"n": str(number), "shared": "yes"})
        published.append((stream, number))
    assert len(flusher) == 1200
    assert flusher.size > 1200
    result = flusher.flush()
    assert len(result) == len(result.ids) == 1200
    found = {(event.stream, event.id): event for name in ("clicks", "orders") for event in broker.read(name)}
    for (stream, number), id in zip(published, result.ids, strict=True):
        event = found[stream, id]
        assert (event.body, event.tags) == (number, {"n": str(number), "shared": "yes"})
        assert event.id == (id if stream == "orders" else f"{event.entry_id}/{id.rpartition('/')[2]}")
    assert client.xlen("clicks") == 10
    assert client.xlen("orders") == 240
    assert (len(flusher), flusher.size) == (0, 0)


def test_one_event_is_a_plain_entry(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of()
    ids = [broker.publish("clicks", {"n": 1}, {"a": "b"})]
    flusher = broker.new_flusher()
    flusher.publish("clicks", {"n": 2}, {"a": "b"})
    ids += flusher.flush().ids
    flusher.publish("clicks", 3)
    flusher.publish("clicks", 4, id="99999999999999-7")
    flusher.publish("clicks", "x" * 40_000, id="99999999999999-8")
    ids += flusher.flush().ids
    assert all(b"_fluxa:packed" not in fields for fields in entries(client))
    assert ids[3:] == ["99999999999999-7", "99999999999999-8"]
    assert [event.id for event in broker.read("clicks")] == ids
    with pytest.raises(SerializationError, match="_fluxa:"):
        broker.publish("clicks", 1, {"_fluxa:packed": "1 1"})
    with pytest.raises(SerializationError, match="_fluxa:"):
        flusher.publish("orders", 1, {"_fluxa:other": "1 1"})


def test_fates_are_those_of_entries(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=10))
    client.set("clicks", "no stream")
    flusher = broker.new_flusher()
    for number in range(25):
        flusher.publish("clicks", number)
        flusher.publish("orders", number)
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    assert sorted(one.position for one in caught.value.refused) == list(range(0, 50, 2))
    assert {(one.stream, one.code) for one in caught.value.refused} == {("clicks", "WRONGTYPE")}
    assert len(caught.value.confirmed) == client.xlen("orders") == 25
    assert len(flusher) == 25
    flusher.publish("clicks", 25)
    flusher.publish("orders", 25)
    client.delete("clicks")
    result = flusher.flush()
    assert len(result) == 27
    assert [event.body for event in broker.read("clicks")] == list(range(26))
    assert [int(id.rpartition("/")[2]) for id in result.ids[:25]] == [*range(10), *range(10), *range(5)]
    client.delete("clicks")
    client.set("clicks", "no stream")
    for number in range(25):
        flusher.publish("clicks", number)
        flusher.publish("orders", 100 + number)
    with pytest.raises(FlushError):
        flusher.flush()
    flusher.publish("orders", 200)
    assert flusher.discard_refused() == 25
    assert len(flusher) == 1
    flusher.publish("clicks", 1)
    assert flusher.clear() == 2
    assert (len(flusher), len(flusher.flush())) == (0, 0)


def test_publish_many_is_all_or_nothing(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=100))
    flusher = broker.new_flusher()
    flusher.publish("clicks", "before")

    def numbers(until: int, error: bool) -> Iterator[Any]:
        yield from range(until)
        if error:
            raise ZeroDivisionError

    for count in (3, 150, 7000):
        with pytest.raises(ZeroDivisionError):
            flusher.publish_many("clicks", numbers(count, True), {"a": "b"})
        with pytest.raises(SerializationError, match=rf"bodies\[{count}\]"):
            flusher.publish_many("clicks", [*range(count), object()])
        assert len(flusher) == 1
    assert flusher.publish_many("clicks", [1, 2]) == 2
    assert flusher.publish_many("clicks", numbers(7000, False), {"a": "b"}) == 7000
    flusher.publish("clicks", "behind")
    assert len(flusher.flush()) == 7004
    bodies = [event.body for event in broker.read("clicks")]
    assert bodies == ["before", 1, 2, *range(7000), "behind"]


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_large_and_small(broker_of: Make, client: redis.Redis, compression: Any) -> None:
    broker = broker_of(packed=Packing(compression=compression))
    bodies = [{f"field {n}": "v" * (size % 977) for n in range(1 + size % 40)} for size in range(1, 400, 7)]
    bodies += ["x" * size for size in (10, 65_536, 5, 31_990, 9, 32_001)]
    flusher = broker.new_flusher()
    for number, body in enumerate(bodies):
        flusher.publish("clicks", body, {"trace": f"{number:032x}"} if number % 3 else None)
    assert len(flusher.flush()) == len(bodies)
    events = list(broker.read("clicks"))
    assert [event.body for event in events] == bodies
    assert [event.tag("trace") for event in events] == [f"{n:032x}" if n % 3 else "" for n in range(len(bodies))]
    largest = max(len(fields[b"s"]) for fields in entries(client) if b"_fluxa:packed" in fields)
    assert largest <= 32_000


def test_registering(faces: Any) -> None:
    for packed in ("yes", 1000, Packing):
        registry = faces.Registry()
        registry.register_redis("localhost")
        registry.register_redis_stream("clicks", packed=packed)
        with pytest.raises(RegistryError, match="packed is True, False or a Packing"):
            registry.validate()
    for options in ({"max_events": 0}, {"max_events": 70_000}, {"max_bytes": 0}, {"compression": "gzip"}):
        with pytest.raises(ValueError, match=r"max_|compression"):
            Packing(**options)


# ---- consuming ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "delivery"),
    [(1, "at-least-once"), (7, "at-least-once"), (7, "at-most-once"), (100, "at-most-once"), (1000, "at-least-once")],
)
def test_consume_hands_over_no_more_than_it_was_asked_for(
    broker_of: Make, client: redis.Redis, count: int, delivery: Any
) -> None:
    broker = broker_of(packed=Packing(max_events=40))
    fill(broker, 100)
    seen: list[list[int]] = []
    with broker.consumer_single("clicks", delivery=delivery) as consumer:
        handled = 0
        while got := consumer.consume(count, None, collect(seen)):
            handled += got
            assert got <= 2 * count
            done = [40, 80, 100]
            assert client.xlen("clicks") == sum(1 for one in done if handled < one) or delivery == "at-most-once"
            if count == 1 and handled > 45:
                break
        assert flat(seen) == list(range(handled))
        assert max(map(len, seen)) <= count
        assert count == 1 or handled == 100
        left = consumer.cleanup()
        assert left == (1 if count == 1 and delivery == "at-least-once" else 0)
        if count == 1 and delivery == "at-least-once":
            consumer.consume(1000, None, collect(seen))
            assert sorted(set(flat(seen))) == list(range(100))
    assert client.xlen("clicks") == 0 or delivery == "at-most-once"


@pytest.mark.parametrize(
    ("kind", "partitions", "registered"),
    [
        ("consumer_single", None, True),
        ("consumer_single", 3, False),
        ("consumer_many", None, False),
        ("consumer_many", 3, True),
        ("consumer_ordered", 1, False),
        ("consumer_ordered", 3, True),
    ],
)
def test_run(broker_of: Make, client: redis.Redis, kind: str, partitions: int | None, registered: bool) -> None:
    publisher = broker_of(packed=Packing(max_events=40), partitions=partitions)
    broker = publisher if registered else broker_of(packed=False, partitions=partitions)
    with publisher.new_flusher() as flusher:
        for number in range(1000):
            flusher.publish("clicks", number, {"n": str(number)}, key=number % 7 if partitions else None)
    seen: list[int] = []
    sizes = []

    def handle(events: Sequence[Any]) -> None:
        sizes.append(len(events))
        assert [event.tag("n") for event in events] == [str(event.body) for event in events]
        seen.extend(event.body for event in events)
        if len(seen) >= 1000:
            consumer.stop()

    with getattr(broker, kind)("clicks") as consumer:
        consumer.run(handle, count=30)
        assert len(seen) == 1000
        assert max(sizes) <= 30
    assert sorted(seen) == list(range(1000))
    for key in range(7):
        of_key = [number for number in seen if number % 7 == key]
        assert of_key == sorted(of_key)
    keys = [key for key in client.keys("clicks*") if client.type(key) == b"stream"]  # type: ignore[union-attr]
    assert sum(client.xlen(key) for key in keys) == 0


def test_batches_are_cut_between_entries(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=40))
    fill(broker, 400)
    with broker.consumer_single("clicks") as consumer:
        sizes = []
        for events in consumer.batches(count=100, block=None):
            sizes.append(len(events))
            assert events[0].id.endswith("/0")
        assert set(sizes) <= {40, 80}
        assert sum(sizes) == 400


def test_what_is_left_of_an_entry_comes_first(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=50))
    fill(broker, 100)
    seen: list[list[int]] = []
    with broker.consumer_many("clicks") as consumer:
        assert consumer.consume(20, None, collect(seen)) == 20
        assert client.xpending("clicks", "consumer_group")["pending"] >= 1  # type: ignore[index]

        def fail(events: Sequence[Any]) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            consumer.consume(20, None, fail)
        assert consumer.consume(20, None, collect(seen)) in (20, 30)  # those of the failed call, and what follows
        assert flat(seen) == list(range(len(flat(seen))))
        while consumer.consume(20, None, collect(seen)):
            pass
        assert flat(seen) == list(range(100))
    assert client.xlen("clicks") == 0


def test_acks_in_any_order(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=10))
    fill(broker, 20)
    events: list[Any] = []

    def keep(batch: Sequence[Any]) -> None:
        events.extend(batch)
        raise ZeroDivisionError

    with broker.consumer_many("clicks") as consumer:
        with pytest.raises(ZeroDivisionError):
            consumer.consume(20, None, keep)
        assert len(events) == 20
        for event in reversed(events[1:]):
            event.ack()
            event.ack()
            assert not events[0].acknowledged
        assert client.xlen("clicks") == 1
        assert all(event.acknowledged for event in events[10:])
        seen: list[list[int]] = []
        assert consumer.consume(20, None, collect(seen)) == 1
        assert seen == [[0]]
    assert client.xlen("clicks") == 0


def test_events_of_an_earlier_delivery_are_acked(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=10))
    fill(broker, 10)
    kept: list[Any] = []
    seen: list[list[int]] = []

    def keep(events: Sequence[Any]) -> None:
        kept.extend(events)
        raise ZeroDivisionError

    def handle(events: Sequence[Any]) -> None:
        kept[0].ack()
        seen.append([event.body for event in events])

    with broker.consumer_many("clicks") as consumer:
        consumer.consume(5, None, collect(seen))
        with pytest.raises(ZeroDivisionError):
            consumer.consume(5, None, keep)
        consumer.consume(5, None, handle)
        assert flat(seen) == list(range(10))
        assert client.xlen("clicks") == 0


def test_an_entry_of_another_consumer_is_taken_over_whole(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=10))
    fill(broker, 40)
    seen: list[list[int]] = []
    first = broker.consumer_many("clicks")
    first.consume(5, None, collect(seen))
    second = broker.consumer_many("clicks")
    time.sleep(0.01)
    handled: list[list[int]] = []
    assert second.auto_claim(15, 0.001, collect(handled), once=True) <= 15
    second.auto_claim(15, 0.001, collect(handled))
    second.consume(100, None, collect(handled))
    second.consume(100, None, collect(handled))
    assert sorted(set(flat(handled))) == list(range(40))
    assert max(map(len, handled)) <= 100
    assert client.xlen("clicks") == 0
    assert first.cleanup() == second.cleanup() == 0


def test_run_takes_over_what_was_left_behind(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=10))
    fill(broker, 30)
    client.xgroup_create("clicks", "consumer_group", "0")
    client.xreadgroup("consumer_group", "dead", {"clicks": ">"}, count=2)
    seen: list[int] = []
    counts = set()

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)
        counts.update((event.body < 20, event.delivery_count) for event in events)
        if len(seen) >= 30:
            consumer.stop()

    with broker.consumer_many("clicks") as consumer:
        consumer.run(handle, count=7, claim_idle=0.2)
    assert sorted(seen) == list(range(30))
    assert counts == {(True, 2), (False, 1)}
    assert client.xlen("clicks") == 0


def test_a_stop_within_an_entry_loses_nothing(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=30))
    fill(broker, 90)
    seen: list[int] = []

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)
        first.stop()

    with broker.consumer_many("clicks") as first:
        first.run(handle, count=10)
    assert seen == list(range(10))

    def rest(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)
        if set(seen) == set(range(90)):
            second.stop()

    with broker.consumer_many("clicks") as second:
        second.run(rest, count=10)
    assert set(seen) == set(range(90))
    assert client.xlen("clicks") == 0


def test_groups_and_filters(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=10), groups=["billing", "mailing"])
    with broker.new_flusher() as flusher:
        for number in range(50):
            flusher.publish("clicks", number, {"region": "eu" if number % 3 else "us"})
    billing: list[list[int]] = []
    mailing: list[list[int]] = []
    with broker.consumer_many("clicks", group="billing") as consumer:
        while consumer.consume(20, None, collect(billing)):
            pass
    assert client.xlen("clicks") == 5
    with broker.consumer_many("clicks", group="mailing", where={"region": ["us"]}) as consumer:
        while consumer.consume(4, None, collect(mailing)):
            pass
    assert flat(billing) == list(range(50))
    assert flat(mailing) == list(range(0, 50, 3))
    assert client.xlen("clicks") == 0


@dataclass
class Click:
    number: int


def test_typed_bodies(broker_of: Make, client: redis.Redis) -> None:
    clicks = broker_of(packed=True).register_body("clicks", Click)
    with broker_of(packed=True).new_flusher() as flusher:
        flusher.publish_many("clicks", [{"number": 1}, {"number": 2}, {"number": "three"}])
    with pytest.raises(SerializationError, match="number"), clicks.consumer_single() as consumer:
        for events in consumer.batches(block=None):
            assert [event.body for event in events[:2]] == [Click(1), Click(2)]
            assert events[0].unserialize(dict) == {"number": 1}
            assert events[2].body


def test_body_hooks(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(encode_body=bytes.swapcase, decode_body=bytes.swapcase)
    with broker.new_flusher() as flusher:
        flusher.publish_many("clicks", ["a", "B", {"c": "D"}])
        flusher.publish("clicks", None, {"only": "tag"})
    assert b" bin" in entries(client)[0][b"_fluxa:packed"]
    assert [event.body for event in broker.read("clicks")] == ["a", "B", {"c": "D"}, None]


def test_poison_harms_no_other_event(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of()
    fill(broker, 3)
    client.xadd("clicks", {"_fluxa:packed": "1 5", "s": b"\x93\x01\x02\x03"})
    client.xadd("clicks", {"_fluxa:packed": "7 5", "s": b"\x93\x01\x02\x03"})
    fill(broker, 3)
    bodies = []

    def handle(events: Sequence[Any]) -> None:
        for event in events:
            try:
                bodies.append(event.body)
            except SerializationError as error:
                bodies.append(str(error)[:9] + ("version" if "version 7" in str(error) else ""))

    with broker.consumer_single("clicks") as consumer:
        assert consumer.consume(100, None, handle) >= 1
        while consumer.consume(100, None, handle):
            pass
    assert len(bodies) == 8
    assert "version" in bodies[4]
    assert client.xlen("clicks") == 0


def test_reading_and_seeking(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=100), keep=Keep(events=100_000))
    flusher = broker.new_flusher()
    for number in range(1000):
        flusher.publish("clicks", number)
    ids = flusher.flush().ids
    assert [event.id for event in broker.read("clicks")] == ids
    assert [event.body for event in broker.read("clicks", count=250)] == list(range(250))
    assert [event.body for event in broker.read("clicks", start=ids[250], end=ids[270])] == list(range(250, 271))
    assert [event.body for event in broker.read("clicks", start=ids[250], count=3)] == [250, 251, 252]
    entry = ids[250].partition("/")[0]
    assert [event.body for event in broker.read("clicks", start=entry, end=entry)] == list(range(200, 300))
    assert [event.body for event in broker.read("clicks", start=f"{entry}/0", end=f"{entry}/0")] == [200]
    with pytest.raises(ValueError, match="start is"):
        broker.read("clicks", start="5-1/x")
    client.xgroup_create("clicks", "consumer_group", "$")
    broker.seek("clicks", "consumer_group", ids[250])
    seen: list[list[int]] = []
    with broker.consumer_single("clicks") as consumer:
        consumer.consume(1000, None, collect(seen))
    assert flat(seen)[0] == 200


def test_keep_counts_events(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=10), keep=Keep(events=3000))
    for _ in range(4):
        fill(broker, 3000)
    left = sum(1 for _ in broker.read("clicks"))
    assert 3000 <= left < 6000


def test_statistics_say_how_many_events_an_entry_has(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=100), partitions=2)
    with broker.new_flusher() as flusher:
        for number in range(400):
            flusher.publish("clicks", number, key=number)
    found = broker.get_stream_statistics("clicks")
    assert found is not None
    assert found.len < 10
    assert 40 < found.events_per_entry <= 100
    assert broker.get_stream_statistics("orders").events_per_entry == 1.0  # type: ignore[union-attr]
    broker.publish("orders", 1)
    assert broker.get_stream_statistics("orders").events_per_entry == 1.0  # type: ignore[union-attr]


def test_no_more_is_read_than_a_batch_needs(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=100))
    fill(broker, 20_000)
    pending: list[int] = []
    with broker_of(packed=False).consumer_single("clicks") as consumer:
        for events in consumer.batches(count=200, block=None):
            assert len(events) <= 200
            state: Any = client.xpending("clicks", "consumer_group")
            pending.append(state["pending"])
    assert max(pending[-20:]) <= 8  # two batches, and one that is being acknowledged
    assert max(pending) <= 110


@pytest.mark.parametrize("registered", [True, False])
def test_claims_are_bounded_by_bytes(broker_of: Make, client: redis.Redis, registered: bool) -> None:
    broker = broker_of()
    with broker.new_flusher() as flusher:
        for number in range(300):
            flusher.publish("clicks", "x" * 16_000, {"n": str(number)})
            flusher.publish("clicks", "y" * 15_000)
    client.xgroup_create("clicks", "consumer_group", "0")
    client.xreadgroup("consumer_group", "dead", {"clicks": ">"})
    sizes: list[int] = []
    with broker_of(packed=registered).consumer_many("clicks") as consumer:
        time.sleep(0.02)
        while consumer.auto_claim(1000, 0.01, lambda events: sizes.append(len(events)), once=True):
            pass
    assert sum(sizes) == 600
    assert max(sizes) <= (70 if registered else 200)  # a megabyte; or a hundred entries, if nothing is known of them
    assert client.xlen("clicks") == 0


def test_what_was_read_at_most_once_is_handed_over(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=Packing(max_events=30))
    fill(broker, 200)
    seen: list[int] = []

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)
        consumer.stop()

    for _ in range(100):
        with broker.consumer_single("clicks", delivery="at-most-once") as consumer:
            consumer.run(handle, count=10)
        if len(seen) == 200:
            break
    assert seen == list(range(200))


def test_a_dropped_flusher_tells_how_many_events_it_had(broker_of: Make) -> None:
    flusher = broker_of(packed=Packing(max_events=10)).new_flusher()
    for number in range(25):
        flusher.publish("clicks", number)
    flusher.publish("orders", 1)
    with pytest.warns(ResourceWarning, match="26 events that were not flushed: .*25 for stream 'clicks'"):
        flusher._buffer.warn()
    assert flusher.clear() == 26


# ---- a cluster ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["consumer_many", "consumer_ordered"])
def test_on_a_cluster(broker_of: Make, cluster: EmbeddedCluster, kind: str) -> None:
    broker = broker_of(cluster.url, packed=Packing(max_events=20), partitions=6)
    flusher = broker.new_flusher()
    for number in range(600):
        flusher.publish("clicks", number, {"n": str(number)}, key=number % 11)
    result = flusher.flush()
    assert len(set(result.ids)) >= 20
    seen: list[int] = []
    done = threading.Event()

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)
        assert len(events) <= 50
        if len(seen) >= 600:
            done.set()
            consumer.stop()

    with getattr(broker, kind)("clicks") as consumer:
        consumer.run(handle, count=50)
    assert done.is_set()
    assert sorted(seen) == list(range(600))
    for key in range(11):
        assert all(one < other for one, other in pairwise([number for number in seen if number % 11 == key]))
    found = broker.get_stream_statistics("clicks")
    assert found is not None
    assert found.len == 0
