"""Small programs: ``python -m tests.isolated.programs NAME URL``. Each must end well, and say nothing on standard error."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PROGRAMS: dict[str, Callable[[str], None]] = {}


def program(function: Callable[[str], None]) -> Callable[[str], None]:
    PROGRAMS[function.__name__] = function
    return function


def broker_of(url: str, package: str = "fluxa_fast") -> Any:
    registry = __import__(package, fromlist=["Registry"]).Registry()
    registry.register_redis(url)
    for stream in ("orders", "users"):
        registry.register_redis_stream(stream)
    return registry.validate().new_context().get_event_broker()


# ---- the end of the interpreter -------------------------------------------------------------------------


@program
def ends_with_open_consumers(url: str) -> None:
    broker = broker_of(url)
    broker.publish("orders", 1)
    broker.publish("orders", 2)
    loop = broker.consumer_single("orders").batches(1, None)
    next(loop)
    eager = broker.new_flusher(eager=True)
    eager.publish_many("orders", ["x" * 100] * 1000)
    other = broker.consumer_many("orders")
    other.consume(1, None, print)
    keep.extend((loop, eager, other, broker))  # until the modules are torn down


@program
def ends_with_a_thread_that_waits(url: str) -> None:
    broker = broker_of(url)
    consumer = broker.consumer_many("orders")
    threading.Thread(target=lambda: consumer.run(print), daemon=True).start()
    time.sleep(0.2)


@program
def ends_with_open_consumers_of_asyncio(url: str) -> None:
    import asyncio

    async def main() -> None:
        broker = broker_of(url, "fluxa_fast.asyncio")
        await broker.publish("orders", 1)
        await broker.publish("orders", 2)
        loop = broker.consumer_single("orders").batches(1, None)
        await anext(loop)
        eager = broker.new_flusher(eager=True)
        await eager.publish_many("orders", ["x" * 100] * 1000)
        other = broker.consumer_many("orders")
        await other.consume(1, None, print)
        keep.extend((loop, eager, other, broker))

    asyncio.run(main())


keep: list[Any] = []


# ---- forks ----------------------------------------------------------------------------------------------


def _in_child(work: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@program
def forks(url: str) -> None:
    """Whatever was made before a fork is used by both: each on connections of its own."""
    broker = broker_of(url)
    consumer = broker.consumer_many("orders")
    flusher = broker.new_flusher(eager=True)
    broker.publish("orders", "before")
    seen: list[Any] = []

    def handle(events: Any) -> None:
        seen.extend(event.body for event in events)

    assert consumer.consume(10, None, handle) == 1

    def child() -> None:
        for number in range(50):
            broker.publish("users", number)
        flusher.publish_many("users", range(50))
        assert len(flusher.flush()) == 50
        assert consumer.consume(10, None, handle) == 0
        assert broker.get_stream_statistics("users").len == 100
        with broker.consumer_many("users") as own:
            assert own.consume(1000, None, print) == 100

    _in_child(child)
    broker.publish("orders", "after")
    assert consumer.consume(10, None, handle) == 1
    assert seen == ["before", "after"]
    assert consumer.cleanup() == 0


@program
def forks_while_threads_publish(url: str) -> None:
    """A thread that held a lock when the process forked is not there to release it."""
    broker = broker_of(url)
    over = threading.Event()

    def publish() -> None:
        while not over.is_set():
            broker.publish("orders", 1)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)  # until all are connected: Python's own locks for imports don't outlive a fork
    for _ in range(40):
        _in_child(lambda: [broker.publish("users", 1) for _ in range(20)] and None)
    over.set()
    for thread in threads:
        thread.join()
    assert broker.get_stream_statistics("users").len == 800


@program
def forks_with_asyncio(url: str) -> None:
    import asyncio

    broker = broker_of(url, "fluxa_fast.asyncio")

    async def publish(count: int) -> None:
        flusher = broker.new_flusher()
        await flusher.publish_many("orders", range(count))
        assert len(await flusher.flush()) == count
        await broker.publish("orders", "one")

    with asyncio.Runner() as runner:
        runner.run(publish(10))
        _in_child(lambda: asyncio.run(publish(20)))
        runner.run(publish(10))
        assert runner.run(broker.get_stream_statistics("orders")).len == 43


# ---- patched sockets ------------------------------------------------------------------------------------


@program
def runs_under_gevent(url: str) -> None:
    from gevent import monkey

    monkey.patch_all()
    import gevent

    broker = broker_of(url)
    seen: list[Any] = []
    consumer = broker.consumer_many("orders")
    waiting = gevent.spawn(consumer.run, lambda events: seen.extend(event.body for event in events))

    def produce(number: int) -> None:
        flusher = broker.new_flusher(eager=bool(number % 2))
        for _ in range(5):
            flusher.publish_many("orders", [number] * 2000)
            flusher.flush()
            broker.publish("orders", number)

    began = time.monotonic()
    gevent.joinall([gevent.spawn(produce, number) for number in range(8)], raise_error=True)
    while len(seen) < 8 * 5 * 2001 and time.monotonic() < began + 30:
        gevent.sleep(0.01)
    consumer.stop()
    waiting.join(5)
    waiting.get()
    assert sorted(set(seen)) == list(range(8))
    assert len(seen) == 8 * 5 * 2001

    blocked = gevent.spawn(broker.consumer_many("users").consume, 1, 20.0, print)
    gevent.sleep(0.1)
    blocked.kill()  # in the middle of a read
    gevent.sleep(0.1)  # Redis 6.2 would hand the event to the connection that was just closed
    broker.publish("users", 1)
    assert broker.consumer_many("users").consume(10, None, lambda events: None) == 1


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
