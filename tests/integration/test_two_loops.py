"""One engine of asyncio in two event loops that run at the same time: the second is told so, the first goes on."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis

from fluxa_fast import FluxaError
from fluxa_fast.asyncio import Engine, EventBroker, Registry
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.protocol import Implementation
from tests.awaited import Loop
from tests.fix_cluster import ON_CLUSTERS

IN_USE = pytest.raises(FluxaError, match=r"in use by another event loop, which is running; make an engine for each")


def loops_are_left(test: Any) -> Any:
    """The test leaves connections of loops that are over."""
    ignoring = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return ignoring(pytest.mark.usefixtures("connections_of_loops_that_were_left")(test))


@pytest.fixture
def connections_of_loops_that_were_left() -> Iterator[None]:
    """Can't be closed any more; asyncio warns of them when they are collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def _engine(*address: Any, **options: Any) -> Engine:
    registry = Registry()
    registry.register_redis(*address, **options)
    registry.register_redis_stream("orders", partitions=4)
    registry.register_redis_stream("users")
    return registry.validate()


@pytest.fixture
def loops() -> Iterator[tuple[Loop, Loop]]:
    """Two of them, each in a thread of its own, that run all the time."""
    both = Loop(), Loop()
    yield both
    for one in both:
        one.close()


async def _published(broker: EventBroker, count: int = 20) -> None:
    for number in range(count):
        await broker.publish("users", number)
        await broker.publish("orders", number, key=number)


async def _flushed(flusher: Any, count: int = 500) -> int:
    for number in range(count):
        flusher.publish("users", number)
        flusher.publish("orders", number, key=number)
    return len(await flusher.flush())


async def _consumed(consumer: Any) -> int:
    return int(await consumer.consume(5, None, lambda _: None))


def _members(engine: Engine) -> dict[str, Callable[[], Awaitable[object]]]:
    """Everything of an engine that waits for a server."""
    broker = engine.new_context().get_event_broker()
    flusher, eager = broker.new_flusher(), broker.new_flusher(eager=True)
    consumers = [broker.consumer_many("users"), broker.consumer_many("orders"), broker.consumer_ordered("orders")]
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "publish": lambda: _published(broker),
        "flush": lambda: _flushed(flusher),
        "flush eagerly": lambda: _flushed(eager, 5000),
        "publish_many": lambda: flusher.publish_many("users", range(100)),
        "statistics": broker.get_streams_statistics,
    }
    for consumer in consumers:
        calls[f"consume {consumer.stream} as {consumer.name}"] = lambda one=consumer: _consumed(one)
        calls[f"clean up {consumer.stream} as {consumer.name}"] = consumer.cleanup
    return calls


def _second_is_refused(engine: Engine, loops: tuple[Loop, Loop]) -> None:
    first, second = loops
    broker = engine.new_context().get_event_broker()
    first.run(_published, broker)
    members = _members(engine)
    for call in members.values():
        first.run(call)
    fresh = _members(engine)
    for told, calls in (("used before", members), ("fresh", fresh)):
        for name, call in calls.items():
            if told == "fresh" and name == "publish_many":
                continue  # it waits for no server
            with IN_USE:
                second.run(call)
                pytest.fail(f"{name}, {told}: not refused")
    with IN_USE:
        second.run(engine.aclose)
    for call in members.values():
        first.run(call)
    first.run(engine.aclose)


def test_every_call_in_a_second_loop_is_refused(
    implementation: Implementation, server_url: str, client: redis.Redis, loops: tuple[Loop, Loop]
) -> None:
    _second_is_refused(_engine(server_url), loops)


def test_an_acknowledgement_in_a_second_loop_is_refused(
    implementation: Implementation, server_url: str, client: redis.Redis, loops: tuple[Loop, Loop]
) -> None:
    engine = _engine(server_url)
    broker = engine.new_context().get_event_broker()
    first, second = loops
    first.run(_published, broker)
    consumer = broker.consumer_many("users")

    async def batch() -> Any:
        return await anext(consumer.batches(10, None))

    events = first.run(batch)
    first.run(events[0].ack)
    with IN_USE:
        second.run(events[1].ack)
    assert not events[1].acknowledged
    first.run(events[2].ack)
    assert not events[1].acknowledged
    first.run(consumer.cleanup)
    first.run(engine.aclose)


@loops_are_left
def test_the_engine_works_in_the_loop_that_is_left(
    implementation: Implementation, server_url: str, client: redis.Redis, loops: tuple[Loop, Loop]
) -> None:
    engine = _engine(server_url)
    calls = _members(engine)
    broker = engine.new_context().get_event_broker()
    _, second = loops
    refused = []

    async def meanwhile() -> None:
        await _published(broker)
        for call in calls.values():
            await call()
        try:
            await asyncio.to_thread(second.run, _published, broker)
        except FluxaError as error:
            refused.append(error)

    for _ in range(3):
        asyncio.run(meanwhile())
    assert len(refused) == 3
    second.run(_published, broker)
    for call in calls.values():
        second.run(call)
    second.run(engine.aclose)


@loops_are_left
@pytest.mark.parametrize("fresh", [False, True])
def test_loops_that_begin_at_the_same_time(
    implementation: Implementation, server_url: str, client: redis.Redis, fresh: bool
) -> None:
    """However that ends, none of them waits for ever, and none has an error of asyncio's."""
    for _ in range(5):
        engine = _engine(server_url)
        broker = engine.new_context().get_event_broker()
        flusher = broker.new_flusher()
        if not fresh:
            asyncio.run(_published(broker))
            asyncio.run(_flushed(flusher))
        outcomes: list[Any] = []
        barrier = threading.Barrier(4)

        async def work(broker: EventBroker = broker, flusher: Any = flusher) -> None:
            for _ in range(20):
                await broker.publish("users", 1)
                await flusher.flush()
                await broker.get_streams_statistics()

        def run(barrier: Any = barrier, outcomes: list[Any] = outcomes, work: Any = work) -> None:
            barrier.wait()
            try:
                asyncio.run(asyncio.wait_for(work(), 50))
            except BaseException as error:
                outcomes.append(error)
            else:
                outcomes.append(None)

        threads = [threading.Thread(target=run, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(outcomes) == 4
        assert None in outcomes
        assert {type(one) for one in outcomes} <= {type(None), FluxaError}, outcomes
        asyncio.run(_published(broker))
        asyncio.run(engine.aclose())


class TestOnAClusterToo:
    pytestmark = ON_CLUSTERS

    def test_every_call_in_a_second_loop_is_refused(self, cluster: EmbeddedCluster, loops: tuple[Loop, Loop]) -> None:
        _second_is_refused(_engine(cluster.url), loops)
