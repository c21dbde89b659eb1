from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis

from fluxa_fast import Engine, EventBroker, RedisStreamConsumerStatistics, UnregisteredStreamError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.partitions import partition_streams
from tests.fix_servers import before_redis_7

GROUP = "consumer_group"


def fail(events: object) -> None:
    raise ArithmeticError


def test_of_an_unregistered_stream(broker: EventBroker, client: redis.Redis) -> None:
    assert broker.get_stream_statistics("nope") is None
    assert broker.get_stream_statistics(["orders"]) is None  # type: ignore[arg-type]
    client.config_resetstat()
    for streams in (("nope",), ("orders", "nope"), (["orders"],), (None,)):
        with pytest.raises(UnregisteredStreamError) as caught:
            broker.get_streams_statistics(*streams)  # type: ignore[arg-type]
        assert caught.value.stream == streams[-1]
    assert "cmdstat_xlen" not in client.info("commandstats")  # nothing was sent


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


# ---- what the server can't tell -------------------------------------------------------------------------


def _check_untold(one: Any, error: type[Exception], *words: str) -> None:
    assert (one.len, one.oldest_event_seconds, one.group) == (0, 0, None)
    assert type(one.error) is error
    for word in words:
        assert word in str(one.error)
    again = pickle.loads(pickle.dumps(one.error))
    assert (type(again), str(again)) == (error, str(one.error))


def test_a_key_of_another_type_is_told_with_its_stream_and_the_others_are_there(
    broker: EventBroker, client: redis.Redis
) -> None:
    client.set("orders", "text")
    broker.publish("users", 1)
    orders, users = broker.get_streams_statistics()
    assert (users.stream, users.len, users.error) == ("users", 1, None)
    _check_untold(orders, redis.ResponseError, "WRONGTYPE", "stream 'orders' on pool 'default': ")
    assert orders.stream == "orders"
    assert broker.get_stream_statistics("users") == users
    with pytest.raises(redis.ResponseError, match="stream 'orders' on pool 'default': WRONGTYPE"):
        broker.get_stream_statistics("orders")


@pytest.mark.parametrize("missing", ["~orders", "xlen", "xinfo|groups", "xpending", "time"])
def test_rights_that_are_missing_are_told_with_each_stream(
    make_engine: Callable[..., Engine], own_server: EmbeddedServer, missing: str
) -> None:
    rights = ["~orders", "~users", "+xlen", "+xinfo|groups", "+xpending", "+time", "+xadd"]
    with own_server.client() as client:
        if "|" in missing and before_redis_7(client):
            missing = "xinfo"
            rights[3] = "+xinfo"
        without = [one for one in rights if one.strip("+") != missing]
        client.execute_command("ACL", "SETUSER", "monitor", "on", ">secret", *without)
        client.xadd("users", {"s": b"\x01"}, id="1-1")
        for stream in ("orders", "users"):
            client.xgroup_create(stream, GROUP, "0", mkstream=True)
    engine = make_engine(f"127.0.0.1:{own_server.port}", username="monitor", password="secret")
    broker = engine.new_context().get_event_broker()
    orders, users = broker.get_streams_statistics()
    _check_untold(orders, redis.exceptions.NoPermissionError, "stream 'orders' on pool 'default': ")
    if missing == "~orders":
        assert (users.len, users.error) == (1, None)
    else:
        _check_untold(users, redis.exceptions.NoPermissionError, "stream 'users' on pool 'default': ")
    with pytest.raises(redis.exceptions.NoPermissionError, match="stream 'orders' on pool 'default'"):
        broker.get_stream_statistics("orders")


def test_a_partition_that_cant_be_told_makes_the_sum_unknown(faces: Any, server_url: str, client: redis.Redis) -> None:
    keys = partition_streams("orders", 3)
    client.set(keys[1], "text")
    registry = faces.Registry()
    registry.register_redis(server_url)
    registry.register_redis_stream("orders", partitions=3)
    registry.register_redis_stream("users")
    with registry.validate() as engine:
        check_a_partition_of_another_type(engine.new_context().get_event_broker(), keys)


def check_a_partition_of_another_type(broker: Any, keys: Sequence[str]) -> None:
    broker.publish("users", 1)
    orders, users = broker.get_streams_statistics()
    assert (users.len, users.error) == (1, None)
    _check_untold(orders, redis.ResponseError, "WRONGTYPE", f"stream {keys[1]!r} on pool 'default': ")
    assert [one.stream for one in orders.partitions] == list(keys)
    assert [one.error is not None for one in orders.partitions] == [key == keys[1] for key in keys]
    assert orders.partitions[1].error is orders.error
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        broker.get_stream_statistics("orders")
