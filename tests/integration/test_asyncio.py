"""What asyncio has beyond the behaviour that it shares: tasks that share a broker, handlers at once, event loops.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import pytest
import redis
import redis.asyncio
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from fluxa_fast.asyncio import (
    Engine,
    Event,
    EventBroker,
    FlushError,
    FluxaError,
    RegistryError,
    SerializationError,
    UnregisteredStreamError,
)
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import ALL_LOOPS, LOOPS, Run, new_engine
from tests.proxy import Proxy

GROUP = "consumer_group"


def broker_of(engine: Engine) -> EventBroker:
    return engine.new_context().get_event_broker()


async def fill(broker: EventBroker, events: int) -> None:
    flusher = broker.new_flusher()
    await flusher.publish_many("orders", range(events))
    await flusher.flush()


# ---- publish: many tasks, one connection ----------------------------------------------------------------


@ALL_LOOPS
def test_what_is_published_at_the_same_time_goes_out_together(
    async_engine: Engine, client: redis.Redis, run: Run
) -> None:
    broker = broker_of(async_engine)

    async def work() -> list[str]:
        await broker.publish("users", 1)
        return await asyncio.gather(*(broker.publish("orders", number) for number in range(1000)))

    reads = client.info("stats")["total_reads_processed"]
    connections = client.info("stats")["total_connections_received"]
    ids = run(work())
    after = client.info("stats")
    assert after["total_connections_received"] - connections == 1
    assert after["total_reads_processed"] - reads < 20
    assert [fields[b"s"] for _, fields in client.xrange("orders", count=128)] == [bytes([n]) for n in range(128)]
    assert ids == [id.decode() for id, _ in client.xrange("orders")]


def test_every_task_is_told_of_its_own_event(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    client.set("users", "no stream")

    async def work() -> list[Any]:
        refused = [broker.publish("orders", object()), broker.publish("nope", 1)]
        return await asyncio.gather(
            *(broker.publish("users" if number % 3 else "orders", number) for number in range(30)),
            *refused,
            return_exceptions=True,
        )

    *told, unserialisable, unregistered = run(work())
    for number, outcome in enumerate(told):
        if number % 3:
            assert isinstance(outcome, ResponseError)
            assert "WRONGTYPE" in str(outcome)
        else:
            assert client.xrange("orders", outcome, outcome)[0][1] == {b"s": bytes([number])}
    assert len({id(outcome) for outcome in told}) == 30  # no exception is shared
    assert isinstance(unserialisable, SerializationError)
    assert unserialisable.stream == "orders"
    assert isinstance(unregistered, UnregisteredStreamError)


def test_a_lost_connection_fails_every_task_and_nothing_is_sent_again(
    implementation: Implementation, run: Run, proxy: Proxy, own_server: EmbeddedServer
) -> None:
    engine = new_engine(f"127.0.0.1:{proxy.port}")
    broker = broker_of(engine)

    async def work() -> None:
        async with engine:
            await broker.publish("orders", "before")
            proxy.forwarded.clear()
            proxy.cut_down = 1
            outcomes = await asyncio.gather(
                *(broker.publish("orders", number) for number in range(50)), return_exceptions=True
            )
            assert all(
                isinstance(outcome, (ConnectionError, TimeoutError)) for outcome in outcomes
            )  # if the machine is busy
            assert proxy.forwarded.count(b"XADD") <= 50
            proxy.cut_down = None
            assert await broker.publish("orders", "after")

    run(work())


def test_a_missing_server_fails_every_task_at_once(implementation: Implementation, run: Run) -> None:
    engine = new_engine("127.0.0.1:1")
    broker = broker_of(engine)

    async def work() -> None:
        async with engine:
            for _ in range(2):
                outcomes = await asyncio.gather(
                    *(broker.publish("orders", number) for number in range(500)), return_exceptions=True
                )
                assert all(
                    isinstance(outcome, (ConnectionError, TimeoutError)) for outcome in outcomes
                )  # if the machine is busy

    run(work())


def test_an_unresponsive_server_is_a_timeout(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run
) -> None:
    engine = new_engine(server_url, socket_timeout=1)
    broker = broker_of(engine)

    async def work() -> None:
        async with engine:
            await broker.publish("orders", 1)
            client.client_pause(60_000, all=False)  # writes only, so that it can be ended
            with pytest.raises(TimeoutError, match="timeout while publishing to Redis pool 'default'"):
                await broker.publish("orders", 2)
            flusher = broker.new_flusher()
            flusher.publish("orders", 3)
            with pytest.raises(FlushError, match=r"(?i)timeout"):
                await flusher.flush()
            client.client_unpause()
            assert await broker.publish("orders", 4)
            assert len(await flusher.flush()) == 1

    run(work())


def test_a_closed_engine_says_so(async_engine: Engine, run: Run) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher()

    async def work() -> None:
        await broker.publish("orders", 1)
        flusher.publish("orders", 1)
        await async_engine.aclose()
        await async_engine.aclose()
        with pytest.raises(FluxaError, match="closed"):
            await broker.publish("orders", 1)
        with pytest.raises(FluxaError, match="closed"):
            await flusher.flush()
        assert flusher.clear() == 1
        with pytest.raises(FluxaError, match="closed"):
            broker.consumer_single("orders")

    run(work())


# ---- flushers that tasks share --------------------------------------------------------------------------


@ALL_LOOPS
@pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])
def test_publishing_goes_on_during_a_flush(async_engine: Engine, client: redis.Redis, run: Run, eager: bool) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher(eager=eager)

    async def publish() -> None:
        for number in range(20_000):
            flusher.publish("orders", number)
            if number % 100 == 0:
                await asyncio.sleep(0)

    async def flush(publishing: asyncio.Task[None]) -> list[str]:
        ids = []
        while not publishing.done():
            ids += (await flusher.flush()).ids
        return ids

    async def work() -> list[str]:
        publishing = asyncio.create_task(publish())
        both = await asyncio.gather(flush(publishing), flush(publishing))
        return [*both[0], *both[1], *(await flusher.flush()).ids]

    ids = run(work())
    entries = client.xrange("orders")
    assert sorted(ids) == sorted(id.decode() for id, _ in entries)
    seen = run(bodies(broker))
    assert seen == list(range(20_000))


async def bodies(broker: EventBroker) -> list[Any]:
    async with broker.consumer_single("orders") as consumer:
        return [event.body async for events in consumer.batches(1000, None) for event in events]


def test_promise_3_what_a_flush_can_not_send_goes_before_what_came_meanwhile(
    async_engine: Engine, client: redis.Redis, run: Run
) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher()
    client.set("users", "no stream")

    async def work() -> None:
        for number in range(4):
            flusher.publish("users" if number % 2 else "orders", number)
        flushing = asyncio.create_task(flusher.flush())
        await asyncio.sleep(0)
        for number in range(4, 8):
            flusher.publish("users" if number % 2 else "orders", number)
        with pytest.raises(FlushError) as caught:
            await flushing
        assert [one.position for one in caught.value.refused] == [1, 3]
        client.delete("users")
        assert len(flusher) == 6
        assert len(await flusher.flush()) == 6

    run(work())
    assert [fields[b"s"] for _, fields in client.xrange("users")] == [b"\x01", b"\x03", b"\x05", b"\x07"]
    assert [fields[b"s"] for _, fields in client.xrange("orders")] == [b"\x00", b"\x02", b"\x04", b"\x06"]


def test_promise_2_publish_many_takes_back_its_own_events_only(
    async_engine: Engine, client: redis.Redis, run: Run
) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher()

    def failing() -> Iterator[object]:
        yield from range(5000)
        yield {"x": [object()]}

    async def others() -> None:
        for number in range(20):
            flusher.publish("users" if number % 2 else "orders", -number - 1)
            await asyncio.sleep(0)

    async def work() -> None:
        busy = asyncio.create_task(others())
        with pytest.raises(SerializationError, match=r"orders: bodies\[5000\]\['x'\]\[0\]: object"):
            await flusher.publish_many("orders", failing())
        await busy
        assert len(flusher) == 20
        with pytest.raises(SerializationError, match=r"bodies\[5000\]"):  # also if no other event was there
            await flusher.publish_many("users", failing())
        assert len(await flusher.flush()) == 20

    run(work())
    both = [int.from_bytes(f[b"s"], signed=True) for s in ("orders", "users") for _, f in client.xrange(s)]
    assert both == [*range(-1, -21, -2), *range(-2, -21, -2)]


def test_a_flusher_is_not_cleared_under_publish_many(async_engine: Engine, run: Run) -> None:
    flusher = broker_of(async_engine).new_flusher()

    async def work() -> None:
        many = asyncio.create_task(flusher.publish_many("orders", range(50_000)))
        await asyncio.sleep(0)
        for forbidden in (flusher.clear, flusher.discard_refused):
            with pytest.raises(FluxaError, match="another task is in publish_many"):
                forbidden()
        assert await many == 50_000
        assert flusher.clear() == 50_000

    run(work())


def test_others_run_while_much_is_published_flushed_and_consumed(async_engine: Engine, run: Run) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def work() -> None:
        nonlocal turns
        counting = asyncio.create_task(count_turns())
        consumer = broker.consumer_single("orders")
        for call in (
            lambda: flusher.publish_many("orders", ({"n": number} for number in range(100_000))),
            flusher.flush,
            lambda: consumer.consume(100_000, None, lambda events: None),
        ):
            turns = 0
            await call()
            assert turns > 20, call
        counting.cancel()
        await asyncio.wait([counting])

    run(work())


# ---- handlers -------------------------------------------------------------------------------------------


def test_handlers_may_be_coroutine_functions_or_plain_ones(async_engine: Engine, run: Run) -> None:
    broker = broker_of(async_engine)

    class Handler:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        async def __call__(self, events: Sequence[Event]) -> None:
            await asyncio.sleep(0)
            self.seen += [event.body for event in events]

    async def work() -> None:
        await fill(broker, 40)
        consumer = broker.consumer_single("orders")
        plain: list[Event] = []
        callable_object = Handler()
        await consumer.consume(10, None, plain.extend)
        await consumer.consume(10, None, callable_object)
        await consumer.consume(10, None, lambda events: callable_object(events))
        await consumer.auto_claim(10, 0, plain.extend)
        assert [event.body for event in plain] == list(range(10))
        assert callable_object.seen == list(range(10, 30))

    run(work())


@ALL_LOOPS
def test_run_with_handlers_at_once(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    consumer = broker.consumer_many("orders")
    busy = most = 0
    seen: list[int] = []

    async def handle(events: Sequence[Event]) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        end = time.monotonic() + 5.0
        while most < 4 and time.monotonic() < end:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01 * (1 + events[0].body // 10 % 3))
        assert client.xpending("orders", GROUP)["pending"] <= 5 * 10  # no more than one batch is read ahead
        busy -= 1
        seen.extend(event.body for event in events)
        if len(seen) == 400:
            consumer.stop()

    async def work() -> None:
        await fill(broker, 400)
        await consumer.run(handle, 10, concurrency=4)
        assert await consumer.cleanup() == 0

    run(work())
    assert most == 4
    assert sorted(seen) == list(range(400))
    assert client.xlen("orders") == 0


def test_one_handler_at_a_time_keeps_the_order(async_engine: Engine, run: Run) -> None:
    broker = broker_of(async_engine)
    consumer = broker.consumer_single("orders")
    seen: list[int] = []

    async def handle(events: Sequence[Event]) -> None:
        await asyncio.sleep(0.001 * (events[0].body % 2))
        seen.extend(event.body for event in events)
        if len(seen) == 100:
            consumer.stop()

    async def work() -> None:
        await fill(broker, 100)
        await consumer.run(handle, 7)

    run(work())
    assert seen == list(range(100))


def test_promise_4_a_handler_that_fails_among_others(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    """Its exception surfaces unchanged, the others are cancelled, and all that was not handled comes again."""
    broker = broker_of(async_engine)
    consumer = broker.consumer_single("orders")
    failure = LookupError("mine")
    handled: list[int] = []
    cancelled = 0

    async def handle(events: Sequence[Event]) -> None:
        nonlocal cancelled
        if events[0].body == 30:
            await asyncio.sleep(0.05)
            raise failure
        if events[0].body > 30:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
                raise
        handled.extend(event.body for event in events)

    async def work() -> None:
        await fill(broker, 100)
        with pytest.raises(LookupError) as caught:
            await consumer.run(handle, 10, concurrency=3)
        assert caught.value is failure
        assert cancelled == 2
        rest = await bodies(broker)
        assert handled == list(range(30))
        assert rest == list(range(30, 100))

    run(work())
    assert client.xlen("orders") == client.xpending("orders", GROUP)["pending"] == 0


def test_handlers_at_once_replay_what_is_pending_first(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    seen: list[int] = []

    async def handle(events: Sequence[Event]) -> None:
        seen.extend(event.body for event in events)
        await asyncio.sleep(0.001)
        if len(seen) == 100:
            consumer.stop()

    async def work() -> None:
        await fill(broker, 100)
        client.xgroup_create("orders", GROUP, "0")
        client.xreadgroup(GROUP, "consumer-single", {"orders": ">"}, count=35)
        await consumer.run(handle, 10, concurrency=8)

    consumer = broker.consumer_single("orders")
    run(work())
    assert seen[:35] == list(range(35))
    assert sorted(seen) == list(range(100))
    assert client.xlen("orders") == 0


def test_handlers_at_once_and_at_most_once(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    consumer = broker.consumer_single("orders", delivery="at-most-once")
    seen: list[int] = []

    async def handle(events: Sequence[Event]) -> None:
        await asyncio.sleep(0.001)
        seen.extend(event.body for event in events)
        if len(seen) >= 60:
            consumer.stop()

    async def work() -> None:
        await fill(broker, 100)
        await consumer.run(handle, 10, concurrency=3)
        while await consumer.consume(100, None, handle):
            pass

    run(work())
    assert sorted(seen) == list(range(100))
    assert client.xlen("orders") == 0


@pytest.mark.parametrize("concurrency", [0, -1, True, "2"])
def test_a_concurrency_that_is_no_positive_int(async_engine: Engine, run: Run, concurrency: Any) -> None:
    consumer = broker_of(async_engine).consumer_single("orders")
    with pytest.raises((TypeError, ValueError), match="concurrency is"):
        run(consumer.run(print, concurrency=concurrency))


# ---- one task at a time ---------------------------------------------------------------------------------


def test_a_consumer_is_used_by_one_task_at_a_time(async_engine: Engine, run: Run) -> None:
    broker = broker_of(async_engine)
    consumer = broker.consumer_single("orders")

    async def again(events: Sequence[Event]) -> None:
        await consumer.consume(1, None, print)

    async def work() -> None:
        waiting = asyncio.create_task(consumer.consume(1, 0.3, print))
        await asyncio.sleep(0.1)
        for call in (consumer.consume(1, None, print), consumer.run(print), consumer.cleanup()):
            with pytest.raises(FluxaError, match="in use"):
                await call
        with pytest.raises(FluxaError, match="in use"):
            await anext(consumer.batches(1, None))
        assert await waiting == 0
        await fill(broker, 1)
        with pytest.raises(FluxaError, match="whose handler this is"):
            await consumer.consume(1, None, again)
        assert await consumer.consume(1, None, print) == 1

    run(work())


@pytest.mark.parametrize("settled_by", ["consume", "cleanup", "aclose", "batches"])
def test_a_loop_that_was_left_is_settled(async_engine: Engine, client: redis.Redis, run: Run, settled_by: str) -> None:
    broker = broker_of(async_engine)

    async def work() -> None:
        await fill(broker, 30)
        consumer = broker.consumer_single("orders")
        batches = consumer.batches(10, None)
        async for events in batches:
            if events[0].body == 10:
                break
        with pytest.raises(FluxaError, match="in use by a loop over its batches"):
            await consumer.consume(10, None, print)  # the loop can be gone on with, as long as its iterator is kept
        if settled_by != "aclose":
            del batches
        seen: list[Event] = []
        if settled_by == "consume":
            await consumer.consume(10, None, seen.extend)
            assert [event.body for event in seen[:10]] == list(range(10, 20))  # it was not handled to its end
            assert client.xlen("orders") == 0
        elif settled_by == "batches":
            rest = [event.body async for events in consumer.batches(10, None) for event in events]
            assert rest == list(range(10, 30))
        else:
            await (batches.aclose() if settled_by == "aclose" else consumer.cleanup())
            assert client.xlen("orders") == 20
        if settled_by == "aclose":
            await batches.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(batches)

    run(work())


# ---- event loops and clients ----------------------------------------------------------------------------


def test_one_engine_in_one_event_loop_after_the_other(
    implementation: Implementation, server_url: str, client: redis.Redis
) -> None:
    """The first one was left without `aclose`, of which Python may warn; so this is a process of its own."""
    program = """
