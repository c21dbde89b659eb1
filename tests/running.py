"""Consumers that run in threads, and what is pending for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import redis

from fluxa_fast import EventBroker

__all__ = ["Runner", "fill", "pending", "until"]


def fill(broker: EventBroker, count: int) -> None:
    with broker.new_flusher() as flusher:
        for number in range(count):
            flusher.publish("orders", number)


def pending(client: redis.Redis, group: str = "consumer_group") -> dict[bytes, int]:
    """How many entries are pending for each consumer, of all partitions together."""
    found: dict[bytes, int] = {}
    for key in client.scan_iter(_type="stream"):
        for one in client.xinfo_consumers(key, group):
            found[one["name"]] = found.get(one["name"], 0) + one["pending"]
    return {name: count for name, count in found.items() if count}


class Runner:
    """A consumer that runs in a thread, and what it has handled."""

    def __init__(self, consumer: Any, count: int = 50, pause: float = 0.0, **options: Any) -> None:
        self.consumer = consumer
        self.seen: list[Any] = []
        self.batches: list[int] = []
        self.counts: list[int | None] = []
        self.first = threading.Event()
        self.go_on = threading.Event()
        self.error: BaseException | None = None
        self._pause = pause
        self._count = count
        self._options = options
        self.lost: list[Any] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.consumer.run(self._handle, self._count, **self._options)
        except BaseException as error:
            self.error = error

    def _handle(self, events: Sequence[Any]) -> None:
        self.first.set()
        self.go_on.wait(20)
        time.sleep(self._pause)
        self.batches.append(len(events))
        self.counts += [event.delivery_count for event in events]
        self.seen += [event.body for event in events]
        self.lost += [event.body for event in events if event.taken_over]

    def start(self) -> Runner:
        self.thread.start()
        return self

    def has_a_batch_behind(self) -> None:
        """Wait until the handler has a batch, and the one behind it was read."""
        assert self.first.wait(20)
        time.sleep(0.3)

    def stop(self, **how: Any) -> None:
        """Stop the consumer while the handler has a batch, and wait until it has ended."""
        self.consumer.stop(**how)
        self.go_on.set()
        self.join()

    def run_until(self, count: int) -> None:
        """Run until so many events were handled, or for a long time."""
        self.go_on.set()
        self.start()
        until(lambda: len(self.seen) >= count)

    def join(self) -> None:
        self.thread.join(30)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


def until(reached: Any, seconds: float = 20) -> None:
    """Wait until it is true, or for a long time."""
    deadline = time.monotonic() + seconds
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.01)
