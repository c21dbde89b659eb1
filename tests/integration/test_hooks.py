"""Hooks are told once for each flush, batch and change, on both faces; what they raise changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError, ResponseError

from fluxa_fast import EventBroker, FlushError, Hooks
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.hooks import BatchReport, FlushReport, HandledReport, LeaseReport, OutageReport, PublishReport


class Told(Hooks):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[Any] = []

    def on_publish(self, report: PublishReport) -> None:
        self.reports.append(report)

    def on_flush(self, report: FlushReport) -> None:
        self.reports.append(report)

    def on_batch(self, report: BatchReport) -> None:
        self.reports.append(report)

    def on_handled(self, report: HandledReport) -> None:
        assert report.error is None
        self.reports.append(report)

    def on_failed(self, report: HandledReport) -> None:
        assert report.error is not None
        self.reports.append(report)

    def on_outage(self, report: OutageReport) -> None:
        self.reports.append(report)

    def on_lease(self, report: LeaseReport) -> None:
        self.reports.append(report)

    def of(self, kind: type) -> list[Any]:
        return [report for report in self.reports if type(report) is kind]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def broker(faces: Any, server_url: str, client: redis.Redis, told: Told) -> Iterator[EventBroker]:
    """A broker on the shared, empty server, whose engine has hooks: one that keeps reports, and one that fails."""
    registry = faces.Registry(hooks=[_Failing(), told])
    registry.register_redis(server_url)
    registry.register_redis_stream("orders")
    registry.register_redis_stream("parts", partitions=3)
    with registry.validate() as engine:
        yield engine.new_context().get_event_broker()


class _Failing(Hooks):
    def on_batch(self, report: BatchReport) -> None:
        raise LookupError("a hook's own error")

    def on_flush(self, report: FlushReport) -> None:
        raise LookupError("a hook's own error")


def test_a_call_of_publish_is_reported(broker: EventBroker, told: Told, client: redis.Redis) -> None:
    id = broker.publish("orders", 1)
    client.set("orders", "a string")
    with pytest.raises(ResponseError) as caught:
        broker.publish("orders", 2)
    first, second = told.of(PublishReport)
    assert (first.stream, first.pool, first.id, first.error) == ("orders", "default", id, None)
    assert (second.id, second.error) == (None, caught.value)
    assert first.seconds > 0


def test_a_flush_is_reported_with_the_outcome_of_its_events(
    broker: EventBroker, told: Told, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    flusher = broker.new_flusher()
    for number in range(3):
        flusher.publish("orders", number)
    size = flusher.size
    flusher.flush()
    client.set("orders", "a string")
    flusher.publish("orders", 4)
    flusher.publish("parts", 5)
    with pytest.raises(FlushError):
        flusher.flush()
    assert flusher.clear() == 1
    first, second = told.of(FlushReport)
    assert (first.confirmed, first.refused, first.unconfirmed, first.bytes) == (3, 0, 0, size)
    assert (second.confirmed, second.refused, second.unconfirmed) == (1, 1, 0)
    assert "a hook has failed: on_flush" in caplog.text


def test_batches_are_reported_and_what_came_of_them(broker: EventBroker, told: Told) -> None:
    flusher = broker.new_flusher()
    flusher.publish_many("orders", range(15))
    flusher.flush()
    consumer: Any = broker.consumer_many("orders")
    failure = LookupError("mine")

    def fail(events: object) -> None:
        raise failure

    with pytest.raises(LookupError):
        consumer.consume(10, None, fail)
    assert consumer.consume(10, None, lambda events: None) == 15
    assert [(one.events, one.new, one.stream) for one in told.of(BatchReport)] == [
        (10, True, "orders"),
        (10, False, "orders"),
        (5, True, "orders"),
    ]
    failed, *handled = told.of(HandledReport)
    assert (failed.events, failed.error, failed.consumer) == (10, failure, consumer.name)
    assert [(one.events, one.error) for one in handled] == [(10, None), (5, None)]


def test_a_loop_over_batches_reports_the_batch_in_which_it_was_left(broker: EventBroker, told: Told) -> None:
    flusher = broker.new_flusher()
    flusher.publish_many("orders", range(20))
    flusher.flush()
    with broker.consumer_single("orders") as consumer:
        for events in consumer.batches(5):
            if events[0].body == 10:
                break
    assert [(one.events, one.error is None) for one in told.of(HandledReport)] == [(5, True), (5, True), (5, False)]


def test_leases_are_reported(broker: EventBroker, told: Told) -> None:
    with broker.consumer_ordered("parts") as consumer:
        broker.publish("parts", 1)
        assert consumer.consume(1, 10, lambda events: None) == 1
        owned = set(consumer.partitions)
    taken = {one.stream for one in told.of(LeaseReport) if one.change == "taken"}
    released = {one.stream for one in told.of(LeaseReport) if one.change == "released"}
    assert taken == released == owned
    assert all(one.owner.startswith(consumer.name) for one in told.of(LeaseReport))


def test_an_outage_is_reported_once_when_it_begins_and_once_when_it_ends(
    faces: Any, own_server: EmbeddedServer, told: Told
) -> None:
    registry = faces.Registry(hooks=told)
    registry.register_redis(own_server.url)
    registry.register_redis_stream("orders")
    with registry.validate() as engine:
        consumer = engine.new_context().get_event_broker().consumer_single("orders")
        assert consumer.consume(1, None, lambda events: None) == 0
        own_server.stop()
        restarted = threading.Timer(0.3, own_server.start)
        restarted.start()
        assert consumer.consume(1, None, lambda events: None) == 0
        restarted.join()
    began, ended = told.of(OutageReport)
    assert isinstance(began.error, ConnectionError)
    assert ended.error is None
    assert ended.seconds > 0
    assert ended.attempts >= 1
    assert "orders" in began.who
    assert began.who == ended.who


def test_hooks_of_another_kind_are_refused(faces: Any) -> None:
    with pytest.raises(TypeError, match="hooks"):
        faces.Registry(hooks=print)
