"""How often an event was delivered: 1 at first, and what the server says for events that come again."""

from __future__ import annotations

import pytest
import redis

from fluxa_fast import EventBroker, EventConsumer
from tests.fix_broker import MakeEngine

KINDS = ["plain", "partitioned", "ordered"]


def consumer_of(broker: EventBroker, kind: str) -> EventConsumer:
    stream = "orders" if kind == "plain" else "parts"
    return broker.consumer_ordered(stream) if kind == "ordered" else broker.consumer_many(stream)


@pytest.fixture
def broker(faces: object, make_client: object, server_url: str, client: redis.Redis) -> EventBroker:
    registry = faces.Registry()  # type: ignore[attr-defined]
    registry.register_redis(server_url)
    registry.register_redis_stream("orders")
    registry.register_redis_stream("parts", partitions=2)
    with registry.validate() as engine:
        yield engine.new_context().get_event_broker()  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_one_at_first_and_counts_each_time_that_the_event_comes_again(broker: EventBroker, kind: str) -> None:
    flusher = broker.new_flusher()
    flusher.publish_many("orders" if kind == "plain" else "parts", range(5))
    flusher.flush()
    consumer = consumer_of(broker, kind)
    counts: list[int | None] = []

    def fail(events: object) -> None:
        counts.extend(event.delivery_count for event in events)  # type: ignore[attr-defined]
        raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            consumer.consume(10, 10, fail)
    assert counts == [1] * 5 + [2] * 5 + [3] * 5
    seen: list[int | None] = []
    assert consumer.consume(10, 10, lambda events: seen.extend(event.delivery_count for event in events)) == 5
    assert seen == [4] * 5


@pytest.mark.parametrize("kind", ["plain", "partitioned"])
def test_a_claimed_event_counts_what_the_other_consumer_was_given(broker: EventBroker, kind: str) -> None:
    broker.publish("orders" if kind == "plain" else "parts", 1)
    with pytest.raises(LookupError):
        consumer_of(broker, kind).consume(10, 10, lambda events: {}[0])  # type: ignore[index]
    counts: list[int | None] = []
    other = consumer_of(broker, kind)
    assert other.auto_claim(10, 0, lambda events: counts.extend(event.delivery_count for event in events)) == 1
    assert counts == [2]


def test_without_the_right_to_ask_it_is_not_known(
    make_engine: MakeEngine, broker: EventBroker, server_url: str, client: redis.Redis
) -> None:
    client.acl_setuser(
        "blind", enabled=True, passwords=["+pass"], keys=["*"], categories=["+@all"], commands=["-xpending"]
    )
    try:
        broker.publish("orders", 1)
        blind = make_engine(server_url, username="blind", password="pass").new_context().get_event_broker()
        consumer = blind.consumer_many("orders")
        counts: list[int | None] = []

        def fail(events: object) -> None:
            counts.extend(event.delivery_count for event in events)  # type: ignore[attr-defined]
            raise LookupError

        for _ in range(2):
            with pytest.raises(LookupError):
                consumer.consume(10, 10, fail)
        assert counts == [1, None]
    finally:
        client.acl_deluser("blind")


def test_a_batch_of_several_pages_comes_again_with_its_counts(broker: EventBroker) -> None:
    """An asyncio consumer reads a large batch page by page."""
    flusher = broker.new_flusher()
    flusher.publish_many("orders", range(9000))
    flusher.flush()
    consumer = broker.consumer_many("orders")
    with pytest.raises(LookupError):
        consumer.consume(9000, None, lambda events: {}[0])  # type: ignore[index]
    sizes: list[int] = []
    counts: set[int | None] = set()

    def handle(events: object) -> None:
        sizes.append(len(events))  # type: ignore[arg-type]
        counts.update(event.delivery_count for event in events)  # type: ignore[attr-defined]

    assert consumer.consume(9000, None, handle) == 9000
    assert (sizes, counts) == ([9000], {2})
