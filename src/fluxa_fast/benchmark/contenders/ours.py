"""fluxa_fast, compiled or pure (FLUXA_FAST_IMPL says which), as its README shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...broker import EventBroker
from ...flusher import EventFlusher
from ...protocol.interface import Event
from ...registry import Registry
from . import client
from .client import STREAM, Make

__all__ = ["Client"]


class Client(client.Client):
    """`variants`: ``eager`` flushers, or a ``producer``; reading ``at-most-once``; a ``packed`` stream."""

    def __init__(self, url: str, *variants: str) -> None:
        registry = Registry()
        registry.register_redis(url)
        registry.register_redis_stream(STREAM, packed="packed" in variants)
        self.broker: EventBroker = registry.validate().new_context().get_event_broker()
        self.flusher: EventFlusher = self.broker.new_flusher(eager="eager" in variants)
        self._in_background = "producer" in variants
        self._delivery: Any = "at-most-once" if "at-most-once" in variants else "at-least-once"

    def publish_batches(self, make: Make, events: int, batch: int) -> None:
        if self._in_background:
            return self._produce(make, events)
        flusher = self.flusher
        publish = flusher.publish
        for begin in range(0, events, batch):
            for number in range(begin, begin + batch):
                publish(STREAM, make(number))
            flusher.flush()

    def _produce(self, make: Make, events: int) -> None:
        """Publish one event after the other: the producer makes the batches."""
        with self.broker.new_producer() as producer:
            publish = producer.publish
            for number in range(events):
                publish(STREAM, make(number))

    def publish_one(self, body: Any) -> None:
        self.broker.publish(STREAM, body)

    def consume(self, events: int, count: int) -> None:
        with self.broker.consumer_single(STREAM, delivery=self._delivery) as consumer:
            left = events

            def handle(batch: Sequence[Event]) -> None:
                nonlocal left
                for event in batch:
                    assert event.body
                left -= len(batch)
                if left <= 0:
                    consumer.stop()

            consumer.run(handle, count)
