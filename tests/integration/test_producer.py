"""The producer on both faces: what was accepted is confirmed, refused, given up or left, in order and within bounds."""

from __future__ import annotations

import gc
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError, OutOfMemoryError, ResponseError

from fluxa_fast import (
    DeliveryTimeoutError,
    FluxaError,
    Keep,
    NotReplicatedError,
    Packing,
    PartitionsDifferError,
    ProducerFullError,
    SerializationError,
    UnregisteredStreamError,
)
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.hooks import FlushReport, OutageReport
from tests.fix_cluster import ON_CLUSTERS
from tests.integration.test_hooks import Told
from tests.proxy import Proxy
from tests.running import until

Make = Callable[..., Any]


@pytest.fixture
def broker_of(faces: Any, server_url: str, client: redis.Redis) -> Iterator[Make]:
    """Makes a broker with the stream `orders`, registered with these arguments, and the plain stream `users`."""
    engines = []

    def make(url: str = server_url, hooks: Any = (), codec: Any = None, **options: Any) -> Any:
        registry = faces.Registry(hooks=hooks, **(codec or {}))
        registry.register_redis(url, socket_timeout=10, socket_connect_timeout=10)
        registry.register_redis_stream("orders", **options)
        registry.register_redis_stream("users")
        engine = registry.validate()
        engines.append(engine)
        return engine.new_context().get_event_broker()

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def broker(broker_of: Make) -> Any:
    return broker_of()


def balanced(producer: Any) -> Any:
    """The counters, which add up."""
    counters = producer.counters
    settled = counters.confirmed + counters.refused + counters.given_up + counters.waiting
    assert counters.accepted == settled, counters
    return counters


def bodies(broker: Any, stream: str = "orders") -> list[Any]:
    return [event.body for event in broker.read(stream)]


def id_of(outcome: Any) -> str:
    """What `publish_confirmed` gives: a future, or on asyncio the ID, because these tests await it."""
    return outcome if isinstance(outcome, str) else outcome.result(30)


# ---- everything arrives, in order --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"packed": Packing(max_events=50)}, {"partitions": 3}], ids=str)
def test_everything_arrives_once_in_order_and_is_reported(broker_of: Make, options: dict[str, Any]) -> None:
    broker = broker_of(**options)
    reports: list[Any] = []
    with broker.new_producer(on_delivery=reports.append, max_batch_bytes=4000, linger=0.001) as producer:
        for number in range(300):
            producer.publish("orders", number, {"n": str(number)})
            producer.publish("users", -number)
        assert producer.publish_many("orders", range(300, 3000), {"many": "yes"}) == 2700
        producer.flush()
        assert len(producer) == producer.buffered_bytes == 0
    counters = balanced(producer)
    assert (counters.accepted, counters.confirmed, counters.waiting) == (3300, 3300, 0)
    assert len(reports) > 5
    assert all(report.complete and not report.undelivered for report in reports)
    assert sum(report.events for report in reports) == 3300
    assert all(report.attempts == 1 and report.seconds >= 0 and report.pool == "default" for report in reports)
    found = list(broker.read("orders"))
    stored = [event.id for event in (*found, *broker.read("users"))]  # two streams may have the same IDs
    assert sorted(id for report in reports for id in report.confirmed) == sorted(stored)
    if "partitions" in options:
        assert sorted(event.body for event in found) == list(range(3000))
        by_key: dict[str, list[int]] = {}
        for event in found:
            by_key.setdefault(event.stream, []).append(event.body)
        assert all(one == sorted(one) for one in by_key.values())
    else:
        assert [event.body for event in found] == list(range(3000))
    assert [event.tags for event in found if event.body in (7, 700)] == [{"n": "7"}, {"many": "yes"}]
    assert bodies(broker, "users") == [-number for number in range(300)]


def test_an_event_alone_is_sent_without_being_asked_for(broker: Any, client: redis.Redis) -> None:
    producer = broker.new_producer(linger=0.01)
    for number in range(3):
        producer.publish("orders", number)
        until(lambda wanted=number + 1: client.xlen("orders") == wanted)
        assert client.xlen("orders") == number + 1
    producer.close()