import asyncio, sys
from fluxa_fast.asyncio import Registry

registry = Registry()
registry.register_redis(sys.argv[1])
registry.register_redis_stream("orders")
engine = registry.validate()
broker = engine.new_context().get_event_broker()
consumer = broker.consumer_single("orders")
flusher = broker.new_flusher()

async def work(number):
    await broker.publish("orders", number)
    flusher.publish("orders", -number)
    await flusher.flush()
    seen = []
    assert await consumer.consume(10, 1.0, seen.extend) == 2
    print([event.body for event in seen])

for number in (1, 2, 3):
    asyncio.run(work(number))
asyncio.run(engine.aclose())
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program, server_url],
        env={**os.environ, "FLUXA_FAST_IMPL": implementation.name},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (outcome.stdout, outcome.stderr) == ("[1, -1]\n[2, -2]\n[3, -3]\n", "")


@pytest.mark.parametrize("decode", [False, True])
def test_an_existing_client(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run, decode: bool
) -> None:
    async def work() -> None:
        theirs = redis.asyncio.Redis.from_url(server_url, decode_responses=decode, max_connections=4)
        await theirs.set("before", "1")
        async with new_engine(client=theirs) as engine:
            broker = broker_of(engine)
            await broker.publish("orders", 0)
            await fill(broker, 2000)
            assert len(await bodies(broker)) == 2001
        assert await theirs.get("before") in (b"1", "1")
        await (theirs.aclose() if hasattr(theirs, "aclose") else theirs.close())

    run(work())


