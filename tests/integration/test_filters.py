"""Groups that are given only the events with certain tags: `where=`."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

import fluxa_fast.asyncio
from fluxa_fast import EventBroker, FiltersDifferError, FluxaError, Keep
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.filters import checked_where
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import Run

Make = Callable[..., EventBroker]
EUROPE = {"region": "eu"}


def fill(broker: EventBroker, count: int, regions: Sequence[str] = ("eu", "us")) -> list[int]:
    """Publish events that name the regions in turn, in a tag. Returns the numbers of those in the first region."""
    with broker.new_flusher() as flusher:
        for number in range(count):
            flusher.publish("orders", number, {"kind": "order", "region": regions[number % len(regions)]}, None)
    return list(range(0, count, len(regions)))


def all_of(consumer: Any, count: int = 40) -> list[Any]:
    seen: list[Any] = []
    while consumer.consume(count, None, lambda events: seen.extend(event.body for event in events)):
        pass
    return seen


def left(client: redis.Redis) -> tuple[int, int]:
    """How many entries are in the stream and its partitions, and how many are pending."""
    keys = list(client.scan_iter(_type="stream"))
    return sum(map(client.xlen, keys)), sum(one["pending"] for key in keys for one in client.xinfo_groups(key))


@pytest.mark.parametrize(
    ("kind", "delivery", "partitions"),
    [
        ("consumer_single", "at-least-once", None),
        ("consumer_many", "at-most-once", None),
        ("consumer_many", "at-least-once", 3),
        ("consumer_ordered", "at-least-once", 3),
        ("consumer_ordered", "at-most-once", None),
    ],
)
def test_only_what_passes_is_handed_over(
    broker_with: Make, client: redis.Redis, kind: str, delivery: str, partitions: int | None
) -> None:
    broker = broker_with(partitions=partitions)
    wanted = fill(broker, 500)
    with getattr(broker, kind)("orders", where=EUROPE, delivery=delivery) as consumer:
        assert sorted(all_of(consumer)) == wanted
    time.sleep(0.6 if delivery == "at-most-once" else 0)
    getattr(broker, kind)("orders", where=EUROPE, delivery=delivery).consume(1, None, lambda events: None)
    assert left(client) == (0, 0)


@pytest.mark.parametrize(
    ("where", "passing"),
    [
        ({"region": "eu"}, {0, 1}),
        ({"region": ["eu", "uk"]}, {0, 1, 3}),
        ({"region": ("eu",), "kind": "new"}, {0}),
        ({"region": {"uk"}, "kind": ["new", "old"]}, {3}),
        ({"kind": ""}, {4}),
        ({"region": "EU"}, set()),
        ({"zażółć": "🎉"}, {5}),
    ],
)
def test_tags_and_values(broker_with: Make, client: redis.Redis, where: Any, passing: set[int]) -> None:
    broker = broker_with()
    for number, tags in enumerate(
        [
            {"region": "eu", "kind": "new"},
            {"region": "eu", "kind": "newer"},
            {"region": "us", "kind": "new"},
            {"kind": "old", "region": "uk"},
            {"kind": "", "regions": "eu"},
            {"zażółć": "🎉"},
        ]
    ):
        broker.publish("orders", number, tags)
    broker.publish("orders", 6)
    client.xadd("orders", {"region": "us", "s": b"\x07"})  # the order of the fields does not matter
    assert set(all_of(broker.consumer_many("orders", where=where))) == passing
    assert left(client) == (0, 0)


def test_a_name_that_stands_twice_has_its_last_value(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with()
    client.execute_command("XADD", "orders", "*", "region", "us", "s", b"\x01", "region", "eu")
    client.execute_command("XADD", "orders", "*", "region", "eu", "s", b"\x02", "region", "us")
    assert all_of(broker.consumer_many("orders", where=EUROPE)) == [1]


def test_matching_and_tags_agree(implementation: Implementation) -> None:
    chance = random.Random(5)
    names, values = ["a", "b", "ab", ""], ["", "x", "xy"]
    for _ in range(300):
        pairs = [(chance.choice(names), chance.choice(values)) for _ in range(chance.randrange(4))]
        parts = [part.encode() for pair in pairs for part in pair] or [b"c", b"c"]
        reader = implementation.ReplyReader()
        entry = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        reader.feed(b"*1\r\n*2\r\n$3\r\n1-1\r\n*%d\r\n%b" % (len(parts), entry))
        (event,) = reader.read_range("orders").events  # type: ignore[union-attr]
        where = {name: chance.sample(values, 2) for name in chance.sample(names, chance.randrange(1, 3))}
        passes = all(event.tags.get(name) in wanted for name, wanted in where.items())
        assert bool(implementation.matching([event], checked_where(where).tests)) is passes


def test_calls_go_on_past_what_is_filtered_out(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with()
    with broker.new_flusher() as flusher:
        for number in range(1000):
            flusher.publish("orders", number, {"region": "eu" if number == 990 else "us"})
    consumer = broker.consumer_many("orders", where=EUROPE)
    assert [event.body for batch in consumer.batches(100, None) for event in batch] == [990]
    with broker.new_flusher() as flusher:
        flusher.publish_many("orders", range(1000), {"region": "us"})
    assert consumer.consume(100, None, lambda events: None) == 0
    assert left(client) == (0, 0)


@pytest.mark.parametrize("call", ["consume", "batches"])
def test_a_call_ends_in_time_though_others_events_come(broker_with: Make, call: str) -> None:
    broker = broker_with()
    over = threading.Event()

    def publish() -> None:
        publisher = broker_with()
        while not over.is_set():
            publisher.publish("orders", 1, {"region": "us"})

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        consumer = broker.consumer_many("orders", where=EUROPE)
        if call == "consume":
            assert consumer.consume(10, 0.5, lambda events: None) == 0
        else:
            assert list(consumer.batches(10, 0.5)) == []
    finally:
        over.set()
        thread.join()


def test_a_handler_that_fails_gets_the_same_events_again(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with()
    wanted = fill(broker, 100)
    consumer = broker.consumer_many("orders", where=EUROPE)
    with pytest.raises(ZeroDivisionError):
        consumer.run(lambda events: 1 / 0)
    assert left(client) == (100, 100)
    seen: list[Any] = []
    other = broker.consumer_many("orders", where=EUROPE)
    assert other.auto_claim(30, 0, lambda events: seen.extend(event.body for event in events)) == 50
    assert seen == wanted
    assert left(client) == (0, 0)


def test_each_group_has_its_filter(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(groups=["europe", "america", "audit"])
    wanted = fill(broker, 300)
    europe = all_of(broker.consumer_many("orders", group="europe", where=EUROPE))
    america = all_of(broker.consumer_many("orders", group="america", where={"region": "us"}))
    audit = all_of(broker.consumer_many("orders", group="audit"))
    assert (europe, sorted(europe + america), audit) == (wanted, list(range(300)), list(range(300)))
    assert left(client) == (0, 0)
    assert client.get("{orders}:where@europe") == b'{"version":1,"where":{"region":["eu"]}}'
    assert not client.exists("{orders}:where@audit")


def test_a_stream_that_keeps_events(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(keep=Keep(events=10_000))
    wanted = fill(broker, 100)
    assert all_of(broker.consumer_many("orders", where=EUROPE)) == wanted
    assert left(client) == (100, 0)


def test_the_filter_of_a_group_is_compared(broker_with: Make, client: redis.Redis) -> None:
    make = broker_with
    first = make(prefix="a:", partitions=2, groups=["billing", "audit"])
    fill(first, 10)
    all_of(first.consumer_many("orders", group="billing", where={"region": ["uk", "eu"], "kind": "order"}))
    for where in (EUROPE, None, {"region": ["uk", "eu", "us"], "kind": "order"}):
        for broker in (first, make(prefix="a:", partitions=2, groups=["billing", "audit"])):
            with pytest.raises(FiltersDifferError, match="a filter belongs to the group") as caught:
                broker.consumer_ordered("orders", group="billing", where=where).consume(1, None, lambda events: None)
    assert (caught.value.stream, caught.value.group) == ("orders", "billing")
    assert caught.value.stored == {"kind": ["order"], "region": ["eu", "uk"]}
    assert caught.value.where == {"kind": ["order"], "region": ["eu", "uk", "us"]}
    assert "'{a:orders}:where@billing'" in str(caught.value)
    same = make(prefix="a:", partitions=2, groups=["billing", "audit"])
    all_of(same.consumer_single("orders", group="billing", where={"kind": ["order"], "region": ("eu", "uk")}))
    assert first.remove_group("orders", "billing")
    all_of(first.consumer_many("orders", group="billing", where=EUROPE))
    client.set("{a:orders}:where@billing", '{"version":2}')
    with pytest.raises(FluxaError, match="which this version does not know"):
        all_of(make(prefix="a:", partitions=2, groups=["billing"]).consumer_single("orders", where=EUROPE))


def test_without_rights_to_the_key(
    broker_with: Make, own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis(port=own_server.port) as client:
        commands = "+xadd +xreadgroup +xgroup|create +xack +xdel +xpending"
        client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~orders", *commands.split())
        broker = broker_with(url=own_server.url, user="worker")
        wanted = fill(broker, 10)
        with caplog.at_level(logging.WARNING, "fluxa_fast"):
            assert all_of(broker.consumer_many("orders", where=EUROPE)) == wanted
        assert "the filter of stream 'orders' can't be checked" in caplog.text
        assert client.xlen("orders") == 0


@pytest.mark.parametrize(
    ("where", "error", "told"),
    [
        ("eu", TypeError, "a dict of tags"),
        ([("region", "eu")], TypeError, "a dict of tags"),
        ({}, ValueError, "one tag at least"),
        ({"region": []}, ValueError, "no event would pass"),
        ({"region": None}, TypeError, "for tag 'region', not NoneType"),
        ({"region": b"eu"}, TypeError, "for tag 'region', not bytes"),
        ({"region": ["eu", 5]}, TypeError, "a value of tag 'region' is a str, not int"),
        ({5: "eu"}, TypeError, "the name of a tag is a str, not int"),
        ({"s": "eu"}, ValueError, "holds the body"),
        ({"region": "\ud800"}, ValueError, "lone surrogate"),
    ],
)
def test_what_can_be_no_filter_is_refused(where: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=f"^where.*{told}"):
        checked_where(where)


@pytest.fixture
def async_broker(async_engine: Any) -> Any:
    return async_engine.new_context().get_event_broker()


def test_several_handlers_at_once(async_broker: Any, run: Run, client: redis.Redis) -> None:
    async def consume() -> list[Any]:
        flusher = async_broker.new_flusher()
        for number in range(1000):
            flusher.publish("orders", number, {"region": "eu" if number % 3 else "us"})
        await flusher.flush()
        consumer = async_broker.consumer_many("orders", where=EUROPE)
        seen: list[Any] = []

        async def handle(events: Sequence[fluxa_fast.asyncio.Event[Any]]) -> None:
            await asyncio.sleep(0.001)
            seen.extend(event.body for event in events)
            if len(seen) == 666:
                consumer.stop()

        await consumer.run(handle, 50, concurrency=4)
        return seen

    assert sorted(run(consume())) == [number for number in range(1000) if number % 3]
    assert left(client) == (0, 0)
