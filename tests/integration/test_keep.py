"""Streams that keep events: acknowledging deletes nothing, and publishers trim what is too old or too much."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker, Keep, RegistryError
from fluxa_fast.embedded import EmbeddedServer
from tests.fix_servers import before_redis_7

Make = Callable[..., EventBroker]


def fill(broker: EventBroker, count: int) -> None:
    flusher = broker.new_flusher()
    for number in range(count):
        flusher.publish("orders", number)
    flusher.flush()


def all_of(consumer: Any, count: int = 40) -> list[Any]:
    seen: list[Any] = []

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)

    while consumer.consume(count, None, handle):
        pass
    return seen


@pytest.mark.parametrize("kind", ["consumer_single", "consumer_many", "consumer_ordered"])
@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
@pytest.mark.parametrize("partitions", [None, 3])
def test_what_was_handled_stays(
    broker_with: Make, client: redis.Redis, kind: str, delivery: str, partitions: int | None
) -> None:
    broker = broker_with(keep=Keep(events=100_000), partitions=partitions, groups=["billing", "audit"])
    fill(broker, 100)
    for group in ("billing", "audit"):
        with getattr(broker, kind)("orders", group=group, delivery=delivery) as consumer:
            assert sorted(all_of(consumer)) == list(range(100))
            assert all_of(consumer) == []
    keys = list(client.scan_iter(_type="stream"))
    assert sum(map(client.xlen, keys)) == 100
    assert all(group["pending"] == 0 for key in keys for group in client.xinfo_groups(key))
    assert sorted(event.body for event in broker.read("orders")) == list(range(100))
    broker.seek("orders", "billing", "0")
    assert sorted(all_of(getattr(broker, kind)("orders", group="billing", delivery=delivery))) == list(range(100))


def test_an_event_that_is_acknowledged_alone(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(keep=Keep(age=timedelta(hours=1)))
    fill(broker, 3)
    acknowledged = []

    def handle(events: Sequence[Any]) -> None:
        events[1].ack()
        acknowledged.extend(event.acknowledged for event in events)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        broker.consumer_single("orders").consume(3, None, handle)
    assert acknowledged == [False, True, False]
    assert client.xpending("orders", "consumer_group")["pending"] == 2
    assert client.xlen("orders") == 3


def test_up_to_a_number(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(keep=Keep(events=500))
    for _ in range(10):
        fill(broker, 300)
    assert 500 <= client.xlen("orders") < 500 + 200  # whole nodes of 100 entries are dropped
    for number in range(1000):
        broker.publish("orders", number)
    assert 500 <= client.xlen("orders") < 500 + 300
    assert len(all_of(broker.consumer_single("orders"))) == client.xlen("orders")


def test_up_to_an_age(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(keep=Keep(age=60))
    old = int(time.time() * 1000) - 61_000
    for number in range(1000):
        client.xadd("orders", {"s": b"\x01"}, id=f"{old}-{number + 1}")
    fill(broker, 50)
    assert 50 <= client.xlen("orders") < 50 + 200


@pytest.mark.parametrize("partitions", [None, 2])
def test_a_consumer_trims_when_it_falls_idle(broker_with: Make, client: redis.Redis, partitions: int | None) -> None:
    fill(broker_with(partitions=partitions), 1000)
    broker = broker_with(keep=Keep(events=100), partitions=partitions)
    with broker.consumer_many("orders") as consumer:
        assert sum(len(events) for events in consumer.batches(300, 1.2 if partitions is None else 0.3)) == 1000
    assert sum(client.xlen(key) for key in client.scan_iter(_type="stream")) <= 400


def test_up_to_a_size(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(keep=Keep(bytes=200_000))
    flusher = broker.new_flusher()
    for _ in range(20):
        flusher.publish_many("orders", [b"x" * 1000] * 100)
        flusher.flush()
    assert client.memory_usage("orders") < 400_000
    assert 50 < client.xlen("orders") < 400


def test_each_partition_has_its_part(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(keep=Keep(events=600), partitions=3)
    for _ in range(20):
        fill(broker, 300)
    lengths = [client.xlen(key) for key in client.scan_iter(_type="stream")]
    assert len(lengths) == 3
    assert all(200 <= length < 500 for length in lengths)


def test_what_was_trimmed_before_it_was_handled(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(keep=Keep(events=100))
    fill(broker, 1000)
    with pytest.raises(ArithmeticError):
        broker.consumer_single("orders").consume(10, None, lambda events: 1 / 0)
    fill(broker, 1000)
    consumer = broker.consumer_single("orders")
    assert len(all_of(consumer)) == client.xlen("orders")
    assert consumer.deleted == 10
    assert client.xpending("orders", "consumer_group")["pending"] == 0


def test_a_group_that_misses_events_is_told_of(
    broker_with: Make, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    broker = broker_with(keep=Keep(events=200), groups=["billing", "audit"])
    fill(broker, 50)
    for group in ("billing", "audit"):
        assert len(all_of(broker.consumer_many("orders", group=group))) == 50
    with caplog.at_level(logging.WARNING, "fluxa_fast"):
        for _ in range(10):
            fill(broker, 200)
            all_of(broker.consumer_many("orders", group="billing"))
    statistics = broker.get_stream_statistics("orders")
    assert statistics is not None
    billing, audit = (next(one for one in statistics.groups if one.group == name) for name in ("billing", "audit"))
    if before_redis_7(client):
        assert (billing.missed, audit.missed, caplog.messages) == (None, None, [])
        return
    assert billing.missed == 0
    assert audit.missed == 2000 - statistics.len
    assert statistics.furthest_behind == audit
    told = [message for message in caplog.messages if "before group 'audit' was delivered them" in message]
    assert told == caplog.messages
    assert len(told) == 1
    all_of(broker.consumer_many("orders", group="audit"))
    assert [group.missed for group in broker.get_stream_statistics("orders").groups] == [0, 0]  # type: ignore[union-attr]


def test_a_user_that_may_not_trim(
    broker_with: Make, own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with own_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "publisher", "on", ">secret", "~orders", "+xadd")
        broker = broker_with(f"127.0.0.1:{own_server.port}", "publisher", keep=Keep(events=10))
        with caplog.at_level(logging.WARNING, "fluxa_fast"):
            for _ in range(3):
                fill(broker, 300)
        assert admin.xlen("orders") == 900
    (told,) = [record.getMessage() for record in caplog.records]
    assert "stream 'orders' could not be trimmed" in told
    assert "xtrim" in told.lower()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({}, ValueError), ({"events": 0}, ValueError), ({"events": "5"}, TypeError), ({"age": 0}, ValueError),
     ({"age": "x"}, TypeError), ({"bytes": -1}, ValueError)],
)  # fmt: skip
def test_what_is_no_keep(arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Keep(**arguments)


def test_what_a_registry_refuses(broker_with: Make) -> None:
    with pytest.raises(RegistryError, match="keep is a Keep, 'until_handled' or None, not 100"):
        broker_with(keep=100)
    assert broker_with(keep="until_handled") is not None
