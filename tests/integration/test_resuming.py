"""asyncio: a reply resumes its task in the same turn of the event loop. Nothing but the time that it takes may show it.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError, ResponseError

from fluxa_fast.asyncio import Engine, Event, EventBroker, FlushError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import ALL_LOOPS, Run, new_engine
from tests.proxy import Proxy

_who: contextvars.ContextVar[int] = contextvars.ContextVar("_who")


def broker_of(engine: Engine) -> EventBroker:
    return engine.new_context().get_event_broker()


def ids_of(client: redis.Redis, stream: str = "orders") -> dict[Any, str]:
    """The IDs of the events, by their tag `n`."""
    return {int(fields[b"n"]): id.decode() for id, fields in client.xrange(stream)}


# ---- other tasks run meanwhile --------------------------------------------------------------------------


@ALL_LOOPS
def test_a_task_that_goes_on_at_once_starves_no_other(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def work() -> None:
        task = asyncio.create_task(other())
        await broker.publish("orders", "connects")
        for number in range(30):
            before = turns
            await broker.publish("orders", number)
            assert turns > before
            before = turns
            flusher.publish("users", number)
            await flusher.flush()
            assert turns > before
        task.cancel()
        await asyncio.wait([task])

    run(work())
    assert client.xlen("orders") == 31
    assert client.xlen("users") == 30


@ALL_LOOPS
def test_tasks_that_take_turns_get_their_own_replies_and_contexts(
    async_engine: Engine, client: redis.Redis, run: Run
) -> None:
    broker = broker_of(async_engine)

    async def work(number: int) -> list[str]:
        _who.set(number)
        ids = []
        for place in range(20):
            ids.append(await broker.publish("orders", None, {"n": str(100 * number + place)}))
            assert _who.get() == number
            for _ in range(number):
                await asyncio.sleep(0)
        return ids

    async def all_of_it() -> list[list[str]]:
        return await asyncio.gather(*(work(number) for number in range(5)))

    found = run(all_of_it())
    ids = ids_of(client)
    assert found == [[ids[100 * number + place] for place in range(20)] for number in range(5)]


@ALL_LOOPS
def test_a_handler_publishes_and_flushes(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher()

    async def work() -> None:
        for number in range(20):
            await broker.publish("orders", number)
        consumer = broker.consumer_single("orders")
        seen: list[Any] = []

        async def handle(events: Sequence[Event]) -> None:
            for event in events:
                await broker.publish("users", event.body)
                flusher.publish("users", event.body)
                await flusher.flush()
                seen.append(event.body)
            if len(seen) == 20:
                consumer.stop()

        await consumer.run(handle, 3)
        await consumer.cleanup()
        assert seen == list(range(20))

    run(work())
    assert client.xlen("orders") == 0
    assert client.xlen("users") == 40


# ---- between the command and its reply ------------------------------------------------------------------

End = Callable[[Awaitable[Any]], Awaitable[Any]]


async def _cancelled(call: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _timed_out(call: Awaitable[Any]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await call


async def _waited_for(call: Awaitable[Any]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.01)


async def _with_a_task_that_failed(call: Awaitable[Any]) -> None:
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise LookupError

    async def awaits() -> None:
        await call

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(awaits())
            group.create_task(fails())


ENDS = pytest.mark.parametrize("end", [_cancelled, _timed_out, _waited_for, _with_a_task_that_failed])


@ALL_LOOPS
@ENDS
def test_a_publish_that_ends_before_its_reply(
    implementation: Implementation, run: Run, proxy: Proxy, own_server: EmbeddedServer, end: End
) -> None:
    engine = new_engine(f"127.0.0.1:{proxy.port}")
    broker = broker_of(engine)

    async def work() -> None:
        async with engine:
            await broker.publish("orders", None, {"n": "0"})
            connections = proxy.connections
            proxy.stall()
            await end(broker.publish("orders", None, {"n": "1"}))
            proxy.flow()
            later = [await broker.publish("orders", None, {"n": str(number)}) for number in (2, 3)]
            with redis.Redis.from_url(own_server.url) as client:
                ids = ids_of(client)
                assert later == [ids[2], ids[3]]
                assert set(ids) == {0, 1, 2, 3}  # it was sent already
            assert proxy.connections == connections

    run(work())


@ALL_LOOPS
@ENDS
def test_promise_3_a_flush_that_ends_before_its_replies(
    implementation: Implementation, run: Run, proxy: Proxy, own_server: EmbeddedServer, end: End
) -> None:
    engine = new_engine(f"127.0.0.1:{proxy.port}")
    broker = broker_of(engine)
    flusher = broker.new_flusher()

    async def work() -> None:
        async with engine:
            await flusher.flush()
            flusher.publish("orders", None, {"n": "0"})
            await flusher.flush()
            proxy.stall()
            flusher.publish("orders", None, {"n": "1"})
            await end(flusher.flush())
            proxy.flow()
            assert len(flusher) == 1
            flusher.publish("orders", None, {"n": "2"})
            result = await flusher.flush()
            with redis.Redis.from_url(own_server.url) as client:
                ids = ids_of(client)
                assert result.ids == [ids[1], ids[2]]

    run(work())


# ---- what a resumed task raises -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("flushed", [False, True])
def test_what_ends_the_loop_leaves_connections_in_order(
    implementation: Implementation, server_url: str, client: redis.Redis, kind: type[BaseException], flushed: bool
) -> None:
    engine = new_engine(server_url)
    broker = broker_of(engine)
    flusher = broker.new_flusher()

    async def publish(number: int) -> str:
        if not flushed:
            return await broker.publish("orders", None, {"n": str(number)})
        flusher.publish("orders", None, {"n": str(number)})
        return str((await flusher.flush()).ids[0])

    async def interrupted() -> None:
        await publish(0)
        await publish(1)
        raise kind

    with asyncio.Runner() as runner:
        runner.run(publish(2))
        connections = client.info("stats")["total_connections_received"]
        with pytest.raises(kind):
            runner.run(interrupted())
        last = runner.run(publish(3))
        assert client.info("stats")["total_connections_received"] == connections
        assert ids_of(client)[3] == last
        assert set(ids_of(client)) == {0, 1, 2, 3}
        runner.run(engine.aclose())


@ALL_LOOPS
def test_what_a_task_raises_after_a_reply_disturbs_no_other(
    async_engine: Engine, client: redis.Redis, run: Run
) -> None:
    broker = broker_of(async_engine)
    client.set("users", "no stream")

    async def fails() -> None:
        await broker.publish("orders", None, {"n": "0"})
        raise LookupError

    async def refused() -> None:
        await broker.publish("users", 1)

    async def work() -> None:
        for broken, expected in ((fails, LookupError), (refused, ResponseError)):
            task = asyncio.create_task(broken())
            await asyncio.wait([task])
            assert isinstance(task.exception(), expected)
            assert (
                await broker.publish("orders", None, {"n": "1"}) == client.xrevrange("orders", count=1)[0][0].decode()
            )

    run(work())


@ALL_LOOPS
def test_a_connection_that_breaks_right_behind_a_reply(
    implementation: Implementation, run: Run, proxy: Proxy, own_server: EmbeddedServer
) -> None:
    """The task is resumed before the event loop has seen the end of the connection."""
    engine = new_engine(f"127.0.0.1:{proxy.port}")
    broker = broker_of(engine)
    flusher = broker.new_flusher()

    async def work() -> None:
        async with engine, asyncio.timeout(30):
            for number in range(20):
                await broker.publish("orders", number)
                proxy.cut()
                try:
                    await broker.publish("orders", number)
                except ConnectionError as error:
                    assert "while publishing to" in str(error)
                flusher.publish("orders", number)
                try:
                    await flusher.flush()
                except FlushError:
                    flusher.clear()

    run(work())


# ---- eager tasks ----------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_eager_tasks(async_engine: Engine, client: redis.Redis, run: Run) -> None:
    broker = broker_of(async_engine)
    flusher = broker.new_flusher()

    async def one(number: int) -> str:
        id = await broker.publish("orders", None, {"n": str(number)})
        if number < 100:
            inner = asyncio.create_task(one(number + 100))
            flusher.publish("users", number)
            await asyncio.gather(inner, flusher.flush())
        return id

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        alone = [await one(number) for number in range(5)]
        together = await asyncio.gather(*(one(number) for number in range(5, 40)))
        loop.set_task_factory(None)
        ids = ids_of(client)
        assert [*alone, *together] == [ids[number] for number in range(40)]
        assert len(ids) == 80

    run(work())
    assert client.xlen("users") == 40
