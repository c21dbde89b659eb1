"""What a user of asyncio writes, checked by mypy --strict: never run."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta

import redis.asyncio

from fluxa_fast import FluxaError
from fluxa_fast.asyncio import (
    Engine,
    Event,
    EventBroker,
    EventConsumer,
    EventFlusher,
    FlushError,
    FlushResult,
    Recovery,
    RedisStreamStatistics,
    Registry,
)


async def handle(events: Sequence[Event]) -> None:
    for event in events:
        await event.ack()


def handle_plainly(events: Sequence[Event]) -> None:
    print(len(events), events[0].body)


def engine() -> Engine:
    registry = Registry(default=str)
    registry.register_redis("localhost:6379", 0, "default", username="a", password="b")
    registry.register_redis(client=redis.asyncio.Redis(), pool="other")
    registry.register_redis_stream("orders", "default")
    return registry.validate()


async def publish(broker: EventBroker) -> list[str]:
    flusher: EventFlusher = broker.new_flusher(eager=True)
    flusher.publish("orders", {"a": 1}, {"action": "created"})
    count: int = await flusher.publish_many("orders", range(10))
    try:
        result: FlushResult = await flusher.flush()
        print(len(result), result.ids, count, len(flusher), flusher.size, flusher.clear() + flusher.discard_refused())
    except FlushError as error:
        print(error.confirmed.ids, error.refused, error.unconfirmed)
    async with broker.new_flusher() as another:
        another.publish("orders", 1)
    one: str = await broker.publish("orders", None, {"action": "created"})
    return [one, *await asyncio.gather(broker.publish("orders", 1), broker.publish("orders", 2))]


async def consume(broker: EventBroker) -> int:
    async with broker.consumer_single("orders", recovery=Recovery(deadline=5)) as consumer:
        one: EventConsumer = consumer
        handled: int = await one.consume(count=10, block=5.0, handler=handle)
        handled += await one.consume(10, timedelta(seconds=1), handle_plainly)
        handled += await one.consume(10, math.inf, lambda events: print(len(events)))
        await one.run(handle, count=1000)
        await one.run(handle_plainly, concurrency=8, claim_idle=timedelta(minutes=1), hold_for=300.0)
        async for events in one.batches(count=1000, block=None):
            handle_plainly(events)
        batches = one.batches()
        await batches.aclose()
        handled += await one.auto_claim(count=1000, min_idle=600.0, handler=handle)
        one.stop(timeout=5.0)
        print(one.name, one.stream, one.deleted, handled)
        return await one.cleanup()


async def main() -> None:
    async with engine() as running:
        broker = running.new_context().get_event_broker()
        await publish(broker)
        await consume(broker)
        found: RedisStreamStatistics | None = await broker.get_stream_statistics("orders")
        every: list[RedisStreamStatistics] = await broker.get_streams_statistics()
        print(found, every, running.streams)
    try:
        await running.aclose()
    except FluxaError:
        pass
