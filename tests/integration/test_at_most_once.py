"""Reading at most once: nothing is left pending, and what was read goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
import redis

from fluxa_fast import Event, EventBroker
from fluxa_fast.embedded import EmbeddedServer
from tests.fix_broker import QUICK, MakeEngine
from tests.proxy import Proxy

GROUP = "consumer_group"
Later = Callable[..., None]


def fill(broker: EventBroker, count: int, first: int = 0) -> None:
    flusher = broker.new_flusher()
    flusher.publish_many("orders", range(first, first + count))
    flusher.flush()


@pytest.mark.parametrize("how", ["consume", "batches", "run"])
@pytest.mark.parametrize("many", [False, True])
def test_everything_comes_once_and_is_gone(broker: EventBroker, client: redis.Redis, how: str, many: bool) -> None:
    fill(broker, 1000)
    consumer = (broker.consumer_many if many else broker.consumer_single)("orders", delivery="at-most-once")
    seen: list[int] = []

    def handle(events: Sequence[Event]) -> None:
        assert client.xpending("orders", GROUP)["pending"] == 0
        for event in events:
            event.ack()  # there is nothing to acknowledge, and it does no harm
        seen.extend(event.body for event in events)
        if len(seen) == 1000:
            consumer.stop()

    if how == "consume":
        while consumer.consume(70, None, handle):
            pass
    elif how == "batches":
        for events in consumer.batches(70, None):
            handle(events)
    else:
        consumer.run(handle, 70)
    assert seen == list(range(1000))
    assert client.xlen("orders") == 0
    assert consumer.cleanup() == 0


def test_an_exception_loses_the_current_batch_and_no_other(broker: EventBroker, client: redis.Redis) -> None:
    fill(broker, 100)
    consumer = broker.consumer_single("orders", delivery="at-most-once")
    seen: list[int] = []

    def handle(events: Sequence[Event]) -> None:
        if events[0].body == 20:
            raise LookupError
        seen.extend(event.body for event in events)

    with pytest.raises(LookupError):
        consumer.run(handle, 10)
    for events in consumer.batches(10, None):
        handle(events)
    assert seen == [number for number in range(100) if not 20 <= number < 30]
    assert client.xlen("orders") == 0


def test_stop_hands_over_what_was_read_ahead(broker: EventBroker, client: redis.Redis) -> None:
    fill(broker, 100)
    seen: list[int] = []
    with broker.consumer_single("orders", delivery="at-most-once") as consumer:

        def handle(events: Sequence[Event]) -> None:
            seen.extend(event.body for event in events)
            consumer.stop()

        consumer.run(handle, 10)
    assert seen == list(range(20))
    assert client.xlen("orders") == 80


def test_what_is_pending_from_before_comes_first_and_is_acknowledged(broker: EventBroker, client: redis.Redis) -> None:
    fill(broker, 30)
    with pytest.raises(LookupError):
        broker.consumer_single("orders").consume(10, None, lambda events: {}[0])  # type: ignore[index]
    seen: list[int] = []
    for events in broker.consumer_single("orders", delivery="at-most-once").batches(10, None):
        seen += [event.body for event in events]
    assert seen == list(range(30))
    assert client.xlen("orders") == 0
    assert client.xpending("orders", GROUP)["pending"] == 0


def test_pending_entries_of_others_and_other_groups_are_left_alone(broker: EventBroker, client: redis.Redis) -> None:
    fill(broker, 30)
    careful = broker.consumer_many("orders")
    with pytest.raises(LookupError):
        careful.consume(10, None, lambda events: {}[0])  # type: ignore[index]
    fast = broker.consumer_many("orders", delivery="at-most-once")
    assert fast.consume(10, None, lambda events: None) == 10
    assert client.xlen("orders") == 30  # nothing below the pending ones could be trimmed
    assert careful.consume(10, None, lambda events: None) == 20  # the pending ones, and then new ones
    client.xgroup_create("orders", "foreign", "0")
    fill(broker, 10)
    assert fast.consume(10, None, lambda events: None) == 10
    left = client.xreadgroup("foreign", "f", {"orders": ">"})[0][1]
    assert len(left) == 20
    client.xack("orders", "foreign", *[id for id, _ in left])
    fill(broker, 1)
    assert fast.consume(10, None, lambda events: None) == 1
    assert client.xlen("orders") == 1  # which the foreign group has not had


def test_without_the_right_to_run_scripts(make_engine: MakeEngine, client: redis.Redis, server_url: str) -> None:
    client.execute_command("ACL", "SETUSER", "plain", "reset", "on", ">secret", "~*", "+@all", "-eval", "-evalsha")
    try:
        broker = make_engine(server_url, username="plain", password="secret").new_context().get_event_broker()
        fill(broker, 100)
        consumer = broker.consumer_single("orders", delivery="at-most-once")
        assert sum(len(events) for events in consumer.batches(30, None)) == 100
        assert client.xlen("orders") == 0
    finally:
        client.execute_command("ACL", "DELUSER", "plain")


def test_a_lost_connection_never_brings_an_event_twice(
    make_engine: MakeEngine, proxy: Proxy, own_server: EmbeddedServer
) -> None:
    direct = make_engine(own_server.url).new_context().get_event_broker()
    fill(direct, 300)
    broker = make_engine(f"127.0.0.1:{proxy.port}").new_context().get_event_broker()
    consumer = broker.consumer_single("orders", delivery="at-most-once", recovery=QUICK)
    seen: list[int] = []
    proxy.cut_down = 3000
    for events in consumer.batches(10, 0.1):
        seen += [event.body for event in events]
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert 200 < len(seen) < 300


def test_an_idle_stream_costs_no_busy_loop(broker: EventBroker, client: redis.Redis, later: Later) -> None:
    for delivery in ("at-least-once", "at-most-once"):
        consumer = broker.consumer_single("orders", delivery=delivery)  # type: ignore[arg-type]
        consumer.consume(1, None, lambda events: None)
        later(0.7, consumer.stop)
        client.config_resetstat()
        cpu = time.thread_time()
        consumer.run(lambda events: None)
        assert client.info("commandstats")["cmdstat_xreadgroup"]["calls"] <= 4
        assert time.thread_time() - cpu < 0.2


def test_another_delivery_is_refused(broker: EventBroker) -> None:
    with pytest.raises(ValueError, match="'at-least-once' or 'at-most-once', not 'none'"):
        broker.consumer_single("orders", delivery="none")  # type: ignore[arg-type]
