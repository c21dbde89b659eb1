"""Programs that publish with a producer: ``python -m tests.isolated.producing NAME URL``.

Each publishes 200 events, numbered from 0, and leaves the rest to the end of the interpreter, to a fork, or to a signal.
"""

from __future__ import annotations

import sys

if sys.argv[1:2] == ["runs_under_gevent"]:
    from gevent import monkey

    monkey.patch_all()

import asyncio
import atexit
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

early: list[Callable[[], object]] = []
atexit.register(lambda: [function() for function in early])

from tests.isolated.programs import broker_of  # noqa: E402 (the function above is to be called after fluxa_fast's own)
from tests.isolated.unflushed import _in_child  # noqa: E402

PROGRAMS: dict[str, Callable[[str], None]] = {}
keep: list[Any] = []


def program(function: Callable[[str], None]) -> Callable[[str], None]:
    PROGRAMS[function.__name__] = function
    return function


def _producer(url: str, **options: Any) -> Any:
    keep.append(producer := broker_of(url).new_producer(**options))
    return producer


# ---- the end of the interpreter -------------------------------------------------------------------------


@program
def ends_at_once(url: str) -> None:
    _producer(url).publish_many("orders", range(200))


@program
def ends_while_it_lingers(url: str) -> None:
    _producer(url, linger=1000).publish_many("orders", range(200))


@program
def ends_with_an_exception(url: str) -> None:
    _producer(url, linger=1000).publish_many("orders", range(200))
    sys.excepthook = lambda *_: None
    raise KeyError


@program
def ends_with_functions_that_publish(url: str) -> None:
    """One was registered before fluxa_fast's own, and so is called after that."""
    producer = _producer(url, linger=1000)
    producer.publish_many("orders", range(100))
    atexit.register(producer.publish_many, "orders", range(100, 150))
    early.append(lambda: producer.publish_many("orders", range(150, 200)))


@program
def ends_with_a_dropped_one(url: str) -> None:
    broker_of(url).new_producer(linger=1000).publish_many("orders", range(200))


@program
def ends_with_a_slow_callback(url: str) -> None:
    _producer(url, on_delivery=lambda report: time.sleep(0.1)).publish_many("orders", range(200))


@program
def ends_with_asyncio(url: str) -> None:
    async def main() -> None:
        keep.append(producer := broker_of(url, "fluxa_fast.asyncio").new_producer(linger=1000))
        await producer.publish_many("orders", range(200))

    asyncio.run(main())


@program
def runs_in_one_event_loop_after_the_other(url: str) -> None:
    producer = broker_of(url, "fluxa_fast.asyncio").new_producer(linger=1000, on_delivery=lambda report: None)

    async def publish(begin: int) -> None:
        for number in range(begin, begin + 99):
            await producer.publish("orders", number)

    asyncio.run(publish(0))  # its end sends them
    assert producer.counters.confirmed == 99
    producer.publish("orders", 99)  # there is no event loop: the next one sends it
    asyncio.run(publish(100))
    producer.publish("orders", 199)
    asyncio.run(producer.aclose())
    assert producer.counters.confirmed == 200


