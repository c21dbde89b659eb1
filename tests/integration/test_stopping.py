"""Consumers that stop leave nothing behind: what they have read and not handled is handled by others, soon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
import redis

import fluxa_fast
from fluxa_fast import EventBroker
from fluxa_fast.embedded import EmbeddedServer
from tests.fix_asyncio import Run
from tests.running import Runner, fill, pending, until

Make = Callable[..., EventBroker]
HANDED_BACK = b"consumer-handed-back"


@pytest.mark.parametrize("partitions", [None, 3])
def test_another_consumer_has_what_was_read_ahead_within_a_second(
    broker_with: Make, client: redis.Redis, partitions: int | None
) -> None:
    broker = broker_with(partitions=partitions, groups=["billing"])
    fill(broker, 600)
    first = Runner(broker.consumer_many("orders")).start()
    assert first.first.wait(20)
    waiting = Runner(broker.consumer_many("orders"))
    waiting.run_until(400)
    time.sleep(0.3)
    assert sum(pending(client, "billing").values()) >= 50
    first.stop()
    stopped = time.monotonic()
    until(lambda: len(waiting.seen) + len(first.seen) >= 600)
    took = time.monotonic() - stopped
    waiting.consumer.stop()
    waiting.join()
    assert sorted(first.seen + waiting.seen) == list(range(600))
    assert set(waiting.counts) == {1}  # it was no delivery
    assert took < 10  # on a busy machine; else less than a second
    assert first.consumer.cleanup() == waiting.consumer.cleanup() == 0
    assert pending(client, "billing") == {}


def test_what_was_handed_back_waits_for_the_next_consumer(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with()
    fill(broker, 200)
    first = Runner(broker.consumer_many("orders")).start()
    first.has_a_batch_behind()
    first.stop()
    assert first.batches == [50]
    assert pending(client) == {HANDED_BACK: 50}
    (entry, *_) = client.xpending_range("orders", "consumer_group", "-", "+", 1)
    assert entry["time_since_delivered"] >= 86_000_000
    assert first.consumer.cleanup() == 0
    second = broker.consumer_many("orders")
    seen: list[Any] = []
    for events in second.batches(50, 3):
        seen += [event.body for event in events]
        if len(seen) == 150:
            second.stop()
    assert sorted(first.seen + seen) == list(range(200))
    assert pending(client) == {}
    assert client.xlen("orders") == 0


def test_a_consumer_that_claims_what_is_idle_takes_it_at_once(broker_with: Make, client: redis.Redis) -> None:
    """So does one of the original, which knows nothing of the reserved name."""
    broker = broker_with()
    fill(broker, 100)
    first = Runner(broker.consumer_many("orders")).start()
    first.has_a_batch_behind()
    first.stop()
    claimed = client.xautoclaim("orders", "consumer_group", "consumer-go", 600_000, "0-0", count=1000)
    assert len(claimed[1]) == 50


@pytest.mark.parametrize("kind", ["consumer_single", "consumer_ordered"])
def test_consumers_whose_name_stays_hand_nothing_back(broker_with: Make, client: redis.Redis, kind: str) -> None:
    broker = broker_with()
    fill(broker, 150)
    first = Runner(getattr(broker, kind)("orders")).start()
    first.has_a_batch_behind()
    with first.consumer:
        first.stop()
    assert HANDED_BACK not in pending(client)
    second = Runner(getattr(broker, kind)("orders"))
    second.run_until(100)
    second.consumer.stop()
    second.join()
    assert first.seen + second.seen == list(range(150))


@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
def test_draining_handles_what_was_read(broker_with: Make, client: redis.Redis, delivery: str) -> None:
    broker = broker_with()
    fill(broker, 200)
    runner = Runner(broker.consumer_many("orders", delivery=delivery)).start()
    runner.has_a_batch_behind()
    runner.stop(drain=True)
    assert runner.seen == list(range(100))
    assert pending(client) == {}
    assert client.xlen("orders") == 100


def test_draining_ends_in_time(faces: Any, broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with()
    fill(broker, 200)
    runner = Runner(broker.consumer_many("orders"), pause=0.4).start()
    runner.has_a_batch_behind()
    runner.stop(drain=True, timeout=0.2)
    cancelled = faces is not fluxa_fast  # a thread can't be cancelled
    assert pending(client) == {HANDED_BACK: 100 if cancelled else 50}
    if not cancelled:
        assert runner.seen == list(range(50))
        with pytest.raises(ValueError, match="timeout= is for drain=True"):
            runner.consumer.stop(timeout=5)
    with pytest.raises(ValueError, match="timeout"):
        runner.consumer.stop(drain=True, timeout=-1)


def test_a_failed_handler_hands_nothing_back(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with()
    fill(broker, 200)
    consumer = broker.consumer_many("orders")

    def handle(events: Sequence[Any]) -> None:
        consumer.stop()
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        consumer.run(handle, 50)
    assert HANDED_BACK not in pending(client)
    assert sum(pending(client).values()) >= 50


def test_what_idle_consumers_send(broker_with: Make, client: redis.Redis) -> None:
    """One of them asks for what was handed back; the others ask for this one about once a second."""
    broker = broker_with()
    runners = [Runner(broker.consumer_many("orders")).start() for _ in range(10)]
    time.sleep(0.5)
    client.config_resetstat()
    time.sleep(2)
    calls = client.info("commandstats")
    asked = sum(calls.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))
    for runner in runners:
        runner.consumer.stop()
    for runner in runners:
        runner.join()
    assert 2 <= asked / 2 <= 20


def test_without_the_rights_nothing_is_handed_back_or_asked_for(broker_with: Make, own_server: EmbeddedServer) -> None:
    with own_server.client() as client:
        commands = "+xadd +xreadgroup +xgroup|create +xack +xdel +xpending"
        client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~orders", *commands.split())
        broker = broker_with(url=own_server.url, user="worker")
        fill(broker, 200)
        first = Runner(broker.consumer_many("orders")).start()
        first.has_a_batch_behind()
        first.stop()
        assert list(pending(client).values()) == [50]
        assert HANDED_BACK not in pending(client)
        second = Runner(broker.consumer_many("orders"))
        second.run_until(100)
        time.sleep(0.5)
        second.consumer.stop()
        second.join()
        assert len(second.seen) == 100


def test_handlers_that_run_at_the_same_time_keep_their_batches(
    async_engine: Any, run: Run, client: redis.Redis
) -> None:
    """They are waited for; what no handler had is handed back."""

    async def scene() -> list[Any]:
        broker = async_engine.new_context().get_event_broker()
        flusher = broker.new_flusher()
        await flusher.publish_many("orders", range(500))
        await flusher.flush()
        consumer = broker.consumer_many("orders")
        seen: list[Any] = []

        async def handle(events: Sequence[Any]) -> None:
            if events[0].body >= 100:
                consumer.stop()
            await asyncio.sleep(0.3)
            seen.extend(event.body for event in events)

        await consumer.run(handle, 50, concurrency=3)
        return seen

    seen = run(scene())
    assert sorted(seen) == list(range(len(seen)))
    assert set(pending(client)) <= {HANDED_BACK}
    assert client.xlen("orders") == 500 - len(seen)


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("partitions", [None, 2])
def test_a_handler_that_takes_too_long_is_cancelled(
    async_engine_with: Any, run: Run, client: redis.Redis, concurrency: int, partitions: int | None
) -> None:
    """Its events are handed back. They were a delivery; what was read ahead was none."""

    async def scene() -> list[Any]:
        broker = async_engine_with(partitions=partitions).new_context().get_event_broker()
        flusher = broker.new_flusher()
        await flusher.publish_many("orders", range(500))
        await flusher.flush()
        consumer = broker.consumer_many("orders")
        begun: list[Any] = []

        async def handle(events: Sequence[Any]) -> None:
            begun.append([event.body for event in events])
            if len(begun) == concurrency or partitions:
                consumer.stop(timeout=0.3)
            await asyncio.sleep(30)

        await consumer.run(handle, 50, concurrency=concurrency)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        other = broker.consumer_many("orders")
        counts: dict[Any, int | None] = {}
        async for events in other.batches(100, 2):
            counts.update({event.body: event.delivery_count for event in events})
            if len(counts) == 500:
                other.stop()
        assert {counts[body] for batch in begun for body in batch} == {2}
        return [body for body, count in counts.items() if count == 1]

    assert len(run(scene())) >= 500 - 50 * concurrency
    assert pending(client) == {}


def test_a_task_that_is_cancelled_as_well_is_told(async_engine_with: Any, run: Run, client: redis.Redis) -> None:
    async def scene() -> None:
        broker = async_engine_with().new_context().get_event_broker()
        await broker.publish("orders", 1)
        consumer = broker.consumer_many("orders")
        called = asyncio.Event()

        async def handle(events: Sequence[Any]) -> None:
            called.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                running.cancel()  # while it is being cut short
                raise

        running = asyncio.ensure_future(consumer.run(handle, 50))
        await called.wait()
        consumer.stop(timeout=0.1)
        with pytest.raises(asyncio.CancelledError):
            await running

    run(scene())
    assert sum(pending(client).values()) == 1


def test_a_handler_may_finish_though_it_is_cancelled(async_engine_with: Any, run: Run, client: redis.Redis) -> None:
    async def scene() -> None:
        broker = async_engine_with().new_context().get_event_broker()
        await broker.publish("orders", 1)
        consumer = broker.consumer_many("orders")

        async def handle(events: Sequence[Any]) -> None:
            consumer.stop(timeout=0.1)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(30)

        await consumer.run(handle, 50)
        await asyncio.sleep(0)  # nothing is left of the cancellation

    run(scene())
    assert pending(client) == {}
    assert client.xlen("orders") == 0
