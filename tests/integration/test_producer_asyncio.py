"""What only the producer on asyncio has: tasks that share it, what is awaited, cancellation, and the end of event loops."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from fluxa_fast import DeliveryTimeoutError, FluxaError
from fluxa_fast.asyncio import EventBroker, Registry
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import ALL_LOOPS, Run


@pytest.fixture
def broker(implementation: Implementation, server_url: str, client: redis.Redis, run: Run) -> Iterator[EventBroker]:
    registry = Registry()
    registry.register_redis(server_url)
    registry.register_redis_stream("orders")
    registry.register_redis_stream("users")
    engine = registry.validate()
    yield engine.new_context().get_event_broker()
    run(engine.aclose())


async def _bodies(broker: EventBroker, stream: str = "orders") -> list[Any]:
    return [event.body async for event in broker.read(stream)]


@ALL_LOOPS
def test_a_thousand_tasks_publish_and_each_is_told_its_id(broker: EventBroker, run: Run) -> None:
    async def main() -> None:
        async with broker.new_producer(max_buffered_events=300) as producer:

            async def work(number: int) -> list[str]:
                await producer.publish("users", number)
                return [await producer.publish_confirmed("orders", [number, place]) for place in range(3)]

            ids = await asyncio.gather(*map(work, range(1000)))
        found = {event.id: event.body async for event in broker.read("orders")}
        assert found == {id: [number, place] for number, own in enumerate(ids) for place, id in enumerate(own)}
        assert sorted(await _bodies(broker, "users")) == list(range(1000))

    run(main())


def test_what_publish_returns_can_be_awaited_in_every_way(broker: EventBroker, run: Run) -> None:
    async def main() -> None:
        async with broker.new_producer(max_batch_bytes=1) as producer:  # each event is a batch, and yields to others
            await producer.publish("orders", 0)
            await asyncio.gather(*[producer.publish("orders", number) for number in range(1, 4)])
            await asyncio.create_task(producer.publish("orders", 4))  # type: ignore[arg-type]
            await asyncio.wait_for(producer.publish("orders", 5), 10)
            producer.publish("orders", 6)  # nothing has to be awaited as long as there is room
            async with asyncio.TaskGroup() as group:
                group.create_task(producer.publish("orders", 7))  # type: ignore[arg-type]
        assert await _bodies(broker) == list(range(8))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main())
        gc.collect()


def test_a_task_that_publishes_in_a_loop_lets_others_run(broker: EventBroker, run: Run) -> None:
    async def main() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        async with broker.new_producer() as producer:
            for number in range(20_000):
                await producer.publish("orders", number)
            seen = turns
        counting.cancel()
        return seen

    assert run(main()) > 5


def test_a_publisher_that_is_cancelled_while_it_waits_has_published_nothing(
    implementation: Implementation, own_server: EmbeddedServer, run: Run
) -> None:
    async def main() -> None:
        registry = Registry()
        registry.register_redis(own_server.url)
        registry.register_redis_stream("orders")
        async with registry.validate() as engine:
            broker = engine.new_context().get_event_broker()
            with own_server.client() as client:
                client.config_set("maxmemory", 1)
                async with broker.new_producer(max_buffered_events=1) as producer:
                    await producer.publish("orders", 0)
                    waiting = [asyncio.ensure_future(producer.publish("orders", number)) for number in range(1, 5)]
                    confirmed = asyncio.ensure_future(producer.publish_confirmed("orders", 5))
                    with pytest.raises(DeliveryTimeoutError):
                        await producer.flush(0.1)
                    for one in (waiting[0], waiting[2]):
                        one.cancel()
                    client.config_set("maxmemory", 0)
                    await asyncio.wait([*waiting, confirmed])
                assert [one.cancelled() for one in waiting] == [True, False, True, False]
                found = {event.body: event.id async for event in broker.read("orders")}
                assert list(found) == [0, 2, 4, 5]
                assert confirmed.result() == found[5]

    run(main())


def test_a_future_that_is_cancelled_changes_nothing(broker: EventBroker, run: Run) -> None:
    async def main() -> None:
        async with broker.new_producer() as producer:
            futures = [asyncio.ensure_future(producer.publish_confirmed("orders", number)) for number in range(3)]
            futures[1].cancel()
            assert await futures[2]
        assert await _bodies(broker) == [0, 1, 2]

    run(main())


def test_coroutine_functions_are_awaited(broker: EventBroker, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    async def on_delivery(report: Any) -> None:
        await asyncio.sleep(0.01)
        told.append(report.events)
        raise KeyError("whatever")

    async def main() -> None:
        async with broker.new_producer(on_delivery=on_delivery) as producer:
            await producer.publish_many("orders", range(5))
            await producer.flush()
            assert told == [5]
            await producer.publish("orders", 5)

    run(main())
    assert told == [5, 1]
    assert caplog.text.count("a callback of a producer has failed") == 2


def test_another_event_loop_at_the_same_time_is_refused(broker: EventBroker, run: Run) -> None:
    async def main() -> None:
        async with broker.new_producer(linger=1000) as producer:
            await producer.publish("orders", 1)

            def elsewhere() -> None:
                async def flush() -> None:
                    await producer.flush()

                asyncio.run(flush())

            with pytest.raises(FluxaError, match="another event loop"):
                await asyncio.to_thread(elsewhere)

    run(main())
