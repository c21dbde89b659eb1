"""One consumer of several streams, in turn or in the order of their importance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker, UnregisteredStreamError
from fluxa_fast.embedded.cluster import EmbeddedCluster

Make = Callable[..., EventBroker]


@pytest.fixture
def broker_of(faces: Any, server_url: str, client: redis.Redis) -> Iterator[Make]:
    """Makes a broker with these streams, registered with these arguments."""
    engines = []

    def make(*streams: str, url: str = server_url, prefix: str = "", **options: Any) -> EventBroker:
        registry = faces.Registry(prefix=prefix)
        registry.register_redis(url)
        registry.register_redis(url, 1 if "+cluster" not in url else 0, pool="other")
        for stream in streams:
            registry.register_redis_stream(stream, **options)
        registry.register_redis_stream("elsewhere", "other")
        registry.register_redis_stream("of audit", groups=["audit"])
        engine = registry.validate()
        engines.append(engine)
        return engine.new_context().get_event_broker()  # type: ignore[no-any-return]

    yield make
    for engine in engines:
        engine.close()


def fill(broker: EventBroker, **counts: int) -> None:
    with broker.new_flusher() as flusher:
        for stream, count in counts.items():
            for number in range(count):
                flusher.publish(stream, (stream, number))


def streams_of(consumer: Any, events: Sequence[Any]) -> str:
    """The stream of a batch, which is the same for all its events."""
    (name,) = {consumer.stream_of(event) for event in events}
    return name  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("order", "kind", "delivery", "partitions"),
    [
        ("fair", "consumer_single", "at-least-once", None),
        ("fair", "consumer_many", "at-most-once", 2),
        ("strict", "consumer_many", "at-least-once", None),
        ("strict", "consumer_single", "at-least-once", 2),
        ("strict", "consumer_many", "at-most-once", None),
    ],
)
def test_every_event_of_every_stream(
    broker_of: Make, client: redis.Redis, order: str, kind: str, delivery: str, partitions: int | None
) -> None:
    broker = broker_of("urgent", "normal", "idle", partitions=partitions, prefix="test:")
    fill(broker, urgent=250, normal=430)
    seen: list[Any] = []
    sizes: list[int] = []

    def handle(events: Sequence[Any]) -> None:
        assert {event.body[0] for event in events} == {streams_of(consumer, events)}
        sizes.append(len(events))
        seen.extend(tuple(event.body) for event in events)
        if len(seen) == 680:
            consumer.stop()

    with getattr(broker, kind)(["urgent", "normal", "idle"], order=order, delivery=delivery) as consumer:
        assert (consumer.stream, consumer.streams) == ("urgent", ("urgent", "normal", "idle"))
        consumer.run(handle, 100)
    wanted = [("urgent", number) for number in range(250)] + [("normal", number) for number in range(430)]
    assert sorted(seen) == sorted(wanted)
    assert max(sizes) <= 100
    if partitions is None:
        assert [one for one in seen if one[0] == "normal"] == wanted[250:]
    if order == "strict" and partitions is None:
        assert seen == wanted
    assert not any(client.xlen(key) for key in client.scan_iter(_type="stream"))


def test_a_hot_stream_does_not_starve_the_others(broker_of: Make) -> None:
    broker = broker_of("hot", "cold")
    fill(broker, hot=5000, cold=20)
    order: list[str] = []

    def handle(events: Sequence[Any]) -> None:
        order.extend(event.body[0] for event in events)
        if order.count("cold") == 20:
            consumer.stop()

    with broker.consumer_many(["hot", "cold"]) as consumer:
        consumer.run(handle, 100)
        consumer.consume(100_000, None, lambda events: None)
    assert order.count("hot") <= 200


def test_what_is_urgent_overtakes(broker_of: Make) -> None:
    broker = broker_of("urgent", "normal")
    fill(broker, normal=1000)
    order: list[str] = []

    def handle(events: Sequence[Any]) -> None:
        order.append(streams_of(consumer, events))
        if len(order) == 3:
            fill(broker, urgent=150)
        if len(order) == 12:
            consumer.stop()

    with broker.consumer_many(["urgent", "normal"], order="strict") as consumer:
        consumer.run(handle, 100)
    first = order.index("urgent")
    assert order.count("urgent") == 2
    assert 3 <= first <= 4  # one batch may have been read before
    assert order[first : first + 2] == ["urgent", "urgent"]


@pytest.mark.parametrize("order", ["fair", "strict"])
def test_an_idle_consumer_waits_for_all_of_them(broker_of: Make, order: str) -> None:
    broker = broker_of("urgent", "normal")
    consumer = broker.consumer_many(["urgent", "normal"], order=order)
    arrived: list[tuple[str, float]] = []

    def handle(events: Sequence[Any]) -> None:
        arrived.extend((event.body[0], time.monotonic()) for event in events)

    thread = threading.Thread(target=consumer.run, args=(handle,))
    thread.start()
    sent = []
    for stream in ("normal", "urgent", "normal"):
        time.sleep(0.4)
        sent.append(time.monotonic())
        broker.publish(stream, (stream, 0))
    deadline = time.monotonic() + 10
    while len(arrived) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    consumer.stop()
    thread.join()
    assert [stream for stream, _ in arrived] == ["normal", "urgent", "normal"]


@pytest.mark.parametrize("order", ["fair", "strict"])
def test_calls_that_end(broker_of: Make, order: str) -> None:
    broker = broker_of("urgent", "normal")
    consumer = broker.consumer_many(["urgent", "normal"], order=order)
    batches: list[tuple[str, int]] = []

    def handle(events: Sequence[Any]) -> None:
        batches.append((streams_of(consumer, events), len(events)))

    assert consumer.consume(10, None, handle) == 0
    fill(broker, normal=7)
    assert consumer.consume(10, 0.05, handle) == 7
    fill(broker, normal=3, urgent=3)
    assert [streams_of(consumer, events) for events in consumer.batches(10, None)] == ["urgent", "normal"]
    fill(broker, normal=3, urgent=3)
    with pytest.raises(ZeroDivisionError):
        consumer.run(lambda events: 1 / 0)
    assert broker.consumer_many(["urgent", "normal"], order=order).auto_claim(10, 0, handle) >= 3
    assert sum(size for _, size in batches) >= 10
    while consumer.consume(10, None, handle):
        pass
    assert [one.len for one in broker.get_streams_statistics("urgent", "normal")] == [0, 0]


@dataclass
class Urgent:
    number: int


@dataclass
class Normal:
    text: str


@pytest.mark.parametrize("order", ["fair", "strict"])
def test_each_stream_has_its_type(broker_of: Make, order: str) -> None:
    broker = broker_of("urgent", "normal")
    broker.register_body("urgent", Urgent)
    broker.register_body("normal", Normal)
    consumer = broker.consumer_many(["urgent", "normal"], order=order)
    seen: list[Any] = []

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)
        for event in events:
            event.ack()
        if len(seen) == 4:
            consumer.stop()

    thread = threading.Thread(target=consumer.run, args=(handle,))
    thread.start()
    for pause in (0.3, 0.0):  # into the read that blocks, and into one that does not
        time.sleep(pause)
        broker.publish("urgent", Urgent(1))
        broker.publish("normal", Normal("a"))
    thread.join(20)
    assert not thread.is_alive()
    assert sorted(seen, key=str) == [Normal("a"), Normal("a"), Urgent(1), Urgent(1)]
    assert [one.len for one in broker.get_streams_statistics("urgent", "normal")] == [0, 0]


def test_streams_that_one_consumer_cant_read(broker_of: Make) -> None:
    broker = broker_of("urgent", "normal")
    with pytest.raises(ValueError, match="one stream at least"):
        broker.consumer_many([])
    with pytest.raises(ValueError, match="named twice"):
        broker.consumer_many(["urgent", "urgent"])
    with pytest.raises(ValueError, match="different pools"):
        broker.consumer_many(["urgent", "elsewhere"])
    with pytest.raises(ValueError, match="different groups"):
        broker.consumer_many(["urgent", "of audit"])
    with pytest.raises(ValueError, match="order is 'fair' or 'strict', not 'any'"):
        broker.consumer_single("urgent", order="any")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="consumer_ordered reads one stream"):
        broker.consumer_ordered(["urgent", "normal"])  # type: ignore[arg-type]
    for stream in ("unknown", 5, ["urgent", "unknown"], [5], b"urgent", None):
        with pytest.raises(UnregisteredStreamError):
            broker.consumer_many(stream)  # type: ignore[arg-type]


def test_on_a_cluster(broker_of: Make, cluster: EmbeddedCluster) -> None:
    broker = broker_of("urgent", "normal", "{jobs}:urgent", "{jobs}:normal", url=cluster.url)
    with pytest.raises(ValueError, match="one hash tag"):
        broker.consumer_many(["urgent", "normal"], order="strict")
    for names, order in (("urgent", "normal"), "fair"), (("{jobs}:urgent", "{jobs}:normal"), "strict"):
        fill(broker, **dict.fromkeys(names, 250))
        seen: list[str] = []
        with broker.consumer_many(names, order=order) as consumer:

            def handle(events: Sequence[Any]) -> None:
                seen.extend(streams_of(consumer, events) for _ in events)  # noqa: B023 (it is called before the next)
                if len(seen) == 500:  # noqa: B023
                    consumer.stop()

            consumer.run(handle, 100)
        assert {name: seen.count(name) for name in names} == dict.fromkeys(names, 250)
        if order == "strict":
            assert seen == [names[0]] * 250 + [names[1]] * 250