def test_a_client_of_the_other_kind_is_refused(server_url: str) -> None:
    import fluxa_fast

    with redis.Redis.from_url(server_url) as blocking, pytest.raises(RegistryError) as caught:
        new_engine(client=blocking)
    assert "client= takes a redis.asyncio.Redis, not redis.client.Redis; fluxa_fast is for those" in str(caught.value)
    registry = fluxa_fast.Registry()
    registry.register_redis(client=redis.asyncio.Redis.from_url(server_url))  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match=r"fluxa_fast\.asyncio is for those"):
        registry.validate()


def test_few_connections_are_enough(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run
) -> None:
    """One for single events, one for the flusher and acknowledgements, one for the consumer; none is lost."""
    engine = new_engine(server_url, max_connections=3)
    broker = broker_of(engine)

    async def handle(events: Sequence[Event]) -> None:
        await asyncio.gather(*(event.ack() for event in events))

    async def work() -> None:
        async with engine:
            consumer = broker.consumer_single("orders")
            for _ in range(5):
                await asyncio.gather(*(broker.publish("orders", number) for number in range(100)))
                await fill(broker, 100)
                await consumer.consume(200, None, handle)
                with pytest.raises(asyncio.TimeoutError):
                    async with asyncio.timeout(0.01):
                        await consumer.consume(1, 5.0, handle)
        assert client.xlen("orders") == 0

    run(work())


