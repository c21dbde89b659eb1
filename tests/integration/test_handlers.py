"""Promise 9: a handler that can't have handled its events is an error, never an acknowledgement.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import redis

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import Event
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import Run

GROUP = "consumer_group"
PARTITIONS = 3
KINDS = ["plain", "partitioned", "ordered", "at most once", "typed"]


async def awaited(events: Sequence[Event]) -> None: ...


def generating(events: Sequence[Event]) -> Iterator[int]:
    yield 1


async def generating_awaited(events: Sequence[Event]) -> AsyncIterator[int]:
    yield 1


class Handlers:
    async def awaited(self, events: Sequence[Event]) -> None: ...

    def generating(self, events: Sequence[Event]) -> Iterator[int]:
        yield 1

    @staticmethod
    async def static(events: Sequence[Event]) -> None: ...


class Callable1:
    async def __call__(self, events: Sequence[Event]) -> None: ...


class Callable2:
    def __call__(self, events: Sequence[Event]) -> Iterator[int]:
        yield 1


ASYNC = [
    awaited,
    Handlers().awaited,
    Handlers.static,
    partial(awaited),
    partial(partial(Handlers().awaited)),
    Callable1(),
    partial(Callable1()),
]
GENERATORS = [
    generating,
    generating_awaited,
    Handlers().generating,
    partial(generating),
    partial(generating_awaited),
    Callable2(),
    partial(Callable2()),
]
UNCALLABLE = [None, 5, "handle", [print]]


def registry(package: Any, url: str) -> Any:
    made = package.Registry()
    made.register_redis(url)
    made.register_redis_stream("orders")
    made.register_redis_stream("parts", partitions=PARTITIONS)
    return made


def new_consumer(broker: Any, kind: str) -> Any:
    if kind == "typed":
        return broker.register_body("orders", int).consumer_many()
    if kind == "at most once":
        return broker.consumer_many("orders", delivery="at-most-once")
    if kind == "ordered":
        return broker.consumer_ordered("parts", lease=2.0)
    return broker.consumer_many("parts" if kind == "partitioned" else "orders")


def fill(broker: Any, kind: str, events: int) -> list[int]:
    """Publish events on the blocking face. Returns their bodies."""
    stream = "parts" if kind in ("partitioned", "ordered") else "orders"
    flusher = broker.new_flusher()
    for number in range(events):
        flusher.publish(stream, number)
    flusher.flush()
    return list(range(events))


def left(client: redis.Redis, engine: Any, kind: str) -> int:
    stream = "parts" if kind in ("partitioned", "ordered") else "orders"
    return sum(int(client.xlen(key)) for key in engine.partitions(stream))


Begin = Callable[[Any, Any], Any]
CALLS: dict[str, Begin] = {
    "consume": lambda consumer, handler: consumer.consume(10, None, handler),
    "run": lambda consumer, handler: consumer.run(handler, 10),
    "auto_claim": lambda consumer, handler: consumer.auto_claim(10, 0.0, handler),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_promise_9_what_can_handle_nothing_is_refused_before_anything_is_read(
    implementation: Implementation, server_url: str, client: redis.Redis, kind: str, call: str, run: Run
) -> None:
    with registry(fluxa_fast, server_url).validate() as engine:
        broker = engine.new_context().get_event_broker()
        fill(broker, kind, 3)
        before = (
            client.info("commandstats")["cmdstat_xreadgroup"]["calls"]
            if "cmdstat_xreadgroup" in client.info("commandstats")
            else 0
        )
        consumer = new_consumer(broker, kind)
        for handler in [*ASYNC, *GENERATORS, *UNCALLABLE]:
            with pytest.raises(TypeError, match="handler"):
                CALLS[call](consumer, handler)

        async def work() -> None:
            async with registry(fluxa_fast.asyncio, server_url).validate() as awaited_engine:
                consumer = new_consumer(awaited_engine.new_context().get_event_broker(), kind)
                for handler in [*GENERATORS, *UNCALLABLE]:
                    with pytest.raises(TypeError, match="handler"):
                        await CALLS[call](consumer, handler)

        run(work())
        assert left(client, engine, kind) == 3
        after = client.info("commandstats").get("cmdstat_xreadgroup", {"calls": 0})["calls"]
        assert after == before


def _coroutine(events: Sequence[Event]) -> Any:
    return awaited(events)


def _future(events: Sequence[Event]) -> Any:
    return Future()


ANSWERS: list[Callable[[Sequence[Event]], Any]] = [
    _coroutine,
    _future,
    lambda events: awaited(events),
    lambda events: generating(events),
    lambda events: generating_awaited(events),
    lambda events: (event.body for event in events),
    lambda events: map(print, events),
    lambda events: zip(events, events, strict=True),
    lambda events: _Awaitable(),
    lambda events: [awaited(events), awaited(events)],
    lambda events: (map(print, events),),
    lambda events: _failed_future(),
]


def _failed_future() -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(LookupError())
    return future


class _Awaitable:
    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize("handler", ANSWERS)
@pytest.mark.parametrize("kind", ["plain", "partitioned", "ordered", "typed"])
def test_promise_9_work_that_is_still_to_be_done_is_not_acknowledged(
    implementation: Implementation, server_url: str, client: redis.Redis, kind: str, handler: Any
) -> None:
    with registry(fluxa_fast, server_url).validate() as engine:
        broker = engine.new_context().get_event_broker()
        bodies = fill(broker, kind, 20)
        consumer = new_consumer(broker, kind)
        with pytest.raises(TypeError, match=r"handler .* returned .*; nothing was acknowledged"):
            consumer.consume(10, 2.0, handler)
        with pytest.raises(TypeError, match=r"handler .* returned .*; nothing was acknowledged"):
            consumer.run(handler, 10)
        assert left(client, engine, kind) == 20
        seen: list[int] = []
        while len(set(seen)) < 20:
            consumer.consume(20, 2.0, lambda events: seen.extend(event.body for event in events))
        assert sorted(seen) == bodies
        other = new_consumer(broker, kind)
        fill(broker, kind, 3)
        with pytest.raises(TypeError, match="returned"):
            for _ in range(20):  # an owner first waits for its share
                consumer.consume(3, 2.0, handler)
        if kind != "ordered":
            with pytest.raises(TypeError, match="returned"):
                other.auto_claim(10, 0.0, handler)
        assert left(client, engine, kind) == 3


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("kind", ["plain", "partitioned"])
def test_promise_9_on_asyncio_what_an_async_handler_returns_is_asked_too(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run, kind: str, concurrency: int
) -> None:
    async def returns_a_coroutine(events: Sequence[Event]) -> Any:
        return awaited(events)  # which is not awaited

    async def returns_a_generator(events: Sequence[Event]) -> Any:
        return generating(events)

    def returns_a_generator_at_once(events: Sequence[Event]) -> Any:
        return generating(events)

    async def work() -> None:
        async with registry(fluxa_fast.asyncio, server_url).validate() as engine:
            consumer = new_consumer(engine.new_context().get_event_broker(), kind)
            for handler in (returns_a_coroutine, returns_a_generator, returns_a_generator_at_once):
                with pytest.raises(TypeError, match="nothing was acknowledged"):
                    await consumer.consume(10, 2.0, handler)
                with pytest.raises(TypeError, match="nothing was acknowledged"):
                    await consumer.run(handler, 2, concurrency=concurrency)
            assert left(client, engine, kind) == 6
            seen: list[int] = []

            def handle_in_a_task(events: Sequence[Event]) -> Any:
                async def later() -> None:
                    await asyncio.sleep(0)
                    seen.extend(event.body for event in events)

                return asyncio.ensure_future(later())

            while len(seen) < 6:
                await consumer.consume(10, None, handle_in_a_task)
            assert sorted(seen) == list(range(6))
            assert left(client, engine, kind) == 0

    with registry(fluxa_fast, server_url).validate() as blocking:
        fill(blocking.new_context().get_event_broker(), kind, 6)
    run(work())


@pytest.mark.blocking  # asyncio awaits it
def test_what_a_handler_gave_back_is_closed(broker: Any) -> None:
    """So Python does not warn of a coroutine that was never awaited."""
    closed = []

    class Coroutine:
        def __await__(self) -> Iterator[None]:
            yield

        def close(self) -> None:
            closed.append(self)

    broker.publish("orders", 1)
    with pytest.raises(TypeError, match="Coroutine"):
        broker.consumer_many("orders").consume(1, None, lambda events: Coroutine())
    assert len(closed) == 1


def test_plain_values_that_a_handler_returns_are_ignored(broker: Any, client: redis.Redis, tmp_path: Path) -> None:
    """Also those that can be iterated over, such as the cursor of a database, whose work is done."""
    consumer = broker.consumer_single("orders")
    with sqlite3.connect(":memory:") as database, (tmp_path / "file").open("w", encoding="utf-8") as file:
        for value in (1, "x", [1], [], {}, False, file, itertools.count(), database.execute("SELECT 1"), MagicMock()):
            broker.publish("orders", 1)
            assert consumer.consume(1, None, lambda events, value=value: value) == 1
        assert not file.closed
    assert client.xlen("orders") == 0


@pytest.mark.blocking
def test_what_closing_raises_does_not_hide_what_was_wrong(broker: Any) -> None:
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("mine")

    def begun(events: Sequence[Event]) -> Any:
        answer = stubborn()
        next(answer)
        return answer

    broker.publish("orders", 1)
    with pytest.raises(TypeError, match="returned generator"):
        broker.consumer_many("orders").consume(1, None, begun)


@pytest.mark.parametrize("kind", ["plain", "partitioned", "ordered", "at most once"])
def test_a_handler_may_change_the_list_that_it_is_given(
    implementation: Implementation, server_url: str, client: redis.Redis, kind: str, run: Run
) -> None:
    seen: list[int] = []

    def take_all(events: Any) -> None:
        while events:
            seen.append(events.pop().body)
        events += ["mine", None]

    with registry(fluxa_fast, server_url).validate() as engine:
        broker = engine.new_context().get_event_broker()
        fill(broker, kind, 100)
        consumer = new_consumer(broker, kind)
        while len(seen) < 100:
            consumer.consume(10, 2.0, take_all)
        assert sorted(seen) == list(range(100))
        assert left(client, engine, kind) == 0
        fill(broker, kind, 100)
        seen.clear()
        for events in consumer.batches(10, 1.0):
            take_all(events)
        assert sorted(seen) == list(range(100))
        assert left(client, engine, kind) == 0
        consumer.cleanup()
        fill(broker, kind, 100)
        seen.clear()

        async def work() -> None:
            async with registry(fluxa_fast.asyncio, server_url).validate() as awaited_engine:
                consumer = new_consumer(awaited_engine.new_context().get_event_broker(), kind)
                asyncio.get_running_loop().call_later(20.0, consumer.stop)

                def stop_in_the_end(events: Any) -> None:
                    take_all(events)
                    if len(seen) == 100:
                        consumer.stop()

                await consumer.run(stop_in_the_end, 10, concurrency=3)

        run(work())
        assert sorted(seen) == list(range(100))
        assert left(client, engine, kind) == 0


def _of_a_generator() -> RuntimeError:
    """What Python makes of a StopIteration that comes out of a generator."""
    error = RuntimeError("generator raised StopIteration")
    error.__cause__ = StopIteration()
    return error


@pytest.mark.parametrize("kind", ["plain", "partitioned", "ordered"])
@pytest.mark.parametrize("call", ["consume", "run", "auto_claim"])
def test_any_exception_of_a_handler_reaches_the_caller_unchanged(
    implementation: Implementation, server_url: str, client: redis.Redis, kind: str, call: str
) -> None:
    """StopIteration and GeneratorExit too, which generators between the handler and the caller might take for theirs."""
    with registry(fluxa_fast, server_url).validate() as engine:
        broker = engine.new_context().get_event_broker()
        fill(broker, kind, 5)
        gone = new_consumer(broker, kind)
        if call == "auto_claim":
            with pytest.raises(LookupError):
                for _ in range(20):
                    gone.consume(10, 2.0, lambda events: [][0])
        consumer = gone if kind == "ordered" else new_consumer(broker, kind)
        for error in (
            StopIteration("mine"),
            StopAsyncIteration("mine"),
            KeyboardInterrupt("mine"),
            GeneratorExit("mine"),
            _of_a_generator(),
            LookupError("mine"),
        ):

            def fail(events: Sequence[Event], error: BaseException = error) -> None:
                raise error

            cause = error.__cause__
            with pytest.raises(type(error)) as caught:
                for _ in range(20):  # an owner first waits for its share
                    CALLS[call](consumer, fail)
            assert caught.value is error
            assert error.__cause__ is cause
        assert left(client, engine, kind) == 5


def test_a_handler_that_is_cancelled_by_itself_ends_run_however_many_are_at_work(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run
) -> None:
    """Its own CancelledError (of a task that it awaited, for one) was swallowed, and its batch came again and again."""
    calls = []

    async def cancelled(events: Sequence[Event]) -> None:
        calls.append(len(events))
        inner = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    async def work() -> None:
        async with registry(fluxa_fast.asyncio, server_url).validate() as engine:
            broker = engine.new_context().get_event_broker()
            for kind in ("plain", "partitioned"):
                for concurrency in (1, 2, 8):
                    calls.clear()
                    with pytest.raises(asyncio.CancelledError):
                        await new_consumer(broker, kind).run(cancelled, 1, concurrency=concurrency)
                    assert len(calls) <= 2 * concurrency
                    await broker.publish("orders", 1)
                    await broker.publish("parts", 1)
            assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]

    with registry(fluxa_fast, server_url).validate() as blocking:
        broker = blocking.new_context().get_event_broker()
        fill(broker, "plain", 20)
        fill(broker, "partitioned", 20)
    run(work())
