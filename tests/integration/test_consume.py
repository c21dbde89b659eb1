"""Promise 4: an event is acknowledged only after it was handled; promise 5: cleanup loses nothing.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import redis

from fluxa_fast import Engine, Event, EventBroker, EventConsumer, FluxaError, SerializationError
from fluxa_fast.protocol import Implementation
from tests.fix_servers import before_redis_7
from tests.threads import needs_gil

MakeEngine = Callable[..., Engine]
Later = Callable[..., None]
GROUP = "consumer_group"


class HandlerError(Exception):
    """What a failing handler raises."""


def fail(events: Sequence[Event]) -> None:
    raise HandlerError


def bodies_into(seen: list[Any]) -> Callable[[Sequence[Event]], None]:
    return lambda events: seen.append([event.body for event in events])


def publish(broker: EventBroker, count: int, begin: int = 0) -> None:
    flusher = broker.new_flusher()
    for number in range(begin, begin + count):
        flusher.publish("orders", number)
    flusher.flush()


def pending(client: redis.Redis) -> int:
    return int(client.xpending("orders", GROUP)["pending"])


def test_promise_4_nothing_is_acknowledged_before_the_handler_returned(
    broker: EventBroker, client: redis.Redis
) -> None:
    publish(broker, 5)
    consumer = broker.consumer_single("orders")

    def handle(events: Sequence[Event]) -> None:
        assert pending(client) == 5
        assert client.xlen("orders") == 5
        assert not any(event.acknowledged for event in events)

    assert consumer.consume(10, None, handle) == 5
    assert pending(client) == client.xlen("orders") == 0


def test_the_handler_is_never_given_nothing(broker: EventBroker) -> None:
    assert broker.consumer_single("orders").consume(10, None, fail) == 0
    assert broker.consumer_single("orders").consume(10, 0.01, fail) == 0
    assert broker.consumer_single("orders").auto_claim(10, 0, fail) == 0


@pytest.mark.parametrize(
    "error",
    [
        HandlerError("mine"),
        pytest.param(StopIteration("odd"), marks=pytest.mark.blocking),  # no coroutine can raise it
        pytest.param(KeyboardInterrupt(), marks=pytest.mark.blocking),  # ends an event loop
    ],
)
def test_promise_4_a_failing_handler_leaves_events_pending_and_they_come_again(
    broker: EventBroker, client: redis.Redis, error: BaseException
) -> None:
    publish(broker, 4)
    consumer = broker.consumer_single("orders")

    def handle(events: Sequence[Event]) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        consumer.consume(3, None, handle)
    assert caught.value is error
    assert pending(client) == 3
    seen: list[Any] = []
    consumer.consume(3, None, bodies_into(seen))
    consumer.consume(3, None, bodies_into(seen))
    assert seen == [[0, 1, 2], [3]]
    assert pending(client) == client.xlen("orders") == 0


def test_a_new_consumer_of_the_same_name_replays_what_is_pending_before_what_is_new(
    broker: EventBroker, client: redis.Redis
) -> None:
    publish(broker, 5)
    with pytest.raises(HandlerError):
        broker.consumer_single("orders").consume(5, None, fail)
    publish(broker, 2, begin=5)
    seen: list[Any] = []
    consumer = broker.consumer_single("orders")
    while consumer.consume(2, None, bodies_into(seen)):
        pass
    assert [one for batch in seen for one in batch] == [0, 1, 2, 3, 4, 5, 6]
    assert seen[0] == [0, 1]


def test_replay_and_normal_read_in_one_call(broker: EventBroker) -> None:
    publish(broker, 3)
    with pytest.raises(HandlerError):
        broker.consumer_single("orders").consume(3, None, fail)
    publish(broker, 2, begin=3)
    seen: list[Any] = []
    assert broker.consumer_single("orders").consume(10, 5.0, bodies_into(seen)) == 5
    assert seen == [[0, 1, 2], [3, 4]]


def test_events_can_be_acknowledged_by_hand_and_twice(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 3)

    def handle(events: Sequence[Event]) -> None:
        events[1].ack()
        events[1].ack()
        assert events[1].acknowledged
        assert pending(client) == client.xlen("orders") == 2
        raise HandlerError

    consumer = broker.consumer_single("orders")
    with pytest.raises(HandlerError):
        consumer.consume(3, None, handle)
    seen: list[Event] = []
    consumer.consume(3, None, seen.extend)
    assert [event.body for event in seen] == [0, 2]
    seen[0].ack()
    assert pending(client) == client.xlen("orders") == 0


def test_all_acknowledged_by_hand(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 3)

    def handle(events: Sequence[Event]) -> None:
        for event in events:
            event.ack()

    assert broker.consumer_single("orders").consume(3, None, handle) == 3
    assert pending(client) == client.xlen("orders") == 0


def test_block_waits_and_returns_when_something_comes(broker: EventBroker, later: Later) -> None:
    consumer = broker.consumer_single("orders")
    began = time.monotonic()
    assert consumer.consume(10, timedelta(milliseconds=300), fail) == 0
    assert time.monotonic() - began >= 0.3
    later(0.2, broker.publish, "orders", "late")
    seen: list[Any] = []
    assert consumer.consume(10, math.inf, bodies_into(seen)) == 1
    assert seen == [["late"]]


def test_promise_6_block_never_trips_the_socket_timeout(
    make_engine: MakeEngine, server_url: str, client: redis.Redis
) -> None:
    broker = make_engine(server_url, socket_timeout=1).new_context().get_event_broker()
    assert broker.consumer_single("orders").consume(1, 2.5, fail) == 0


def test_stop_ends_a_waiting_consume(broker: EventBroker, later: Later) -> None:
    consumer = broker.consumer_single("orders")
    later(0.2, consumer.stop)
    assert consumer.consume(1, math.inf, fail) == 0
    broker.publish("orders", 1)
    assert consumer.consume(1, None, print) == 1  # it may go on


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, 1.0), ValueError),
        ((-1, None), ValueError),
        (("1", None), TypeError),
        ((True, None), TypeError),
        ((1, -1), ValueError),
        ((1, math.nan), ValueError),
        ((1, "1"), TypeError),
    ],
)
def test_bad_arguments_are_refused(broker: EventBroker, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"count|block"):
        broker.consumer_single("orders").consume(*arguments, print)
    with pytest.raises(error, match=r"count|block"):
        broker.consumer_single("orders").batches(*arguments)


# ---- run and batches ----------------------------------------------------------------------------------


def test_run_handles_everything_until_stop(broker: EventBroker, client: redis.Redis, later: Later) -> None:
    publish(broker, 2500)
    consumer = broker.consumer_single("orders")
    seen: list[int] = []

    def handle(events: Sequence[Event]) -> None:
        seen.extend(event.body for event in events)
        if len(seen) == 2500:
            later(0.1, broker.publish, "orders", 2500)
        if len(seen) == 2501:
            consumer.stop()

    consumer.run(handle, count=100)
    assert seen == list(range(2501))
    assert pending(client) == client.xlen("orders") == 0


def test_run_stopped_in_the_middle_leaves_exactly_the_unhandled_events(
    broker: EventBroker, client: redis.Redis
) -> None:
    publish(broker, 1000)
    consumer = broker.consumer_single("orders")
    seen: list[int] = []

    def handle(events: Sequence[Event]) -> None:
        seen.extend(event.body for event in events)
        if len(seen) >= 300:
            consumer.stop()

    consumer.run(handle, count=100)
    assert seen == list(range(300))
    assert client.xlen("orders") == 700
    assert pending(client) <= 100
    for events in consumer.batches(100, None):
        seen.extend(event.body for event in events)
    assert seen == list(range(1000))


@pytest.mark.parametrize("error", [HandlerError(), pytest.param(KeyboardInterrupt(), marks=pytest.mark.blocking)])
def test_run_ended_by_an_exception_leaves_exactly_the_unhandled_events(
    broker: EventBroker, client: redis.Redis, error: BaseException
) -> None:
    publish(broker, 1000)
    consumer = broker.consumer_single("orders")
    seen: list[int] = []

    def handle(events: Sequence[Event]) -> None:
        if len(seen) >= 500:
            raise error
        seen.extend(event.body for event in events)

    with pytest.raises(type(error)) as caught:
        consumer.run(handle, count=100)
    assert caught.value is error
    assert client.xlen("orders") == 500
    assert [fields[b"s"] for _, fields in client.xrange("orders", count=1)] == [b"\xcd\x01\xf4"]
    rest: list[int] = []
    for events in consumer.batches(100, None):
        rest.extend(event.body for event in events)
    assert rest == list(range(500, 1000))


def test_batches_are_acknowledged_when_the_next_is_asked_for(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 30)
    consumer = broker.consumer_single("orders")
    seen: list[int] = []
    for events in consumer.batches(count=10, block=None):
        seen.extend(event.body for event in events)
        if len(seen) == 20:
            break
    assert client.xlen("orders") == 20  # the batch in which the loop was left is not acknowledged
    again = [event.body for events in consumer.batches(10, block=None) for event in events]
    assert again == list(range(10, 30))
    assert pending(client) == client.xlen("orders") == 0


def test_an_exception_in_the_loop_over_batches(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 30)
    consumer = broker.consumer_single("orders")
    with pytest.raises(HandlerError):
        for _ in consumer.batches(count=10, block=None):
            raise HandlerError
    assert client.xlen("orders") == 30
    assert sum(len(events) for events in consumer.batches(10, None)) == 30


def test_batches_end_when_nothing_comes(broker: EventBroker) -> None:
    publish(broker, 3)
    began = time.monotonic()
    assert [len(events) for events in broker.consumer_single("orders").batches(10, block=0.3)] == [3]
    assert time.monotonic() - began >= 0.3


def test_ack_within_run_works_while_a_read_is_under_way(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 100)
    consumer = broker.consumer_single("orders")
    for events in consumer.batches(10, None):
        for event in events[::2]:
            event.ack()
    assert pending(client) == client.xlen("orders") == 0


# ---- deleted entries, claims, cleanup ------------------------------------------------------------------


def test_pending_entries_that_were_deleted_are_acknowledged_and_counted(
    broker: EventBroker, client: redis.Redis
) -> None:
    publish(broker, 6)
    ids = [id for id, _ in client.xrange("orders")]
    with pytest.raises(HandlerError):
        broker.consumer_single("orders").consume(6, None, fail)
    client.xdel("orders", *ids[:3], ids[4])
    consumer = broker.consumer_single("orders")
    seen: list[Any] = []
    while consumer.consume(2, None, bodies_into(seen)):
        pass
    assert seen == [[3], [5]]
    assert consumer.deleted == 4
    assert pending(client) == 0


def test_auto_claim_follows_the_cursor_and_passes_deleted_entries(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 250)
    ids = [id for id, _ in client.xrange("orders")]
    with pytest.raises(HandlerError):
        broker.consumer_many("orders").consume(250, None, fail)
    client.xdel("orders", *ids[:100])
    time.sleep(0.01)
    consumer = broker.consumer_many("orders")
    seen: list[Any] = []
    assert consumer.auto_claim(7, 0.001, bodies_into(seen)) == 150
    assert [one for batch in seen for one in batch] == list(range(100, 250))
    assert max(map(len, seen)) <= 7
    if before_redis_7(client):
        return
    assert consumer.deleted == 100
    assert pending(client) == client.xlen("orders") == 0


def test_auto_claim_leaves_what_is_not_idle_for_long_enough(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 3)
    with pytest.raises(HandlerError):
        broker.consumer_many("orders").consume(3, None, fail)
    assert broker.consumer_many("orders").auto_claim(10, timedelta(minutes=10), fail) == 0
    assert pending(client) == 3


def test_a_failing_handler_of_auto_claim_leaves_events_pending(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 3)
    with pytest.raises(HandlerError):
        broker.consumer_many("orders").consume(3, None, fail)
    consumer = broker.consumer_many("orders")
    with pytest.raises(HandlerError):
        consumer.auto_claim(10, 0, fail)
    assert client.xpending("orders", GROUP)["consumers"] == [{"name": consumer.name.encode(), "pending": 3}]
    seen: list[Any] = []
    consumer.consume(10, None, bodies_into(seen))
    assert seen == [[0, 1, 2]]


def test_promise_5_cleanup_never_loses_events(broker: EventBroker, client: redis.Redis) -> None:
    publish(broker, 5)
    with pytest.raises(HandlerError), broker.consumer_many("orders") as consumer:
        consumer.consume(3, None, fail)
    assert consumer.cleanup() == 3
    assert [one["name"] for one in client.xinfo_consumers("orders", GROUP)] == [consumer.name.encode()]
    assert broker.consumer_many("orders").auto_claim(10, 0, print) == 3
    assert consumer.cleanup() == 0
    assert consumer.name.encode() not in [one["name"] for one in client.xinfo_consumers("orders", GROUP)]


def test_cleanup_without_a_group(broker: EventBroker, client: redis.Redis) -> None:
    assert broker.consumer_single("orders").cleanup() == 0
    assert not client.exists("orders")


def test_promise_5_cleanup_without_the_right_to_run_scripts(
    make_engine: MakeEngine, server_url: str, client: redis.Redis, broker: EventBroker
) -> None:
    client.acl_setuser("bob", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-@scripting"])
    url = server_url.replace("redis://", "redis://bob:secret@")
    theirs = make_engine(url).new_context().get_event_broker()
    publish(broker, 2)
    consumer = theirs.consumer_single("orders")
    with pytest.raises(HandlerError):
        consumer.consume(2, None, fail)
    assert consumer.cleanup() == 2
    assert consumer.consume(2, None, print) == 2
    assert consumer.cleanup() == 0


def test_a_foreign_group_is_left_alone(broker: EventBroker, client: redis.Redis) -> None:
    client.xgroup_create("orders", "theirs", "0", mkstream=True)
    publish(broker, 3)
    client.xreadgroup("theirs", "them", {"orders": ">"})
    broker.consumer_single("orders").consume(10, None, print)
    assert client.xpending("orders", "theirs")["pending"] == 3


# ---- events -------------------------------------------------------------------------------------------


def test_a_body_that_is_not_msgpack_names_its_event(broker: EventBroker, client: redis.Redis) -> None:
    id = client.xadd("orders", {"s": b"\xc1"}).decode()
    seen: list[Event] = []
    broker.consumer_single("orders").consume(1, None, seen.extend)
    with pytest.raises(SerializationError, match=f"orders: event {id}: byte 0"):
        _ = seen[0].body
    assert seen[0].raw_body == b"\xc1"


def test_ack_outside_of_a_group(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    reader.feed(b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\ns\r\n$1\r\n\x01\r\n")
    batch: Any = reader.read_range("orders")
    with pytest.raises(FluxaError, match="was not read by a consumer"):
        batch.events[0].ack()


@needs_gil
def test_consumers_that_were_forgotten_give_their_connections_back(
    make_engine: MakeEngine, server_url: str, client: redis.Redis
) -> None:
    broker = make_engine(server_url, max_connections=3).new_context().get_event_broker()
    for number in range(10):
        broker.publish("orders", number)
        consumer = broker.consumer_single("orders")
        with pytest.raises(LookupError):
            consumer.consume(1, None, lambda events: {}[0])  # type: ignore[index]
        gc.collect()  # redis-py 5.0 leaves a cycle behind when it connects to a Redis before 7.2
        for events in consumer.batches(1, None):
            assert [event.body for event in events] == [number]
            events[0].ack()


def test_consumer_reads_on_one_connection(broker: EventBroker, client: redis.Redis) -> None:
    before = client.info("stats")["total_connections_received"]
    consumer: EventConsumer = broker.consumer_single("orders")
    for number in range(10):
        broker.publish("orders", number)
        consumer.consume(1, None, print)
    assert client.info("stats")["total_connections_received"] - before <= 2