@program
def ends_by_a_signal_whose_handler_exits(url: str) -> None:
    producer = _producer(url, linger=1000)

    def leave(*_: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    for number in range(200):
        producer.publish("orders", number)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


# ---- forks ----------------------------------------------------------------------------------------------


@program
def forks_and_the_parent_sends(url: str) -> None:
    producer = _producer(url, linger=1000)
    producer.publish_many("orders", range(200))

    def child() -> None:
        assert len(producer) == 0
        producer.flush()
        assert producer.counters.accepted == 0

    _in_child(child)


@program
def forks_and_the_child_goes_on(url: str) -> None:
    producer = _producer(url, linger=0.001, on_delivery=lambda report: None)
    publish = producer.publish  # as programs keep it, for speed
    for number in range(100):
        publish("orders", number)
    producer.flush()

    def child() -> None:
        for number in range(100, 200):
            publish("orders", number)
        producer.flush(30)
        assert producer.counters.confirmed == 100
        producer.close()

    _in_child(child)


@program
def forks_while_threads_publish(url: str) -> None:
    """A thread may be in the middle of an event: the child begins anew all the same."""
    producer = _producer(url, linger=0.001)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            producer.publish("users", {"x": "y" * 500})

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for begin in range(0, 200, 10):

        def child(begin: int = begin) -> None:
            producer.publish_many("orders", range(begin, begin + 10))
            producer.flush(30)

        _in_child(child)
    over.set()
    for thread in threads:
        thread.join()


@program
def forks_and_the_child_ends_by_itself(url: str) -> None:
    producer = _producer(url, linger=1000)
    producer.publish_many("orders", range(100))
    child = os.fork()
    if child == 0:
        producer.publish_many("orders", range(100, 200))
        sys.exit(0)  # with all that Python does at its end
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _publish_in_a_child(begin: int) -> None:
    keep[0].publish_many("orders", range(begin, begin + 50))


@program
def forks_with_multiprocessing(url: str) -> None:
    """Such children end without the functions that are called at the exit."""
    import multiprocessing

    _producer(url, linger=1000)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_publish_in_a_child, args=(begin,)) for begin in range(0, 200, 50)]
    for child in children:
        child.start()
    for child in children:
        child.join()


# ---- callbacks ------------------------------------------------------------------------------------------


@program
def has_callbacks_that_exit(url: str) -> None:
    import logging

    logging.getLogger("fluxa_fast").setLevel(logging.CRITICAL)
    producer = _producer(url, on_delivery=lambda report: sys.exit(3))

    def leave(future: object) -> None:
        if threading.current_thread() is not threading.main_thread():  # which calls it if the future is done already
            sys.exit(4)

    for number in range(100):
        producer.publish_confirmed("orders", number).add_done_callback(leave)
    producer.flush(30)
    producer.publish_many("orders", range(100, 200))
    producer.close(30)
    threads = [one.name for one in threading.enumerate() if "fluxa_fast" in one.name]
    deadline = time.monotonic() + 10
    while threads and time.monotonic() < deadline:
        time.sleep(0.01)
        threads = [one.name for one in threading.enumerate() if "fluxa_fast" in one.name]
    assert not threads, threads


@program
def publishes_by_a_method_of_a_dropped_one(url: str) -> None:
    publish = broker_of(url).new_producer().publish
    for number in range(200):
        publish("orders", number)
        if number % 50 == 0:
            time.sleep(0.02)


# ---- signals --------------------------------------------------------------------------------------------


class Interrupt(BaseException):
    pass


@program
def is_interrupted_again_and_again(url: str) -> None:
    """Whatever `publish` was doing: an event was accepted, or it was not. `counters` says how many."""
    producer = _producer(url, linger=0.0005, max_buffered_events=50)
    stop = time.monotonic() + 3

    armed = False

    def interrupt(*_: object) -> None:
        if armed:
            raise Interrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
    number = 0
    while time.monotonic() < stop:
        try:
            armed = True
            while time.monotonic() < stop:
                producer.publish("users", number)
                number += 1
                if number % 40 == 0:
                    producer.flush()
        except Interrupt:
            pass
        armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    producer.flush(30)
    counters = producer.counters
    assert counters.confirmed == counters.accepted, counters
    with_ids = broker_of(url).get_stream_statistics("users")
    assert with_ids.len == counters.confirmed, (with_ids.len, counters)
    producer.publish_many("orders", range(200))


# ---- gevent ---------------------------------------------------------------------------------------------


@program
def runs_under_gevent(url: str) -> None:
    import gevent

    producer = _producer(url, max_buffered_events=20, on_delivery=lambda report: gevent.sleep(0.001))

    def work(begin: int) -> None:
        for number in range(begin, 200, 4):
            producer.publish("orders", number)

    gevent.joinall([gevent.spawn(work, begin) for begin in range(4)], raise_error=True)
    assert producer.publish_confirmed("users", 1).result(30)
    producer.flush(30)


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
