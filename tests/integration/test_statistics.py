from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis

from fluxa_fast import Engine, EventBroker, RedisStreamConsumerStatistics
from fluxa_fast.embedded import EmbeddedServer
from tests.fix_servers import before_redis_7

GROUP = "consumer_group"


def fail(events: object) -> None:
    raise ArithmeticError


def test_of_an_unregistered_stream(broker: EventBroker) -> None:
    assert broker.get_stream_statistics("nope") is None
    assert broker.get_streams_statistics("nope", "orders")[0].stream == "orders"


def test_of_a_missing_stream_and_without_a_group(broker: EventBroker) -> None:
    for expected in (0, 1):
        statistics = broker.get_stream_statistics("orders")
        assert statistics is not None
        assert (statistics.stream, statistics.redis_pool) == ("orders", "default")
        assert (statistics.len, statistics.oldest_event_seconds, statistics.group) == (expected, 0, None)
        broker.publish("orders", 1)


def test_with_pending_entries(broker: EventBroker, client: redis.Redis) -> None:
    ids = [broker.publish("orders", number) for number in range(5)]
    consumer = broker.consumer_many("orders")
    with pytest.raises(ArithmeticError):
        consumer.consume(3, None, fail)
    time.sleep(1.1)
    statistics = broker.get_stream_statistics("orders")
    assert statistics is not None
    assert statistics.len == 5
    assert 1 <= statistics.oldest_event_seconds <= 20
    group = statistics.group
    assert group is not None
    assert (group.group, group.lag, group.pending) == (GROUP, None if before_redis_7(client) else 2, 3)
    assert (group.last_delivered_id, group.lower_id) == (ids[2], ids[0])
    assert timedelta(seconds=1) < group.last_delivered_duration <= group.lower_duration < timedelta(seconds=20)
    assert group.consumers == (RedisStreamConsumerStatistics(consumer.name, 3),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.len = 1  # type: ignore[misc]


def test_when_all_is_acknowledged(broker: EventBroker) -> None:
    id = broker.publish("orders", 1)
    broker.consumer_single("orders").consume(1, None, print)
    statistics = broker.get_stream_statistics("orders")
    assert statistics is not None
    assert statistics.oldest_event_seconds == 0
    group = statistics.group
    assert group is not None
    assert (group.pending, group.lower_id, group.lower_duration, group.consumers) == (0, "", timedelta(), ())
    assert group.last_delivered_id == id


def test_among_several_groups(broker: EventBroker, client: redis.Redis) -> None:
    broker.publish("orders", 1)
    client.xgroup_create("orders", "another", "0")
    statistics = broker.get_stream_statistics("orders")
    assert statistics is not None
    assert statistics.group is None
    broker.consumer_single("orders").consume(1, None, print)
    client.xgroup_create("orders", "zz", "0")
    statistics = broker.get_stream_statistics("orders")
    assert statistics is not None
    assert statistics.group is not None
    assert statistics.group.group == GROUP


def test_a_lag_that_the_server_cant_tell(broker: EventBroker, client: redis.Redis) -> None:
    ids = [broker.publish("orders", number) for number in range(5)]
    with pytest.raises(ArithmeticError):
        broker.consumer_single("orders").consume(2, None, fail)
    client.xdel("orders", ids[3])
    statistics = broker.get_stream_statistics("orders")
    assert statistics is not None
    assert statistics.group is not None
    assert statistics.group.lag is None


@pytest.mark.parametrize("protocol", [2, 3])
def test_of_all_streams_on_several_pools(
    faces: Any, server_url: str, client: redis.Redis, own_server: EmbeddedServer, protocol: int
) -> None:
    registry = faces.Registry()
    registry.register_redis(server_url, 0, "one", protocol=protocol)
    registry.register_redis(own_server.url, 0, "two", protocol=protocol)
    for number in range(6):
        registry.register_redis_stream(f"stream-{number}", ("one", "two")[number % 2])
    with registry.validate() as engine:
        broker = engine.new_context().get_event_broker()
        for number in range(6):
            for _ in range(number):
                broker.publish(f"stream-{number}", 1)
            broker.consumer_single(f"stream-{number}").auto_claim(1, 0, print)
        found = broker.get_streams_statistics()
        assert [(one.stream, one.redis_pool, one.len) for one in found] == [
            (f"stream-{number}", ("one", "two")[number % 2], number) for number in range(6)
        ]
        lags = [one.group and one.group.lag for one in found]
        assert lags == ([None] * 6 if before_redis_7(client) else [one.len for one in found])
        assert [one.stream for one in broker.get_streams_statistics("stream-3", "stream-0")] == ["stream-3", "stream-0"]


def test_the_wrong_type_is_an_error(
    make_engine: Callable[..., Engine], broker: EventBroker, client: redis.Redis
) -> None:
    client.set("orders", "text")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        broker.get_stream_statistics("orders")
