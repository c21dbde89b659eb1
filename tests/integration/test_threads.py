"""Threads: each with a flusher and a consumer of its own, all of them in one broker, and two where one belongs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker, FluxaError
from tests.threads import run_concurrently_blocking

THREADS = 6

pytestmark = pytest.mark.blocking


def test_threads_each_with_a_flusher_and_a_consumer(broker: EventBroker, client: redis.Redis) -> None:
    """Of one broker."""
    seen: list[list[Any]] = [[] for _ in range(THREADS)]

    def work(number: int) -> None:
        def handle(events: Any) -> None:
            seen[number].extend(tuple(event.body) for event in events)

        flusher = broker.new_flusher(eager=bool(number % 2))
        with broker.consumer_many("orders") as consumer:
            for turn in range(20):
                flusher.publish_many("orders", [(number, turn, place) for place in range(100)])
                assert len(flusher.flush()) == 100
                consumer.consume(200, None, handle)
            while consumer.consume(200, None, handle):
                pass

    run_concurrently_blocking([lambda number=number: work(number) for number in range(THREADS)])  # type: ignore[misc]
    handled = [event for part in seen for event in part]
    assert len(handled) == len(set(handled)) == THREADS * 20 * 100
    assert client.xlen("orders") == 0


def test_threads_that_share_a_broker(broker: EventBroker, client: redis.Redis) -> None:
    """Each publishes, asks for statistics, and makes consumers, which acknowledge each other's events."""
    handled: list[Any] = []

    def work(number: int) -> None:
        for turn in range(30):
            broker.publish("orders", {"number": number, "turn": turn}, {"thread": str(number)})
            statistics = broker.get_stream_statistics("orders")
            assert statistics is not None
            consumer = broker.consumer_many("orders")
            for events in consumer.batches(10, None):
                handled.extend((event.body["number"], event.body["turn"]) for event in events)
            consumer.cleanup()

    run_concurrently_blocking([lambda number=number: work(number) for number in range(THREADS)])  # type: ignore[misc]
    with broker.consumer_many("orders") as last:
        last.auto_claim(1000, 0.0, lambda events: handled.extend((e.body["number"], e.body["turn"]) for e in events))
        last.consume(1000, None, lambda events: handled.extend((e.body["number"], e.body["turn"]) for e in events))
    assert sorted(handled) == [(number, turn) for number in range(THREADS) for turn in range(30)]
    assert client.xlen("orders") == 0


def test_events_are_acknowledged_by_other_threads(broker: EventBroker, client: redis.Redis) -> None:
    for number in range(60):
        broker.publish("orders", number)
    with broker.consumer_many("orders") as consumer:

        def handle(events: Any) -> None:
            parts = [events[place::THREADS] for place in range(THREADS)]
            run_concurrently_blocking([lambda part=part: [event.ack() for event in part] for part in parts])  # type: ignore[misc]
            assert client.xlen("orders") == 0
            assert all(event.acknowledged for event in events)

        assert consumer.consume(60, None, handle) == 60


def test_a_flusher_is_handed_from_thread_to_thread(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    for number in range(5):
        run_concurrently_blocking([lambda number=number: (flusher.publish("orders", number), flusher.flush())])  # type: ignore[misc]
    assert [fields[b"s"] for _, fields in client.xrange("orders")] == [b"%c" % number for number in range(5)]


def test_a_consumer_in_use_is_refused_to_another_thread(broker: EventBroker) -> None:
    broker.publish("orders", 1)
    consumer = broker.consumer_many("orders")
    handling, done = threading.Event(), threading.Event()

    def handle(events: Any) -> None:
        handling.set()
        done.wait(10)

    def other() -> None:
        handling.wait(10)
        try:
            for use in (
                lambda: consumer.consume(1, None, print),
                lambda: consumer.auto_claim(1, 0, print),
                lambda: consumer.run(print),
                lambda: next(consumer.batches()),  # type: ignore[call-overload]
                consumer.cleanup,
            ):
                with pytest.raises(FluxaError, match="the consumer is in use by another thread"):
                    use()
        finally:
            done.set()

    run_concurrently_blocking([lambda: consumer.consume(1, None, handle), other])
    assert consumer.cleanup() == 0


def test_a_flusher_in_use_is_refused_to_another_thread(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    flusher.publish("orders", 1)

    def flush() -> None:
        client.client_pause(600)
        flusher.flush()

    def other() -> None:
        time.sleep(0.2)
        for use in (flusher.flush, flusher.clear, flusher.discard_refused):
            with pytest.raises(FluxaError, match="the flusher is in use by another thread; make one flusher for each"):
                use()

    run_concurrently_blocking([flush, other])
    flusher.publish("orders", 2)
    assert len(flusher.flush()) == 1
    assert client.xlen("orders") == 2