def test_under_anyio(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    seen: list[int] = []

    async def consume() -> None:
        async with broker.consumer_single("orders") as consumer:
            async for events in consumer.batches(10):
                seen.extend(event.body for event in events)

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            for number in range(50):
                await broker.publish("orders", number)
            with anyio.fail_after(10):
                while len(seen) < 50:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    run(work())
    assert seen == list(range(50))


PROGRAM = """
import asyncio, sys
from fluxa_fast.asyncio import Registry

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a slow machine is not what this is about
    registry = Registry()
    registry.register_redis(sys.argv[1])
    registry.register_redis_stream("orders")
    async with registry.validate() as engine:
        broker = engine.new_context().get_event_broker()
        await asyncio.gather(*(broker.publish("orders", number) for number in range(100)))
        async with broker.new_flusher() as flusher:
            await flusher.publish_many("orders", range(10_000))
        async with broker.consumer_single("orders") as consumer:
            running = asyncio.create_task(consumer.run(lambda events: None))
            while (await broker.get_stream_statistics("orders")).len:
                await asyncio.sleep(0.05)
            running.cancel()
            await asyncio.wait([running])
        forgotten = broker.consumer_many("orders")
        await forgotten.consume(1, None, print)
        del forgotten
        eager = broker.new_flusher(eager=True)
        for number in range(5000):
            eager.publish("orders", number)
        eager.clear()
        print((await broker.get_stream_statistics("orders")).group.pending)

if sys.argv[2] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_is_left_behind(
    implementation: Implementation, server_url: str, client: redis.Redis, loop: str
) -> None:
    """In development mode Python warns of sockets and transports that were not closed, and of tasks that were not awaited."""
    outcome = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always", "-c", PROGRAM, server_url, loop],
        env={**os.environ, "FLUXA_FAST_IMPL": implementation.name},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "0\n", "")


def test_a_worker_of_threads_may_stop_a_consumer(async_engine: Engine, run: Run) -> None:
    consumer = broker_of(async_engine).consumer_single("orders")

    async def work() -> None:
        running = asyncio.create_task(consumer.run(print))
        await asyncio.to_thread(time.sleep, 0.1)
        await asyncio.to_thread(consumer.stop)
        await running

    run(work())


def test_promise_3_a_write_that_fails_keeps_the_account(
    implementation: Implementation, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket's own error comes out of the middle of a write, and its frames must not hold on to the buffer."""
    from fluxa_fast.transport.aio.conversation import Conversation

    async def flush(server: EmbeddedServer) -> None:
        async with new_engine(server.url) as engine:
            flusher = broker_of(engine).new_flusher()
            await flusher.publish_many("orders", [bytes(1000)] * 1000)

            async def killed(conversation: Conversation) -> None:
                server.kill()

            monkeypatch.setattr(Conversation, "writable", killed)
            errors = []
            for _ in range(2):  # the errors are kept, as a program might
                with pytest.raises(FlushError) as caught:
                    await flusher.flush()
                errors.append(caught.value)
                assert len(flusher) == 1000
            monkeypatch.undo()
            server.start()
            assert len(await flusher.flush()) == 1000

    with EmbeddedServer(unix_socket=True) as server:
        run(flush(server))
