"""What a user writes, checked by mypy --strict: never run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_type

import redis

import fluxa_fast
from fluxa_fast import (
    Event,
    EventBroker,
    EventConsumer,
    EventFlusher,
    FlushError,
    FlushResult,
    Recovery,
    RedisStreamStatistics,
    Registry,
    TypedStream,
    wire_names,
)


@dataclass
class Order:
    user_id: int


def handle(events: Sequence[Event]) -> None:
    for event in events:
        order: Order = event.unserialize(Order)
        time: datetime = event.timestamp
        text: str = event.id + event.stream + event.tag("a") + event.tags["b"]
        state: bool = event.acknowledged or event.taken_over
        event.ack()
        print(order, time, text, state, event.body)


def registry() -> Registry:
    registry = Registry(default=str)
    registry.register_redis("localhost:6379", 0, "default", username="a", password="b")
    registry.register_redis(client=redis.Redis(), pool="other")
    registry.register_redis("master", pool="third", sentinels=["a:1", ("b", 2)])
    registry.register_redis_stream("orders", "default")
    return registry


def publish(broker: EventBroker) -> str:
    flusher: EventFlusher = broker.new_flusher()
    flusher.publish("orders", Order(1), {"action": "created"})
    try:
        result: FlushResult = flusher.flush()
        ids: list[str] = result.ids
        print(len(result), ids)
    except FlushError as error:
        print(error.confirmed.ids, error.refused[0].error, error.unconfirmed[0].positions)
    return broker.publish("orders", None, {"action": "created"})


def consume(broker: EventBroker) -> int:
    with broker.consumer_single("orders", recovery=Recovery(deadline=5)) as consumer:
        one: EventConsumer = consumer
        one.consume(count=10, block=5.0, handler=handle)
        one.consume(10, timedelta(seconds=1), handle)
        one.consume(10, math.inf, lambda events: print(len(events)))
        one.run(handle, count=1000, claim_idle=60, hold_for=timedelta(minutes=5))
        for events in one.batches(count=1000, block=None):
            handle(events)
        one.auto_claim(count=1000, min_idle=600.0, handler=handle, once=True)
        one.stop()
        return one.cleanup()


def main() -> None:
    with registry().validate() as engine:
        broker = engine.new_context().get_event_broker()
        publish(broker)
        consume(broker)
        found: RedisStreamStatistics | None = broker.get_stream_statistics("orders")
        if found is not None and found.group is not None and found.group.lag is not None:
            print(found.group.lag + 1, found.group.lower_duration.total_seconds(), found.group.consumers[0].name)


def typed(broker: EventBroker, flusher: EventFlusher) -> None:
    orders = broker.register_body("orders", Order)
    assert_type(orders, TypedStream[Order])
    orders.publish(Order(1), {"action": "created"})
    orders.collect(flusher, Order(1))

    def handle_orders(events: Sequence[Event[Order]]) -> None:
        for event in events:
            assert_type(event.body, Order)
            assert_type(event.unserialize(), Order)
            assert_type(event.unserialize(list[int]), list[int])

    with orders.consumer_single() as consumer:
        consumer.run(handle_orders)
        consumer.consume(10, None, lambda events: print(events[0].body.user_id))
        for events in consumer.batches():
            assert_type(events[0].body, Order)
    with broker.consumer_many("orders") as untyped:
        untyped.run(handle)
        untyped.run(handle_orders)


def drop_in(client: redis.Redis) -> None:
    with fluxa_fast.pipeline(client) as pipe:
        pipe.xadd("orders", {"a": 1, "b": b"2"}, maxlen=1000)
        pipe.set("key", 1)
        replies = pipe.execute()
        print(len(replies))
    print(fluxa_fast.xreadgroup(client, "group", "me", {"orders": ">"}, count=10, block=1000))
    events = fluxa_fast.xread(client, {"orders": "0"}, as_events=True)
    assert_type(events[0].id, str)
    cursor, claimed = fluxa_fast.xautoclaim(client, "orders", "group", "me", 1000, as_events=True)
    print(cursor, claimed[0].body)
    print(fluxa_fast.xrange(client, "orders", "-", "+", 10, as_events=True)[0].tags)


@wire_names("go", user_id="UserID")
@dataclass
class Named:
    user_id: int


named = Named(user_id=1)
