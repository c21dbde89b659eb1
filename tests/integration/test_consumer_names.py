"""Consumers of `consumer_many` with a name that stays."""

from __future__ import annotations

import pytest

from fluxa_fast import EventBroker


@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
def test_a_consumer_has_the_name_that_it_was_given(broker: EventBroker, client: object, delivery: str) -> None:
    consumer = broker.consumer_many("orders", name="worker-3", delivery=delivery)  # type: ignore[arg-type]
    consumer.consume(1, None, print)
    assert consumer.name == "worker-3"
    assert [one["name"] for one in client.xinfo_consumers("orders", "consumer_group")] == [b"worker-3"]  # type: ignore[attr-defined]


def test_the_next_consumer_of_the_name_is_given_what_is_pending(broker: EventBroker) -> None:
    broker.publish("orders", 1)
    with pytest.raises(LookupError):
        broker.consumer_many("orders", name="worker-3").consume(1, None, lambda events: {}[0])  # type: ignore[index]
    assert broker.consumer_many("orders").consume(1, None, print) == 0
    seen: list[object] = []
    broker.consumer_many("orders", name="worker-3").consume(1, None, lambda events: seen.extend(events))
    assert [(event.body, event.delivery_count) for event in seen] == [(1, 2)]  # type: ignore[attr-defined]


def test_a_typed_stream_names_its_consumers_too(broker: EventBroker) -> None:
    assert broker.register_body("orders", int).consumer_many(name="worker-3").name == "worker-3"


@pytest.mark.parametrize("name", ["", "consumer-single", "consumer-ordered", "\ud800", 3, b"worker"])
def test_a_name_that_can_not_be_one_is_refused(broker: EventBroker, name: object) -> None:
    with pytest.raises((TypeError, ValueError), match="name"):
        broker.consumer_many("orders", name=name)  # type: ignore[arg-type]
