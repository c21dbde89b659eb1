"""The original's own behaviour tests, and its guide, in Python."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from fluxa_fast import Event, EventBroker

Events = Sequence[Event]


def nothing(events: Events) -> None:
    """A handler that is content."""


def test_single_consumer_takes_what_it_asked_for_and_can_be_used_after_cleanup(
    broker: EventBroker, client: redis.Redis
) -> None:
    flusher = broker.new_flusher()
    for number in range(1, 11):
        flusher.publish("orders", {"Name": f"a{number}"})
    flusher.flush()
    consumer = broker.consumer_single("orders")
    consumer.consume(1, 0.001, nothing)
    assert client.xlen("orders") == 9
    consumer.consume(9, 0.001, nothing)
    assert client.xlen("orders") == 0
    assert consumer.cleanup() == 0
    for number in range(1, 11):
        flusher.publish("orders", {"Name": f"a{number}"})
    flusher.flush()
    consumer.consume(100, 0.001, nothing)
    consumer.cleanup()
    assert client.xlen("orders") == 0


def test_two_consumers_share_a_stream(broker: EventBroker, client: redis.Redis) -> None:
    for number in range(1, 11):
        broker.publish("orders", {"Name": f"a{number}"})
    taken: dict[str, int] = {}
    first_has_its_batch = threading.Event()

    def work(name: str, pause: float) -> None:
        with broker.consumer_many("orders") as consumer:

            def handle(events: Events) -> None:
                taken[name] = len(events)
                assert events[0].id
                first_has_its_batch.set()
                time.sleep(pause)

            consumer.consume(5, 0.001, handle)

    threads = [threading.Thread(target=work, args=("first", 0.1)), threading.Thread(target=work, args=("second", 0))]
    threads[0].start()
    assert first_has_its_batch.wait(5)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert taken == {"first": 5, "second": 5}
    assert client.xlen("orders") == 0
    assert client.xinfo_consumers("orders", "consumer_group") == []


def test_what_a_failing_handler_leaves_is_claimed_by_another_consumer(broker: EventBroker, client: redis.Redis) -> None:
    for number in range(1, 11):
        broker.publish("orders", {"Name": f"a{number}"})
    consumer = broker.consumer_many("orders")

    def fail(events: Events) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match=r"^stop$"):
        consumer.consume(3, 0.001, fail)
    pending: Any = client.xpending("orders", "consumer_group")
    assert pending["pending"] == 3
    assert pending["consumers"] == [{"name": consumer.name.encode(), "pending": 3}]
    time.sleep(0.005)
    other = broker.consumer_many("orders")
    assert other.auto_claim(3, 0.001, nothing) == 3
    assert client.xpending("orders", "consumer_group")["pending"] == 0
    assert client.xlen("orders") == 7


def test_names_of_consumers(broker: EventBroker) -> None:
    assert broker.consumer_single("orders").name == "consumer-single"
    names = {broker.consumer_many("orders").name for _ in range(20)}
    assert len(names) == 20
    for name in names:
        assert re.fullmatch(r"consumer-\d{4}(_\d\d){5}-\d{1,20}", name)


def test_the_guides_ten_lines(broker: EventBroker) -> None:
    order = {"UserID": 1, "ProductID": 42, "Quantity": 3}
    id = broker.publish("orders", order, {"action": "created", "priority": "high"})
    with broker.consumer_single("orders") as consumer:
        seen: list[Event] = []
        consumer.consume(10, 5.0, seen.extend)
    (event,) = seen
    assert event.id == id
    assert event.stream == "orders"
    assert event.body == order
    assert event.unserialize() == order
    assert event.tag("action") == "created"
    assert event.tag("priority") == "high"
    assert event.tag("missing") == ""
    assert event.tags == {"action": "created", "priority": "high"}
    assert abs(event.timestamp.timestamp() - time.time()) < 60
    assert event.acknowledged


def test_entries_that_the_original_wrote_are_read(broker: EventBroker, client: redis.Redis) -> None:
    """Raw XADDs, as Go's client sends them: fields in any order, with duplicates, without a body."""
    body = bytes.fromhex("83a655736572494401a950726f6475637449442aa85175616e7469747903")
    client.execute_command("XADD", "orders", "*", "s", body, "k", "1", "k", "2")
    client.execute_command("XADD", "orders", "*", "only", "tags")
    client.execute_command("XADD", "orders", "*", "s", body, "s", "shadow")
    client.execute_command("XADD", "orders", "*", "s", "not msgpack \xc1")
    seen: list[Event] = []
    broker.consumer_single("orders").consume(10, None, seen.extend)
    order = {"UserID": 1, "ProductID": 42, "Quantity": 3}
    assert [event.tags for event in seen] == [{"k": "2"}, {"only": "tags"}, {"s": "shadow"}, {}]
    assert [event.body for event in seen[:3]] == [order, None, order]
    with pytest.raises(Exception, match=r"orders: event \d+-\d+: .*byte"):
        _ = seen[3].body