def test_linger_waits_for_others_and_a_full_batch_does_not(broker: Any, client: redis.Redis) -> None:
    reports: list[Any] = []
    with broker.new_producer(linger=300, on_delivery=reports.append) as producer:
        producer.publish("orders", 1)
        time.sleep(0.1)
        assert client.xlen("orders") == 0
        producer.publish("orders", "x" * 70_000)  # worth sending
        until(lambda: client.xlen("orders") == 2)
        producer.publish("orders", 2)
        time.sleep(0.1)
        assert client.xlen("orders") == 2
        assert id_of(producer.publish_confirmed("orders", 3))  # the caller waits for it
        producer.publish("orders", 4)
        producer.flush()
        producer.publish("orders", 5)
    assert client.xlen("orders") == 6
    assert [report.events for report in reports] == [2, 2, 1, 1]


def test_threads_share_a_producer_and_each_keeps_its_order(broker: Any) -> None:
    counts = [0] * 8
    with broker.new_producer(max_buffered_events=500, linger=0.002) as producer:

        def work(number: int) -> None:
            for place in range(100):
                producer.publish("orders", [number, place])
                counts[number] += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert counts == [100] * 8
    seen: dict[int, list[int]] = {}
    for number, place in bodies(broker):
        seen.setdefault(number, []).append(place)
    assert seen == {number: list(range(100)) for number in range(8)}


def test_a_confirmed_event_tells_its_id_or_why_there_is_none(broker: Any, client: redis.Redis) -> None:
    client.set("users", "no stream")
    with broker.new_producer() as producer:
        id = id_of(producer.publish_confirmed("orders", 1, {"a": "b"}))
        assert [(event.id, event.tags) for event in broker.read("orders")] == [(id, {"a": "b"})]
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            id_of(producer.publish_confirmed("users", 1))
        assert id_of(producer.publish_confirmed("orders", 2, id="99999999999999-1")) == "99999999999999-1"
        with pytest.raises(ResponseError, match="equal or smaller"):
            id_of(producer.publish_confirmed("orders", 2, id="99999999999999-1"))


def test_typed_bodies_are_checked_and_given_back(broker: Any, client: redis.Redis) -> None:
    @dataclass
    class Order:
        number: int

    orders = broker.register_body("orders", Order)
    reports: list[Any] = []
    with broker.new_producer(on_error=reports.append) as producer:
        own = getattr(producer, "_target", producer)  # asyncio: what is called in the event loop
        orders.produce(own, Order(1), {"a": "b"})
        with pytest.raises(SerializationError, match="orders"):
            producer.publish("orders", {"number": 2})
        producer.flush()
        client.delete("orders")
        client.set("orders", "no stream")
        orders.produce(own, Order(2), {"c": "d"})
    (report,) = reports
    (event,) = report.undelivered
    assert (event.body, event.tags, event.stream) == (Order(2), {"c": "d"}, "orders")
    assert event.unserialize(dict) == {"number": 2}
    with pytest.raises(FluxaError, match="consumer"):
        event.ack()


# ---- bad input ---------------------------------------------------------------------------------------------


