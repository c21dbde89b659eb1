"""Ctrl-C and kill -9 on a process that consumes.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker
from fluxa_fast.protocol import Implementation
from tests.signals import POSIX, signals

CODE = """
import signal
import sys
from fluxa_fast import Registry

signal.signal(signal.SIGINT, signal.default_int_handler)  # who is started in the background of a shell ignores it
registry = Registry()
registry.register_redis(sys.argv[1])
registry.register_redis_stream("orders")
consumer = registry.validate().new_context().get_event_broker().consumer_single("orders")

def handle(events):
    sum(event.body for event in events)
    print(*(event.body for event in events), flush=True)

consumer.run(handle, count=50)
"""


@POSIX
@pytest.mark.blocking
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill-9"])
@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.5])
def test_promise_4_a_consumer_that_is_interrupted(
    implementation: Implementation,
    broker: EventBroker,
    client: redis.Redis,
    server_url: str,
    number: int,
    after: float,
    tmp_path: Path,
) -> None:
    events = 20_000
    flusher = broker.new_flusher()
    for body in range(events):
        flusher.publish("orders", body)
    flusher.flush()
    environment = {**os.environ, "FLUXA_FAST_IMPL": implementation.name}
    lines = tmp_path / "handled"
    with lines.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, server_url], env=environment, stdout=output, stderr=subprocess.PIPE, text=True
        )
    with process:
        while not lines.stat().st_size:
            time.sleep(0.001)
        time.sleep(after)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    written = lines.read_text("utf-8")
    handled = [int(word) for word in written[: written.rfind("\n") + 1].split()]
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert client.xlen("orders") <= events - len(handled) + 50  # a line may be printed, and its handler cut short
    assert handled == list(range(len(handled)))
    rest = [event.body for batch in broker.consumer_single("orders").batches(1000, None) for event in batch]
    assert rest == sorted(rest)
    assert set(handled) | set(rest) == set(range(events))
    assert client.xlen("orders") == client.xpending("orders", "consumer_group")["pending"] == 0


@POSIX
@pytest.mark.blocking
def test_signals_that_are_handled_disturb_no_call(broker: EventBroker, client: redis.Redis) -> None:
    seen: list[int] = []
    handled: list[int] = []
    consumer = broker.consumer_single("orders")

    def handle(events: Sequence[Any]) -> None:
        handled.extend(event.body for event in events)
        if len(handled) >= 3000:
            consumer.stop()

    with signals(0.0005, lambda: seen.append(1)):
        for number in range(500):
            broker.publish("orders", number)
        for begin in range(500, 3000, 10):
            with broker.new_flusher(eager=begin % 100 == 0) as flusher:
                flusher.publish_many("orders", range(begin, begin + 10))
        consumer.run(handle, 10)
    assert len(seen) > 10
    assert handled == list(range(3000))
    assert client.xlen("orders") == client.xpending("orders", "consumer_group")["pending"] == 0


@pytest.mark.blocking
def test_a_signal_handler_may_stop_whatever_it_interrupts(broker: EventBroker) -> None:
    """Stop before each line of Python in `stop` and `consume`, as handlers of signals do."""
    consumer = broker.consumer_single("orders")

    def interrupted(frame: FrameType, what: str, argument: object) -> Any:
        consumer.stop()
        return interrupted

    def call() -> None:
        sys.settrace(interrupted)
        consumer.stop()
        consumer.consume(1, None, print)
        sys.settrace(None)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(10.0)
    assert not thread.is_alive(), "it waits for itself"
