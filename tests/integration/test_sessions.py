"""One call of a consumer at a time: every other call is refused, and the refusal changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
import redis

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import Event, FluxaError, Recovery
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import Run
from tests.integration.test_handlers import fill, left, new_consumer, registry
from tests.isolated.interrupted import interrupted
from tests.unresponsive_server import unresponsive

GROUP = "consumer_group"
KINDS = ["plain", "partitioned", "ordered"]
CALLS: dict[str, Callable[[Any], Any]] = {
    "consume": lambda consumer: consumer.consume(10, None, print),
    "run": lambda consumer: consumer.run(print),
    "auto_claim": lambda consumer: consumer.auto_claim(10, 0.0, print),
    "cleanup": lambda consumer: consumer.cleanup(),
    "batches": lambda consumer: consumer.batches(10, None),
}


def bodies_into(seen: list[Any]) -> Callable[[Sequence[Event]], None]:
    return lambda events: seen.extend(event.body for event in events)


@pytest.fixture
def engine(implementation: Implementation, server_url: str, client: redis.Redis) -> Iterator[Any]:
    """An engine for blocking use, with the streams `orders` and `parts`."""
    with registry(fluxa_fast, server_url).validate() as engine:
        yield engine


def refusals(consumer: Any, words: str) -> None:
    for call in CALLS.values():
        with pytest.raises(FluxaError, match=words):
            call(consumer)
    assert consumer.name
    assert consumer.stream


async def refusals_awaited(consumer: Any, words: str) -> None:
    for name, call in CALLS.items():
        with pytest.raises(FluxaError, match=words):
            await call(consumer) if name != "batches" else call(consumer)
    assert consumer.name
    assert consumer.stream


@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_refuses_calls_of_its_own_handler(engine: Any, client: redis.Redis, kind: str) -> None:
    broker = engine.new_context().get_event_broker()
    consumer = new_consumer(broker, kind)
    other = new_consumer(broker, kind)
    seen: list[Any] = []

    def handle(events: Sequence[Event]) -> None:
        refusals(consumer, "in use by the call whose handler this is")
        events[0].ack()
        seen.extend(event.body for event in events)
        if len(seen) == 60:
            consumer.stop()

    fill(broker, kind, 60)
    consumer.run(handle, 10)
    assert sorted(seen) == list(range(60))
    assert left(client, engine, kind) == 0
    fill(broker, kind, 5)
    seen.clear()
    while len(seen) < 5:
        consumer.consume(5, 1.0, handle)
    fill(broker, kind, 5)
    if kind != "ordered":
        with suppress(LookupError):
            other.consume(60, None, lambda events: [][0])
        seen.clear()
        assert consumer.auto_claim(10, 0.0, handle) == 5
        assert left(client, engine, kind) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_refuses_calls_in_a_loop_over_its_batches(engine: Any, client: redis.Redis, kind: str) -> None:
    broker = engine.new_context().get_event_broker()
    fill(broker, kind, 60)
    consumer = new_consumer(broker, kind)
    seen: list[Any] = []
    waits = 2.0  # an owner first waits for its share
    for events in consumer.batches(10, waits):
        refusals(consumer, r"in use by a loop over its batches\(\)")
        seen += [event.body for event in events]
        events[0].ack()
    assert sorted(seen) == list(range(60))
    assert left(client, engine, kind) == 0
    fill(broker, kind, 10)
    with consumer:
        two = consumer.batches(10, waits), consumer.batches(10, waits)
        assert next(two[0])
        with pytest.raises(FluxaError, match=r"in use by a loop over its batches\(\)"):
            next(two[1])
    assert next(two[1])  # the refusal has changed nothing, and the block has ended the first loop
    two[1].close()
    with pytest.raises(StopIteration):
        next(two[1])
    assert consumer.consume(20, 5.0, print)


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterator_that_was_refused_within_a_handler_can_be_used_later(engine: Any, kind: str) -> None:
    broker = engine.new_context().get_event_broker()
    fill(broker, kind, 20)
    consumer = new_consumer(broker, kind)
    batches = consumer.batches(10, 2.0)

    def handle(events: Sequence[Event]) -> None:
        with pytest.raises(FluxaError, match="in use"):
            next(batches)
        consumer.stop()

    consumer.run(handle, 5)
    assert next(batches)
    batches.close()


def test_cleanup_does_not_forget_that_the_consumer_was_stopped(broker: Any) -> None:
    broker.publish("orders", 1)
    consumer = broker.consumer_single("orders")
    consumer.stop()
    consumer.cleanup()
    assert consumer.consume(1, None, print) == 0
    assert consumer.consume(1, None, print) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_refuses_calls_of_other_threads(engine: Any, client: redis.Redis, kind: str) -> None:
    broker = engine.new_context().get_event_broker()
    fill(broker, kind, 30)
    consumer = new_consumer(broker, kind)
    seen: list[Any] = []
    handling = threading.Event()

    def handle(events: Sequence[Event]) -> None:
        handling.set()
        seen.extend(event.body for event in events)
        time.sleep(0.05)

    thread = threading.Thread(target=consumer.run, args=(handle, 5))
    thread.start()
    assert handling.wait(30)
    while len(seen) < 30:
        refusals(consumer, "in use by another thread")  # cleanup, too, whose refusal closed the connection
    consumer.stop()
    thread.join()
    assert sorted(seen) == list(range(30))
    assert left(client, engine, kind) == 0


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_asyncio_refuses_with_the_same_words(
    engine: Any, server_url: str, client: redis.Redis, run: Run, kind: str, concurrency: int
) -> None:
    fill(engine.new_context().get_event_broker(), kind, 60)

    async def work() -> None:
        async with registry(fluxa_fast.asyncio, server_url).validate() as awaited:
            consumer = new_consumer(awaited.new_context().get_event_broker(), kind)
            seen: list[Any] = []

            async def handle(events: Sequence[Any]) -> None:
                alone = concurrency == 1 and kind == "plain"
                words = "the call whose handler this is" if alone else "or by the call whose handler this is"
                await refusals_awaited(consumer, words)
                await events[0].ack()
                seen.extend(event.body for event in events)
                if len(seen) == 60:
                    consumer.stop()

            await consumer.run(handle, 10, concurrency=concurrency)
            assert sorted(seen) == list(range(60))
            assert left(client, engine, kind) == 0
            fill(engine.new_context().get_event_broker(), kind, 20)
            seen.clear()
            async for events in consumer.batches(10, 2.0):
                await refusals_awaited(consumer, r"in use by a loop over its batches\(\)")
                seen += [event.body for event in events]
            assert sorted(seen) == list(range(20))
            waiting = asyncio.ensure_future(consumer.consume(1, 0.5, print))
            await asyncio.sleep(0.05)
            await refusals_awaited(consumer, "in use by another task")
            await waiting

    run(work())


@pytest.mark.parametrize("kind", ["plain", "partitioned"])
def test_asyncio_settles_a_loop_that_was_left_when_the_block_ends(
    engine: Any, server_url: str, client: redis.Redis, run: Run, kind: str
) -> None:
    """Also where the iterator is kept, and where an exception leaves the block."""
    fill(engine.new_context().get_event_broker(), kind, 40)

    async def work() -> None:
        async with registry(fluxa_fast.asyncio, server_url).validate() as awaited:
            broker = awaited.new_context().get_event_broker()
            async with new_consumer(broker, kind) as consumer:
                batches = consumer.batches(10, None)
                handled = len(await anext(batches))
                assert await anext(batches)
            assert left(client, engine, kind) == 40 - handled
            with pytest.raises(LookupError):
                async with new_consumer(broker, kind) as consumer:
                    batches = consumer.batches(10, 0.5)
                    with suppress(StopAsyncIteration):
                        handled += len(await anext(batches))
                        await anext(batches)
                    raise LookupError
            assert left(client, engine, kind) == 40 - handled

    run(work())


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_call_leaves_a_stop_that_was_asked_for(engine: Any, kind: str) -> None:
    broker = engine.new_context().get_event_broker()
    consumer = new_consumer(broker, kind)
    consumer.stop()

    def handle(events: Sequence[Event]) -> None:
        raise AssertionError("it was stopped before")

    fill(broker, kind, 3)
    consumer.run(handle)
    fill(broker, kind, 1)
    calls = []

    def stop_and_call(events: Sequence[Event]) -> None:
        calls.append(len(events))
        consumer.stop()
        with pytest.raises(FluxaError, match="in use"):
            consumer.cleanup()

    consumer.run(stop_and_call, 1)
    assert calls == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_no_batch_begins_after_stop(engine: Any, server_url: str, client: redis.Redis, run: Run, kind: str) -> None:
    """Neither what was read ahead, nor what another partition has brought, nor what was claimed."""
    blocking = engine.new_context().get_event_broker()
    fill(blocking, kind, 200)
    consumer = new_consumer(blocking, kind)
    sizes: list[int] = []

    def stop(events: Sequence[Any]) -> None:
        sizes.append(len(events))
        consumer.stop()

    consumer.run(stop, 10)
    consumer.run(stop, 10)
    while len(sizes) < 3:
        consumer.consume(10, 1.0, stop)
    assert len(sizes) == 3
    if kind != "ordered":
        with suppress(LookupError):
            new_consumer(blocking, kind).consume(100, None, lambda events: [][0])
        consumer.auto_claim(10, 0.0, stop)
        assert len(sizes) == 4
    assert left(client, engine, kind) == 200 - sum(sizes)
    consumer.cleanup()

    async def work() -> None:
        async with registry(fluxa_fast.asyncio, server_url).validate() as awaited:
            nonlocal consumer
            consumer = new_consumer(awaited.new_context().get_event_broker(), kind)
            for concurrency in (1, 4):
                begun: list[bool] = []
                stopped = False

                async def handle(events: Sequence[Any]) -> None:
                    nonlocal stopped
                    begun.append(stopped)  # noqa: B023 (it is called in this turn of the loop)
                    await asyncio.sleep(0.05)
                    stopped = True
                    consumer.stop()

                await consumer.run(handle, 5, concurrency=concurrency)
                assert not any(begun)
            if kind != "ordered":
                stopped = False
                begun = []
                await consumer.auto_claim(2, 0.0, handle)
                assert begun == [False]

    run(work())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_may_use_a_consumer_that_was_in_use(engine: Any) -> None:
    broker = engine.new_context().get_event_broker()
    fill(broker, "plain", 2)
    consumer = broker.consumer_single("orders")
    batches = consumer.batches(1, None)
    assert next(batches)[0].body == 0
    child = os.fork()
    if not child:
        code = 1
        with suppress(BaseException):
            seen: list[Any] = []
            consumer.consume(2, None, bodies_into(seen))
            code = 0 if 1 in seen else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
def test_a_consumer_that_has_lost_its_partition_does_not_spin(engine: Any, client: redis.Redis, delivery: Any) -> None:
    """It asked the partition's new owner's questions again and again, thousands of times a second."""
    for key in engine.partitions("parts"):
        client.xgroup_create(key, "other", "0", mkstream=True)  # so there is always something to trim
    broker = engine.new_context().get_event_broker()
    consumers = [broker.consumer_ordered("parts", lease=1.0, delivery=delivery) for _ in range(5)]
    handled: list[Any] = []
    threads = [threading.Thread(target=one.run, args=(bodies_into(handled), 10)) for one in consumers]
    threads[0].start()
    for number in range(30):
        broker.publish("parts", number, key=number)
    end = time.monotonic() + 60
    while len(handled) < 30 and time.monotonic() < end:
        time.sleep(0.05)
    for thread in threads[1:]:  # more of them than partitions
        thread.start()
    time.sleep(3.0)
    before = client.info("stats")["total_commands_processed"]
    began = time.monotonic()
    time.sleep(2.0)
    rate = (client.info("stats")["total_commands_processed"] - before) / (time.monotonic() - began)
    for one in consumers:
        one.stop()
    for thread in threads:
        thread.join()
    assert rate < 1000


# ---- interruptions --------------------------------------------------------------------------------------


needs_signals = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of POSIX")


@needs_signals
@pytest.mark.parametrize("way", ["consume", "batches", "run"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_anywhere_comes_out_and_the_consumer_goes_on(
    engine: Any, server_url: str, client: redis.Redis, kind: str, way: str
) -> None:
    """As Ctrl-C, or the time limit of a job: between any two lines. Nothing is lost, and nothing hangs."""
    broker = engine.new_context().get_event_broker()
    fill(broker, kind, 800)
    program = subprocess.run(
        [sys.executable, "-m", "tests.isolated.interrupted", server_url, kind, way],
        env={**os.environ, "FLUXA_FAST_IMPL": fluxa_fast.protocol.default.name},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert program.returncode == 0, program.stdout + program.stderr
    end = time.monotonic() + 60  # what was handled and not acknowledged comes again
    while left(client, engine, kind) and time.monotonic() < end:
        consumer = new_consumer(broker, kind)
        if kind != "ordered":
            consumer.auto_claim(1000, 0.0, print)
        consumer.consume(1000, 1.0, print)
    assert left(client, engine, kind) == 0


@needs_signals
@pytest.mark.blocking
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["unresponsive", "gone"])
def test_an_interruption_is_not_kept_waiting_by_a_server_that_is_away(
    implementation: Implementation, own_server: EmbeddedServer, kind: str, how: str
) -> None:
    """Neither by settling what was handled, nor at the end of the `with` block: the exception comes out, and soon."""
    with registry(fluxa_fast, own_server.url).validate() as engine:
        broker = engine.new_context().get_event_broker()
        fill(broker, kind, 5)
        consumer = new_consumer(broker, kind)
        while not consumer.consume(10, 1.0, print):
            pass

        def run() -> None:
            with consumer:
                consumer.run(print)

        with unresponsive(own_server):
            if how == "gone":
                own_server.kill()
            began = time.monotonic()
            assert interrupted(run, 0.3)
            took = time.monotonic() - began
        if how == "gone":
            own_server.start()
    assert took < 15  # a second to settle, another one to leave, and a busy machine; it was the socket's 30 seconds


@pytest.mark.blocking
def test_an_exception_comes_out_of_the_block_whatever_leaving_meets(
    implementation: Implementation, own_server: EmbeddedServer
) -> None:
    with registry(fluxa_fast, own_server.url).validate() as engine:
        broker = engine.new_context().get_event_broker()
        for kind in KINDS:
            began = time.monotonic()
            with pytest.raises(LookupError), new_consumer(broker, kind):
                own_server.kill()
                raise LookupError
            assert time.monotonic() - began < 15
            own_server.start()
            with pytest.raises(redis.ConnectionError), _with_recovery(broker, kind, Recovery(deadline=0.2)) as consumer:
                consumer.consume(1, None, print)
                own_server.kill()
            own_server.start()


def _with_recovery(broker: Any, kind: str, recovery: Recovery) -> Any:
    make = broker.consumer_ordered if kind == "ordered" else broker.consumer_many
    return make("orders" if kind == "plain" else "parts", recovery=recovery)
