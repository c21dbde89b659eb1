"""A consumer that is interrupted at random times: ``python -m tests.isolated.interrupted URL KIND WAY``.

In a process of its own, because what a signal handler raises may come out anywhere, in the test runner too.
"""

from __future__ import annotations

import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import fluxa_fast

__all__ = ["interrupted"]

EVENTS = 800
LONGEST = 15.0  # seconds for one call; what it waited for in vain took 30


class LateError(TimeoutError):
    """What a time limit raises, as job queues have them; it could be taken for a socket's time-out."""


def interrupted(call: Callable[[], object], after: float) -> bool:
    """Interrupt a call after that time, wherever it is. False if it was over before.

    If need be again and again, because Python ignores what is raised in a destructor, and redis-py what is raised in
    places. (Not by SIGALRM, which is the time limit of the tests.)
    """
    main = threading.get_ident()
    over = threading.Event()
    late = False

    def interrupt(number: int, frame: object) -> None:
        if not over.is_set():
            raise LateError

    def interrupts() -> None:
        wait = after
        while not over.wait(wait):
            signal.pthread_kill(main, signal.SIGUSR1)
            wait = 0.25

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=interrupts)
    try:
        try:
            thread.start()
            call()
        except LateError:
            late = True
        over.set()
    except LateError:  # between these lines; the next one is not due yet
        late = True
    over.set()
    thread.join()
    signal.signal(signal.SIGUSR1, before)
    return late


def main(url: str, kind: str, way: str) -> int:
    from tests.integration.test_handlers import new_consumer, registry

    logging.disable()
    sys.unraisablehook = lambda unraisable: None
    chance = random.Random(5)
    seen: set[int] = set()
    longest = 0.0
    late = 0
    end = time.monotonic() + 60

    def handle(events: Any) -> None:
        seen.update(event.body for event in events)

    def call() -> None:
        if way == "consume":
            consumer.consume(20, None, handle)
        elif way == "run":
            consumer.run(handle, 20)
        else:
            for events in consumer.batches(20, None):
                handle(events)

    with registry(fluxa_fast, url).validate() as engine:
        consumer = new_consumer(engine.new_context().get_event_broker(), kind)
        while len(seen) < EVENTS and time.monotonic() < end:
            began = time.monotonic()
            late += interrupted(call, chance.random() * 0.01 + 1e-5)
            longest = max(longest, time.monotonic() - began)
        consumer.cleanup()
    print(f"handled {len(seen)}, interrupted {late} times, the longest call took {longest:.1f} s")
    return 0 if len(seen) == EVENTS and longest < LONGEST and (late or way != "run") else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
