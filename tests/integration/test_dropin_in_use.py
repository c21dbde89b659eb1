"""The drop-in's pipeline in the hands of several tasks or threads: each gets its own replies, or an error with words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
import redis.asyncio

import fluxa_fast
from fluxa_fast import FluxaError
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import EVERY_WAY, Run, When, cancelled_at

IN_USE = pytest.raises(FluxaError, match="pipeline is in use by another task or thread")

ADDING: dict[str, Callable[[Any], Any]] = {
    "an entry": lambda pipe: pipe.xadd("s", {"a": 3}),
    "an entry with options": lambda pipe: pipe.xadd("s", {"a": 3}, maxlen=10),
    "what is not plain": lambda pipe: pipe.xadd("s", {"a": 3.0}),
    "an acknowledgement": lambda pipe: pipe.xack("s", "g", "1-1"),
    "a deletion": lambda pipe: pipe.xdel("s", "1-1"),
    "another command": lambda pipe: pipe.set("k", 1),
}


async def _until_blocked(client: Any) -> None:
    while (await client.info("clients"))["blocked_clients"] == 0:
        await asyncio.sleep(0.01)


async def _answers_as_asked(client: Any) -> None:
    for number in range(5):
        assert await client.echo(f"{number}") == str(number).encode()


def _test(run: Run, server_url: str, test: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    async def with_a_client() -> None:
        client = redis.asyncio.Redis.from_url(server_url, **options)
        try:
            await test(client)
            await _answers_as_asked(client)
        finally:
            await getattr(client, "aclose", client.close)()

    run(with_a_client())


@pytest.mark.parametrize("connected", [False, True])
def test_two_tasks_execute_at_once(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run, connected: bool
) -> None:
    async def test(theirs: Any) -> None:
        if connected:
            await theirs.ping()
        pipe = fluxa_fast.pipeline(theirs)
        for turn in range(5):
            pipe.xadd("s", {"a": 1}).set("k", turn).xadd("s", {"a": 2})
            outcomes = await asyncio.gather(pipe.execute(), pipe.execute(), return_exceptions=True)
            (refused,) = [one for one in outcomes if isinstance(one, FluxaError)]
            assert "in use" in str(refused)
            (replies,) = [one for one in outcomes if one is not refused]
            assert len(replies) == 3
            assert await theirs.xlen("s") == 2 * turn + 2
            await _answers_as_asked(theirs)

    _test(run, server_url, test)


@pytest.mark.parametrize("adding", ADDING)
def test_a_task_adds_while_another_executes(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run, adding: str
) -> None:
    async def test(theirs: Any) -> None:
        pipe = fluxa_fast.pipeline(theirs)
        pipe.xadd("s", {"a": 1}).blpop("go", 0).xadd("s", {"a": 2})
        executing = asyncio.create_task(pipe.execute())
        await _until_blocked(theirs)
        with IN_USE:
            ADDING[adding](pipe)
        with IN_USE:
            await pipe.reset()
        with IN_USE:
            await pipe.watch("k")
        await theirs.lpush("go", "on")
        assert [len(await executing), len(pipe)] == [3, 0]
        ADDING[adding](pipe)
        assert len(pipe) == 1
        assert len(await pipe.execute()) == 1

    _test(run, server_url, test)


def test_two_tasks_use_a_pipeline_that_watches(implementation: Implementation, server_url: str, run: Run) -> None:
    async def test(theirs: Any) -> None:
        await theirs.set("a", "of a")
        await theirs.set("b", "of b")
        pipe = fluxa_fast.pipeline(theirs)
        await pipe.watch("a")
        outcomes = await asyncio.gather(pipe.get("a"), pipe.get("b"), pipe.execute(), return_exceptions=True)
        assert outcomes[0] == b"of a"
        assert [type(one) for one in outcomes[1:]] == [FluxaError, FluxaError]
        assert await pipe.get("b") == b"of b"
        pipe.multi()
        pipe.xadd("s", {"a": 1})
        assert len(await pipe.execute()) == 1

    _test(run, server_url, test)


@EVERY_WAY
def test_a_task_is_cancelled_while_it_executes(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run, when: When
) -> None:
    async def test(theirs: Any) -> None:
        pipe = fluxa_fast.pipeline(theirs)
        at = 0
        while True:
            pipe.xadd("s", {"a": 1}).echo("mine").xadd("s", {"a": 2})
            if not await cancelled_at(pipe.execute(), at, when):
                break
            await _answers_as_asked(theirs)
            await pipe.reset()
            at += 1
        pipe.echo("again")
        assert await pipe.execute() == [b"again"]

    _test(run, server_url, test)


# ---- threads --------------------------------------------------------------------------------------------


def test_threads_that_share_a_pipeline(implementation: Implementation, server_url: str, client: redis.Redis) -> None:
    theirs = redis.Redis.from_url(server_url)
    pipe = fluxa_fast.pipeline(theirs)
    outcomes: list[Any] = []
    pipe.xadd("s", {"a": 1}).blpop("go", 0).xadd("s", {"a": 2})
    thread = threading.Thread(target=lambda: outcomes.append(pipe.execute()))
    thread.start()
    while client.info("clients")["blocked_clients"] == 0:
        time.sleep(0.01)
    with IN_USE:
        pipe.execute()
    for adding in ADDING.values():
        with IN_USE:
            adding(pipe)
    with IN_USE:
        pipe.reset()
    with IN_USE:
        pipe.watch("k")
    client.lpush("go", "on")
    thread.join()
    assert [len(one) for one in outcomes] == [3]
    assert len(pipe) == 0
    assert pipe.echo("again").execute() == [b"again"]
    assert theirs.echo("mine") == b"mine"
    theirs.close()


def test_threads_that_execute_at_once_as_often_as_they_can(
    implementation: Implementation, server_url: str, client: redis.Redis
) -> None:
    theirs = redis.Redis.from_url(server_url)
    pipe = fluxa_fast.pipeline(theirs)
    wrong: list[Any] = []
    executed = []

    def use() -> None:
        for number in range(300):
            try:
                pipe.xadd("s", {"number": number})
                executed.extend(pipe.execute())
            except FluxaError as error:
                if "in use" not in str(error):
                    wrong.append(error)
            except Exception as error:
                wrong.append(error)
            if (got := theirs.echo(f"{number}")) != str(number).encode():
                wrong.append(got)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    executed += pipe.execute()
    assert not wrong
    assert client.xlen("s") == len(executed)
    assert len(set(executed)) == len(executed)
    theirs.close()
