"""A task may be cancelled wherever it waits: no event is lost, none is acknowledged unhandled, connections stay in order.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest
import redis

from fluxa_fast.asyncio import Engine, Event, EventBroker, EventConsumer, EventFlusher
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import EVERY_WAY, Run, When, cancelled_at
from tests.fix_servers import before_redis_7

GROUP = "consumer_group"
_MOST = 400  # suspensions that any of these calls may have


def broker_of(engine: Engine) -> EventBroker:
    return engine.new_context().get_event_broker()


async def at_every_await(
    when: When, begin: Callable[[], Awaitable[Any]], check: Callable[[Any], Awaitable[None]]
) -> None:
    """`begin` makes (state, coroutine); after the coroutine was cancelled at its n-th await, `check` is given the state."""
    for at in range(_MOST):
        state, work = await begin()
        was_cancelled = await cancelled_at(work, at, when)
        await check(state)
        if not was_cancelled:
            assert at, "there was nothing to cancel"
            return
    raise AssertionError("it never came to its end")


def numbers(client: redis.Redis) -> list[int]:
    return [int(fields[b"n"]) for _, fields in client.xrange("orders")]


# ---- publishing -----------------------------------------------------------------------------------------


@EVERY_WAY
def test_promise_3_a_cancelled_flush(async_engine: Engine, client: redis.Redis, run: Run, when: When) -> None:
    flusher = broker_of(async_engine).new_flusher()

    async def begin() -> Any:
        client.flushall()
        for number in range(12):
            flusher.publish("orders", b"x" * 40_000, {"n": str(number)})
        return None, flusher.flush()

    async def check(_: None) -> None:
        left = len(flusher)
        result = await flusher.flush()
        assert len(result) == left
        # What was confirmed is not sent again, what was not sent is; order is kept from there on.
        sent = numbers(client)
        assert set(sent) == set(range(12))
        assert sent[-left:] == list(range(12 - left, 12)) or not left
        assert result.ids == [id.decode() for id, _ in client.xrange("orders")][len(sent) - left :]

    run(at_every_await(when, begin, check))


@EVERY_WAY
def test_promise_3_a_cancelled_flush_of_two_pools(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run, when: When
) -> None:
    from fluxa_fast.asyncio import Registry

    registry = Registry()
    for number, pool in enumerate(("first", "second")):
        registry.register_redis(server_url, number, pool)
    registry.register_redis_stream("orders", "first")
    registry.register_redis_stream("users", "second")
    engine = registry.validate()
    flusher = broker_of(engine).new_flusher()
    second = redis.Redis.from_url(server_url, db=1)

    async def begin() -> Any:
        client.flushall()
        for number in range(10):
            flusher.publish("orders" if number % 2 else "users", b"x" * 40_000, {"n": str(number)})
        return None, flusher.flush()

    async def check(_: None) -> None:
        await flusher.flush()
        assert len(flusher) == 0
        assert set(numbers(client)) == {1, 3, 5, 7, 9}
        assert {int(fields[b"n"]) for _, fields in second.xrange("users")} == {0, 2, 4, 6, 8}

    async def all_of_it() -> None:
        async with engine:
            await at_every_await(when, begin, check)

    run(all_of_it())
    second.close()


@EVERY_WAY
def test_promise_2_a_cancelled_publish_many_collects_nothing(async_engine: Engine, run: Run, when: When) -> None:
    flusher = broker_of(async_engine).new_flusher()

    async def begin() -> Any:
        flusher.publish("orders", "before")
        before = len(flusher), flusher.size
        return before, flusher.publish_many("users", range(5000), {"some": "tag"})

    async def check(before: tuple[int, int]) -> None:
        count, size = before
        assert (len(flusher), flusher.size) == (count, size) or len(flusher) == count + 5000
        flusher.clear()

    run(at_every_await(when, begin, check))


@EVERY_WAY
def test_a_cancelled_publish_disturbs_no_other(async_engine: Engine, client: redis.Redis, run: Run, when: When) -> None:
    broker = broker_of(async_engine)

    async def begin() -> Any:
        client.flushall()
        client.client_kill_filter(_type="normal", skipme=True)  # so that it has to connect
        others = [asyncio.create_task(broker.publish("orders", 0, {"n": str(number)})) for number in (1, 2)]
        return others, broker.publish("orders", 0, {"n": "0"})

    async def check(others: Sequence[asyncio.Task[str]]) -> None:
        ids = await asyncio.gather(*others)
        entries = {fields[b"n"]: id.decode() for id, fields in client.xrange("orders")}
        assert ids == [entries[b"1"], entries[b"2"]]
        later = await broker.publish("orders", 0, {"n": "3"})
        assert client.xrevrange("orders", count=1)[0][0].decode() == later

    run(at_every_await(when, begin, check))


# ---- consuming ------------------------------------------------------------------------------------------


class Ledger:
    """What was published, and what came."""

    def __init__(self, engine: Engine, client: redis.Redis, events: int) -> None:
        self.broker = broker_of(engine)
        self.client = client
        self.events = events
        self.consumer: EventConsumer = self.broker.consumer_single("orders")
        self.handled: list[int] = []

    async def publish(self) -> None:
        self.client.flushall()
        self.handled.clear()
        flusher = self.broker.new_flusher()
        await flusher.publish_many("orders", range(self.events))
        await flusher.flush()

    async def handle(self, events: Sequence[Event]) -> None:
        await asyncio.sleep(0)  # cancelled here, they are not handled
        self.handled += [event.body for event in events]
        if len(set(self.handled)) == self.events:
            self.consumer.stop()

    async def check(self, _: object = None) -> None:
        gone = self.events - self.client.xlen("orders")
        assert gone <= len(set(self.handled)), "something was deleted unhandled"
        left = {int.from_bytes(fields[b"s"], "big") for _, fields in self.client.xrange("orders")}
        assert left | set(self.handled) == set(range(self.events)), "something was acknowledged unhandled"
        before = len(self.handled)
        while await self.consumer.consume(1000, None, self.handle):
            pass
        again = self.handled[before:]
        assert again == sorted(set(again)), "the rest came out of order, or twice"
        assert set(self.handled) == set(range(self.events))
        assert self.client.xlen("orders") == 0
        assert self.client.xpending("orders", GROUP)["pending"] == 0


@EVERY_WAY
@pytest.mark.parametrize("how", ["consume", "run", "batches", "run, three at once", "at most once"])
def test_promise_4_cancelled_while_consuming(
    async_engine: Engine, client: redis.Redis, run: Run, how: str, when: When
) -> None:
    ledger = Ledger(async_engine, client, 50)
    if how == "at most once":
        ledger.consumer = ledger.broker.consumer_single("orders", delivery="at-most-once")

    async def loop_over_batches() -> None:
        async for events in ledger.consumer.batches(10, None):
            await ledger.handle(events)

    async def begin() -> Any:
        await ledger.publish()
        if how == "consume":
            return None, ledger.consumer.consume(20, None, ledger.handle)
        if how == "batches":
            return None, loop_over_batches()
        concurrency = 3 if how == "run, three at once" else 1
        return None, ledger.consumer.run(ledger.handle, 10, concurrency=concurrency)

    async def check(_: None) -> None:
        if how == "at most once":  # then a cancelled task may lose events, and none comes twice
            while await ledger.consumer.consume(1000, None, ledger.handle):
                pass
            assert ledger.handled == sorted(set(ledger.handled))
            await ledger.broker.publish("orders", 50)  # with which the lost ones go
            await ledger.consumer.consume(1, None, ledger.handle)
            assert client.xlen("orders") == 0
        else:
            await ledger.check()

    run(at_every_await(when, begin, check))


@EVERY_WAY
def test_promise_4_cancelled_while_waiting_for_events(
    async_engine: Engine, client: redis.Redis, run: Run, when: When
) -> None:
    """The events come while the read is being cancelled: they are pending then, and come with the next call."""
    ledger = Ledger(async_engine, client, 5)

    async def begin() -> Any:
        client.flushall()
        ledger.handled.clear()
        await ledger.consumer.consume(1, None, ledger.handle)

        async def wait() -> None:
            publishing = asyncio.create_task(publish_soon())
            try:
                await ledger.consumer.consume(1000, 5.0, ledger.handle)
            finally:
                publishing.cancel()

        return None, wait()

    async def publish_soon() -> None:
        await asyncio.sleep(0.005)
        with redis.Redis.from_url(f"redis://127.0.0.1:{client.get_connection_kwargs()['port']}") as other:
            for number in range(5):
                other.xadd("orders", {"s": bytes([number])})

    if before_redis_7(client):
        pytest.skip("the server does not say how many entries were added")

    async def check(_: None) -> None:
        for number in range(client.xinfo_stream("orders")["entries-added"], 5):
            client.xadd("orders", {"s": bytes([number])})
        await ledger.check()

    run(at_every_await(when, begin, check))


@EVERY_WAY
def test_promise_4_cancelled_while_claiming(async_engine: Engine, client: redis.Redis, run: Run, when: When) -> None:
    ledger = Ledger(async_engine, client, 30)

    async def begin() -> Any:
        await ledger.publish()
        client.xgroup_create("orders", GROUP, "0")
        client.xreadgroup(GROUP, "gone", {"orders": ">"}, count=20)
        return None, ledger.consumer.auto_claim(7, 0, ledger.handle)

    async def check(_: None) -> None:
        left = await ledger.consumer.auto_claim(1000, 0, ledger.handle)
        assert left <= 30
        ledger.handled.sort()
        await ledger.check()

    run(at_every_await(when, begin, check))


@EVERY_WAY
def test_acknowledging_by_hand_and_cancelled(async_engine: Engine, client: redis.Redis, run: Run, when: When) -> None:
    """Tasks that acknowledge at the same time share the round trips, and one that is cancelled costs no other its own."""
    broker = broker_of(async_engine)
    consumer = broker.consumer_single("orders")

    async def begin() -> Any:
        client.flushall()
        flusher = broker.new_flusher()
        await flusher.publish_many("orders", range(30))
        await flusher.flush()
        events: list[Event] = []

        async def fail(batch: Sequence[Event]) -> None:
            events.extend(batch)
            raise LookupError

        with pytest.raises(LookupError):
            await consumer.consume(30, None, fail)
        others = [asyncio.ensure_future(event.ack()) for event in events[1:20]]
        return (events, others), events[0].ack()

    async def check(state: Any) -> None:
        events, others = state
        await asyncio.gather(*others)
        assert all(event.acknowledged for event in events[1:20])
        assert client.xlen("orders") in (10, 11)  # its own, cancelled, may have reached the server all the same
        await asyncio.gather(*(event.ack() for event in events))
        assert client.xlen("orders") == client.xpending("orders", GROUP)["pending"] == 0

    run(at_every_await(when, begin, check))


@EVERY_WAY
def test_promise_5_cleanup_that_is_cancelled(async_engine: Engine, client: redis.Redis, run: Run, when: When) -> None:
    ledger = Ledger(async_engine, client, 10)

    async def begin() -> Any:
        await ledger.publish()

        async def fail(events: Sequence[Event]) -> None:
            raise LookupError

        with pytest.raises(LookupError):
            await ledger.consumer.consume(5, None, fail)
        return None, ledger.consumer.cleanup()

    run(at_every_await(when, begin, ledger.check))


def test_a_cancelled_task_does_not_wait_for_a_server_that_does_not_respond(
    async_engine: Engine, client: redis.Redis, run: Run
) -> None:
    """To settle what was handled takes a second at most."""
    ledger = Ledger(async_engine, client, 20)

    async def handle(events: Sequence[Event]) -> None:
        ledger.handled += [event.body for event in events]
        if len(ledger.handled) == 10:
            client.client_pause(4000)

    async def cancelled() -> float:
        await ledger.publish()
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await ledger.consumer.run(handle, 5)
        return asyncio.get_running_loop().time() - began

    assert run(cancelled()) < 3
    client.client_unpause()
    run(ledger.check())


@EVERY_WAY
def test_promise_4_cancelled_while_a_loop_that_was_left_is_settled(
    async_engine: Engine, client: redis.Redis, run: Run, when: When
) -> None:
    """The next call settles it. A cancellation that comes meanwhile is the call's."""
    broker = broker_of(async_engine)

    async def scene(at: int) -> bool:
        flusher = broker.new_flusher()
        await flusher.publish_many("orders", range(200))
        await flusher.flush()
        consumer = broker.consumer_many("orders")
        batches = 0
        async for _ in consumer.batches(50, 1):
            batches += 1
            if batches == 2:
                break
        async with asyncio.timeout(20) as limit:
            was_cancelled = await cancelled_at(consumer.run(lambda events: None, 10), at, when)
        return was_cancelled and not limit.expired()

    for at in range(8):
        assert run(scene(at))
        client.flushall()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_promise_4_everything_at_once_and_cancelled_at_random(
    async_engine: Engine, client: redis.Redis, run: Run, seed: int
) -> None:
    """Producers and consumers share a broker and two flushers, and most calls are cut short. The books balance."""
    chance = random.Random(seed)
    broker = broker_of(async_engine)
    counter = itertools.count()
    published: set[int] = set()  # confirmed, or in a flusher
    handled: collections.Counter[int] = collections.Counter()

    @contextlib.asynccontextmanager
    async def cut_short() -> AsyncIterator[None]:
        seconds = chance.choice([0, 0.0002, 0.001, 0.003, 0.01, 0.05, 1])
        if chance.random() < 0.5:
            with anyio.move_on_after(seconds):
                yield
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    yield

    async def publish_singly() -> None:
        async with cut_short():
            number = next(counter)
            await broker.publish("orders", number)
            published.add(number)

    async def publish_and_flush(flusher: EventFlusher) -> None:
        for number in itertools.islice(counter, chance.choice([1, 10, 300])):
            flusher.publish("orders", number)
            published.add(number)
        async with cut_short():
            numbers = list(itertools.islice(counter, chance.choice([1, 10, 300])))
            await flusher.publish_many("orders", numbers)
            published.update(numbers)
        async with cut_short():
            await flusher.flush()

    async def handle(events: Sequence[Event]) -> None:
        await asyncio.sleep(chance.choice([0, 0, 0.001]))
        handled.update(event.body for event in events)

    async def loop_over_batches(consumer: EventConsumer) -> None:
        async for events in consumer.batches(50, 0.02):
            await handle(events)
            if chance.random() < 0.1:
                break

    async def consume(consumer: EventConsumer) -> None:
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: consumer.consume(chance.choice([1, 10, 100]), chance.choice([None, 0.01]), handle),
            lambda: consumer.run(handle, chance.choice([10, 100])),
            lambda: consumer.run(handle, 20, concurrency=3),
            lambda: loop_over_batches(consumer),
            lambda: consumer.auto_claim(50, 0.2, handle),
            consumer.cleanup,
        ]
        async with cut_short():
            await chance.choice(ways)()

    async def work() -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + 2
        flushers = [broker.new_flusher(), broker.new_flusher(eager=True)]
        consumers = [broker.consumer_many("orders") for _ in range(3)]

        async def again_and_again(call: Callable[..., Awaitable[None]], *arguments: object) -> None:
            while loop.time() < end:
                await call(*arguments)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(again_and_again(publish_singly))
                for flusher in flushers:
                    tasks.create_task(again_and_again(publish_and_flush, flusher))
            for consumer in consumers:
                tasks.create_task(again_and_again(consume, consumer))
        for flusher in flushers:
            await flusher.flush()
            assert len(flusher) == 0
        for consumer in consumers:
            while await consumer.consume(1000, None, handle):
                pass

    run(work())
    assert published <= set(handled)
    assert set(handled) <= set(range(next(counter)))
    assert (client.xlen("orders"), client.xpending("orders", GROUP)["pending"]) == (0, 0)