def test_bad_input_is_refused_and_changes_nothing(broker: Any, client: redis.Redis) -> None:
    with broker.new_producer(linger=100) as producer:
        producer.publish("orders", 1)
        with pytest.raises(UnregisteredStreamError):
            producer.publish("nowhere", 1)
        with pytest.raises(SerializationError, match="orders: body"):
            producer.publish("orders", object())
        with pytest.raises(SerializationError, match=r"orders: bodies\[300\]"):
            producer.publish_many("orders", [*range(300), object()])
        with pytest.raises(TypeError):
            producer.publish_many("orders", "text")
        with pytest.raises(ValueError, match="partitions"):
            producer.publish("orders", 1, key="a")
        assert len(producer) == 257  # and the first 256 bodies, which were accepted together
    assert client.xlen("orders") == 257


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"on_full": "block"}, ValueError, "'wait', 'raise' or 'drop'"),
        ({"linger": -1}, ValueError, "linger"),
        ({"linger": "5"}, TypeError, "linger"),
        ({"max_batch_bytes": 0}, ValueError, "max_batch_bytes"),
        ({"max_buffered_bytes": 1.5}, TypeError, "max_buffered_bytes"),
        ({"max_buffered_events": True}, TypeError, "max_buffered_events"),
        ({"on_delivery": 5}, TypeError, "on_delivery"),
        ({"on_error": []}, TypeError, "on_error"),
        ({"delivery_timeout": -1}, ValueError, "delivery_timeout"),
        ({"full_timeout": "1"}, TypeError, "full_timeout"),
        ({"exit_timeout": None}, TypeError, "exit_timeout"),
        ({"replicas": -1}, ValueError, "replicas"),
        ({"replicas": 1, "replicas_timeout": -1}, ValueError, "replicas_timeout"),
    ],
)
@pytest.mark.any_server
def test_arguments_that_can_not_be_right_are_refused(
    broker: Any, options: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        broker.new_producer(**options)


def test_a_hook_that_publishes_into_the_same_producer_is_refused(broker_of: Make) -> None:
    producers: list[Any] = []

    def default(value: object) -> str:
        producers[0].publish("users", 1)
        return "never"

    broker = broker_of(codec={"default": default})
    with broker.new_producer() as producer:
        producers.append(getattr(producer, "_target", producer))  # asyncio: the hook runs in the event loop
        with pytest.raises(SerializationError):
            producer.publish("orders", object())
        producer.publish("orders", 2)
    assert bodies(broker) == [2]


# ---- what the server does not take -------------------------------------------------------------------------


def test_a_stream_that_is_refused_does_not_hold_up_the_others(broker: Any, client: redis.Redis) -> None:
    client.set("users", "no stream")
    errors: list[Any] = []
    with broker.new_producer(on_error=errors.append) as producer:
        for number in range(100):
            producer.publish("orders" if number % 2 else "users", number, {"n": str(number)})
    assert bodies(broker) == list(range(1, 100, 2))
    counters = balanced(producer)
    assert (counters.confirmed, counters.refused) == (50, 50)
    assert sum(len(report.refused) for report in errors) == 50
    assert all(one.code == "WRONGTYPE" and one.stream == "users" for report in errors for one in report.refused)
    undelivered = [event for report in errors for event in report.undelivered]
    assert [(event.body, event.tags) for event in undelivered] == [(n, {"n": str(n)}) for n in range(0, 100, 2)]
    first = errors[0]
    assert len(first.confirmed) + len(first.refused) == first.events
    assert not first.complete


def test_the_events_of_a_refused_packed_entry_are_given_back(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(packed=True)
    client.set("orders", "no stream")
    errors: list[Any] = []
    with broker.new_producer(on_error=errors.append, linger=0.05) as producer:
        for number in range(20):
            producer.publish("orders", number, {"n": str(number)})
            producer.publish("users", number)
    undelivered = [event for report in errors for event in report.undelivered]
    assert [(event.body, event.tags) for event in undelivered] == [(n, {"n": str(n)}) for n in range(20)]
    assert bodies(broker, "users") == list(range(20))
    assert balanced(producer).refused == 20


def test_without_a_callback_the_log_tells_of_what_was_refused(
    broker: Any, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.set("users", "no stream")
    with caplog.at_level(logging.ERROR, "fluxa_fast"), broker.new_producer() as producer:
        producer.publish_many("users", [1, 2])
    assert "2 events of a producer were refused" in caplog.text
    assert "WRONGTYPE" in caplog.text


def test_another_number_of_partitions_refuses_the_stream_and_no_other(broker_of: Make) -> None:
    broker_of(partitions=3).publish("orders", 1)
    broker = broker_of(partitions=4)
    errors: list[Any] = []
    with broker.new_producer(on_error=errors.append) as producer:
        for number in range(5):
            producer.publish("orders", number)
            producer.publish("users", number)
        with pytest.raises(PartitionsDifferError):
            id_of(producer.publish_confirmed("orders", 5))
    assert bodies(broker, "users") == list(range(5))
    assert balanced(producer).refused == 6
    assert {type(one.error) for report in errors for one in report.refused} == {PartitionsDifferError}
    assert [event.body for report in errors for event in report.undelivered] == list(range(6))


def test_full_memory_is_waited_for(broker_of: Make, own_server: EmbeddedServer) -> None:
    broker = broker_of(own_server.url)
    with own_server.client() as client, broker.new_producer() as producer:
        client.config_set("maxmemory", 1)
        for number in range(100):
            producer.publish("orders", number)
        with pytest.raises(DeliveryTimeoutError, match=r"100 events are waiting.*100 for stream 'orders'"):
            producer.flush(timeout=0.3)
        client.config_set("maxmemory", 0)
        producer.flush()
        assert bodies(broker) == list(range(100))
    assert balanced(producer).confirmed == 100


# ---- outages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"packed": True}], ids=["plain", "packed"])
def test_an_outage_is_waited_for_and_told_once(
    broker_of: Make, own_server: EmbeddedServer, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    broker = broker_of(own_server.url, hooks=told, **options)
    producer = broker.new_producer(linger=0.001)
    producer.publish("orders", 0)
    producer.flush()
    own_server.kill()
    for number in range(1, 500):
        producer.publish("orders", number)
        time.sleep(0.0002)
    time.sleep(0.2)
    assert producer.counters.confirmed == 1
    own_server.start()
    producer.flush()
    assert bodies(broker) == list(range(1, 500))  # the server has lost the first one
    producer.close()
    assert balanced(producer).confirmed == 500
    assert [report.error is None for report in told.of(OutageReport)] == [False, True]
    assert sum(report.confirmed for report in told.of(FlushReport)) == 500
    assert "the producer for Redis pool 'default' is cut off" in caplog.text


def test_what_can_not_be_delivered_in_time_is_given_up_and_told(broker_of: Make, own_server: EmbeddedServer) -> None:
    broker = broker_of(own_server.url)
    errors: list[Any] = []
    producer = broker.new_producer(on_error=errors.append, delivery_timeout=0.3, max_batch_bytes=2000)
    own_server.kill()
    for number in range(100):
        producer.publish("orders", number, {"n": str(number)})
    producer.flush()
    counters = balanced(producer)
    assert (counters.given_up, counters.confirmed, len(producer)) == (100, 0, 0)
    assert [event.body for report in errors for event in report.undelivered] == list(range(100))
    assert all(isinstance(lost.error, ConnectionError) for report in errors for lost in report.given_up)
    own_server.start()
    producer.publish("orders", 100)
    producer.close()
    assert bodies(broker) == [100]


def test_a_refusal_that_does_not_pass_in_time_is_given_up(broker_of: Make, own_server: EmbeddedServer) -> None:
    broker = broker_of(own_server.url)
    reports: list[Any] = []
    with own_server.client() as client:
        client.config_set("maxmemory", 1)
        with broker.new_producer(on_delivery=reports.append, delivery_timeout=1.0) as producer:
            producer.publish("orders", 1)
        client.config_set("maxmemory", 0)
    (report,) = reports
    assert isinstance(report.given_up[0].error, OutOfMemoryError)
    assert report.attempts > 1


def test_a_dead_server_ends_close_in_time_and_says_what_is_left(broker_of: Make, own_server: EmbeddedServer) -> None:
    broker = broker_of(own_server.url)
    producer = broker.new_producer()
    own_server.kill()
    producer.publish("orders", 1)
    producer.publish("users", 1)
    with pytest.raises(DeliveryTimeoutError, match="1 for stream 'orders', 1 for stream 'users'") as caught:
        producer.close(timeout=0.3)
    assert caught.value.waiting == 2
    with pytest.raises(FluxaError, match="closed"):
        producer.publish("orders", 2)
    with suppress(DeliveryTimeoutError):
        producer.close(timeout=0)
    assert balanced(producer).waiting == 2


def test_a_closed_engine_gives_up_what_is_there(faces: Any, server_url: str, client: redis.Redis) -> None:
    registry = faces.Registry()
    registry.register_redis(server_url)
    registry.register_redis_stream("orders")
    engine = registry.validate()
    errors: list[Any] = []
    producer = engine.new_context().get_event_broker().new_producer(linger=1000, on_error=errors.append)
    producer.publish("orders", 1)
    engine.close()
    producer.flush()
    with pytest.raises(FluxaError, match="closed"):
        producer.publish("orders", 2)
    assert [event.body for report in errors for event in report.undelivered] == [1]
    assert balanced(producer).given_up == 1
    producer.close()


# ---- no room -----------------------------------------------------------------------------------------------


@pytest.fixture
def let_go(own_server: EmbeddedServer) -> Iterator[Callable[[], object]]:
    """The server takes no events until this is called."""
    with own_server.client() as client:
        client.config_set("maxmemory", 1)
        yield lambda: client.config_set("maxmemory", 0)
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("bound", [{"max_buffered_events": 10}, {"max_buffered_bytes": 600}], ids=["events", "bytes"])
def test_publishers_wait_for_room(
    broker_of: Make, own_server: EmbeddedServer, let_go: Callable[[], object], bound: dict[str, int]
) -> None:
    broker = broker_of(own_server.url)
    most: list[int] = []
    with broker.new_producer(**bound) as producer:

        def work(number: int) -> None:
            for place in range(20):
                producer.publish("orders", [number, place])
                most.append(len(producer))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        until(lambda: producer.counters.accepted > 5)
        time.sleep(0.3)
        assert 5 < producer.counters.accepted <= 20
        let_go()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert max(most) <= 20
    assert len(bodies(broker)) == 120
    assert balanced(producer).confirmed == 120


def test_a_publisher_that_waited_too_long_is_told(
    broker_of: Make, own_server: EmbeddedServer, let_go: Callable[[], object]
) -> None:
    broker = broker_of(own_server.url)
    with broker.new_producer(max_buffered_events=3, full_timeout=0.1) as producer:
        for number in range(3):
            producer.publish("orders", number)
        for publish in (producer.publish, producer.publish_confirmed):
            with pytest.raises(ProducerFullError, match="max_buffered_events") as caught:
                publish("orders", 3)
        assert (caught.value.events, caught.value.pool) == (3, "default")
        with pytest.raises(ProducerFullError):
            producer.publish_many("orders", [3, 4])
        let_go()
        producer.flush()
        producer.publish("orders", 5)
    assert bodies(broker) == [0, 1, 2, 5]


def test_a_full_producer_raises_at_once_if_asked_to(
    broker_of: Make, own_server: EmbeddedServer, let_go: Callable[[], object]
) -> None:
    broker = broker_of(own_server.url)
    with broker.new_producer(max_buffered_events=3, on_full="raise") as producer:
        assert producer.publish_many("orders", range(3)) == 3
        with pytest.raises(ProducerFullError):
            producer.publish("orders", 3)
        assert len(producer) == 3
        let_go()
    assert bodies(broker) == [0, 1, 2]


def test_a_full_producer_drops_counts_and_tells(
    broker_of: Make, own_server: EmbeddedServer, let_go: Callable[[], object], caplog: pytest.LogCaptureFixture
) -> None:
    broker = broker_of(own_server.url)
    errors: list[Any] = []
    with broker.new_producer(max_buffered_events=3, on_full="drop", on_error=errors.append) as producer:
        for number in range(10):
            producer.publish("orders", number)
        with pytest.raises(ProducerFullError):
            id_of(producer.publish_confirmed("orders", 10))
        assert producer.publish_many("orders", [11, 12]) == 0
        let_go()
    assert bodies(broker) == [0, 1, 2]
    counters = balanced(producer)
    assert (counters.accepted, counters.dropped) == (3, 10)
    assert sum(report.dropped for report in errors) == 10
    assert caplog.text.count("is full, and drops events") == 1


def test_closing_ends_the_wait_of_publishers(
    broker_of: Make, own_server: EmbeddedServer, let_go: Callable[[], object]
) -> None:
    producer = broker_of(own_server.url).new_producer(max_buffered_events=1)
    producer.publish("orders", 0)
    met: list[BaseException] = []

    def work() -> None:
        try:
            producer.publish("orders", 1)
        except BaseException as error:
            met.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    with pytest.raises(DeliveryTimeoutError):
        producer.close(timeout=0.1)
    for thread in threads:
        thread.join(30)
    assert [type(error) for error in met] == [FluxaError] * 3


# ---- callbacks ---------------------------------------------------------------------------------------------


def test_a_callback_may_raise_be_slow_and_publish(
    faces: Any, broker_of: Make, caplog: pytest.LogCaptureFixture, client: redis.Redis
) -> None:
    broker = broker_of()
    publish = getattr(broker, "_target", broker)
    producers: list[Any] = []

    def on_delivery(report: Any) -> Any:
        if report.events < 100:
            return None
        time.sleep(0.05)
        outcome = producers[0].publish("users", report.events)
        if publish is not broker:  # asyncio: what is awaited, is returned
            return outcome
        raise KeyError("whatever")

    with broker.new_producer(on_delivery=on_delivery, linger=0.001, max_buffered_events=400) as producer:
        producers.append(getattr(producer, "_target", producer))
        for begin in range(0, 2000, 100):
            producer.publish_many("orders", range(begin, begin + 100))
        producer.flush()
        producer.flush()
    assert bodies(broker) == list(range(2000))
    assert sum(bodies(broker, "users")) >= 2000 - 99 * 20
    assert balanced(producer).waiting == 0
    if publish is broker:
        assert "a callback of a producer has failed" in caplog.text


def test_a_slow_callback_does_not_hold_up_the_sender(broker: Any, client: redis.Redis) -> None:
    if hasattr(broker, "_target"):
        pytest.skip("on asyncio a callback that does not await holds up everything")
    go_on = threading.Event()
    producer = broker.new_producer(on_delivery=lambda report: go_on.wait(30), linger=0)
    for number in range(5):
        producer.publish("orders", number)
        until(lambda wanted=number + 1: client.xlen("orders") == wanted)
    assert client.xlen("orders") == 5
    with pytest.raises(DeliveryTimeoutError, match="callbacks"):
        producer.flush(timeout=0.05)
    go_on.set()
    producer.close()


def test_a_callback_that_waits_for_itself_is_refused(broker: Any) -> None:
    met: list[str] = []
    producers: list[Any] = []

    def on_delivery(report: Any) -> Any:
        producer = producers[0]
        if hasattr(producer, "aclose"):

            async def wait() -> None:
                for call in (producer.flush, producer.aclose):
                    with pytest.raises(FluxaError, match="callback") as caught:
                        await call()
                    met.append(str(caught.value))

            return wait()
        for call in (producer.flush, producer.close):
            with pytest.raises(FluxaError, match="callback") as caught:
                call()
            met.append(str(caught.value))
        return None

    with broker.new_producer(on_delivery=on_delivery) as producer:
        producers.append(getattr(producer, "_target", producer))
        producer.publish("orders", 1)
    assert len(met) == 2


# ---- the rest ----------------------------------------------------------------------------------------------


def test_a_closed_producer_refuses_and_closes_twice(broker: Any) -> None:
    producer = broker.new_producer()
    producer.publish("orders", 1)
    producer.close()
    producer.close()
    producer.flush()
    for call in (producer.publish, producer.publish_confirmed):
        with pytest.raises(FluxaError, match="closed"):
            call("orders", 2)
    with pytest.raises(FluxaError, match="closed"):
        producer.publish_many("orders", [2])
    assert bodies(broker) == [1]


def test_a_block_that_an_exception_leaves_sends_what_was_accepted(broker: Any) -> None:
    with pytest.raises(KeyError), broker.new_producer(linger=100) as producer:
        producer.publish("orders", 1)
        raise KeyError
    assert bodies(broker) == [1]


def test_a_dropped_producer_warns_and_sends_all_the_same(broker: Any, client: redis.Redis) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        producer = broker.new_producer(linger=1000)
        producer.publish_many("orders", range(3))
        producer.publish("users", 1)
        del producer
        gc.collect()
    (text,) = [str(one.message) for one in caught if one.category is ResourceWarning]
    assert "dropped with 4 events that are not confirmed: 3 for stream 'orders', 1 for stream 'users'" in text
    until(lambda: client.xlen("orders") == 3 and client.xlen("users") == 1)
    assert client.xlen("orders") == 3
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        producer = broker.new_producer()
        producer.publish("orders", 4)
        producer.flush()
        del producer
        gc.collect()
    assert not [one for one in caught if one.category is ResourceWarning and "producer" in str(one.message)]


def test_a_stream_that_keeps_is_trimmed(broker_of: Make, client: redis.Redis) -> None:
    broker = broker_of(keep=Keep(events=100))
    with broker.new_producer(max_batch_bytes=10_000) as producer:
        producer.publish_many("orders", range(3000))
        producer.flush()
        producer.publish_many("orders", range(3000))
    assert client.xlen("orders") < 1000


def test_pools_do_not_hold_up_each_other(
    faces: Any, server_url: str, client: redis.Redis, own_server: EmbeddedServer
) -> None:
    registry = faces.Registry()
    registry.register_redis(server_url)
    registry.register_redis(own_server.url, pool="other")
    registry.register_redis_stream("orders")
    registry.register_redis_stream("users", "other")
    own_server.kill()
    with registry.validate() as engine:
        broker = engine.new_context().get_event_broker()
        with broker.new_producer(max_buffered_events=50) as producer:
            for number in range(50):
                producer.publish("users", number)
            producer.publish_many("orders", range(200))
            until(lambda: client.xlen("orders") == 200)
            assert client.xlen("orders") == 200
            assert len(producer) == 50
            with pytest.raises(UnregisteredStreamError):
                producer.publish("nowhere", 1)
            own_server.start()
        assert bodies(broker, "users") == list(range(50))
        assert balanced(producer).confirmed == 250


class TestOnACluster:
    pytestmark = ON_CLUSTERS

    def test_everything_arrives_in_the_order_of_each_key(self, make_cluster_engine: Any, cluster: Any) -> None:
        broker = make_cluster_engine(cluster.url).new_context().get_event_broker()
        with broker.new_producer(max_batch_bytes=5000) as producer:
            for number in range(600):
                producer.publish("orders", number, key=number % 7)
            producer.publish_many("users", range(500))
        assert balanced(producer).confirmed == 1100
        seen: dict[int, list[int]] = {}
        for body in bodies(broker):
            seen.setdefault(body % 7, []).append(body)
        assert seen == {key: list(range(key, 600, 7)) for key in range(7)}
        assert bodies(broker, "users") == list(range(500))


@pytest.mark.parametrize("options", [{}, {"partitions": 3}], ids=["one key", "partitions"])
def test_order_is_kept_through_cut_connections(
    broker_of: Make, own_server: EmbeddedServer, proxy: Proxy, options: dict[str, Any]
) -> None:
    """What is sent again may be there twice; the first of each comes in the order of publishing."""
    broker = broker_of(f"redis://127.0.0.1:{proxy.port}", **options)
    over = threading.Event()

    def cut() -> None:
        while not over.wait(0.02):
            proxy.cut()
            proxy.heal()

    cutter = threading.Thread(target=cut)
    with broker.new_producer(linger=0.001, max_batch_bytes=20_000, delivery_timeout=None) as producer:
        producer.publish("orders", 0, key=0 if options else None)
        producer.flush()
        cutter.start()
        for number in range(1, 2000):
            producer.publish("orders", number, key=number % 5 if options else None)
            if number % 100 == 0:
                time.sleep(0.01)
        over.set()
        cutter.join()
    assert balanced(producer).confirmed == 2000
    firsts: dict[int, list[int]] = {}
    seen: set[int] = set()
    for body in bodies(broker):
        if body not in seen:
            seen.add(body)
            firsts.setdefault(body % 5 if options else 0, []).append(body)
    assert len(seen) == 2000
    assert all(one == sorted(one) for one in firsts.values())


def test_replicas_that_are_not_there_hold_an_event_up(broker_of: Make, own_server: EmbeddedServer) -> None:
    errors: list[Any] = []
    broker = broker_of(own_server.url)
    options = {"replicas": 1, "replicas_timeout": 0.01, "delivery_timeout": 0.05}
    with broker.new_producer(on_error=errors.append, **options) as producer:
        producer.publish("orders", 1)
    (lost,) = errors[0].given_up
    assert isinstance(lost.error, NotReplicatedError)
    assert balanced(producer).given_up == 1
