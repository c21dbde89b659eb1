"""A task that waits for one reply is resumed within the callback that has read it, and otherwise as asyncio does it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fluxa_fast.transport.aio.resuming import resume

_who: contextvars.ContextVar[str] = contextvars.ContextVar("_who", default="nobody")


def from_a_callback(call: Callable[[], object]) -> asyncio.Future[None]:
    """Have the event loop call it, as it calls a protocol. The future is done afterwards."""
    loop = asyncio.get_running_loop()
    called = loop.create_future()

    def run() -> None:
        try:
            call()
        finally:
            called.set_result(None)

    loop.call_soon(run)
    return called


def test_the_task_runs_until_it_waits_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = loop.create_future(), loop.create_future()
        seen: list[Any] = []

        async def work() -> None:
            _who.set("the task")
            seen.append(await first)
            seen.append((asyncio.current_task() is task, _who.get()))
            seen.append(await second)

        def reply() -> None:
            resume(first, 1)
            seen.append(("resumed", asyncio.current_task(), _who.get()))

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        await from_a_callback(reply)
        assert seen == [1, (True, "the task"), ("resumed", None, "nobody")]
        await from_a_callback(lambda: resume(second, 2))
        assert task.done()
        assert seen[3:] == [2]
        await task

    asyncio.run(main())


def test_what_several_wait_for_is_scheduled() -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        seen: list[int] = []

        async def work() -> None:
            seen.append(await future)

        tasks = [asyncio.create_task(work()) for _ in range(2)]
        await asyncio.sleep(0)
        counts: list[int] = []
        await from_a_callback(lambda: (resume(future, 1), counts.append(len(seen))))
        assert counts == [0]
        await asyncio.gather(*tasks)
        assert seen == [1, 1]

    asyncio.run(main())


def test_what_nothing_waits_for_yet_is_done() -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        resume(future, 1)
        assert await future == 1

    asyncio.run(main())


def test_a_future_that_does_not_show_its_callbacks() -> None:
    class Reticent(asyncio.Future[int]):
        @property
        def _callbacks(self) -> None:  # type: ignore[override]
            return None

    async def main() -> None:
        future = Reticent()

        async def work() -> int:
            return await future

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        resume(future, 1)
        assert not task.done()
        assert await task == 1

    asyncio.run(main())


def test_a_task_that_is_cancelled_by_another_callback() -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def work() -> int:
            return await future

        task = asyncio.create_task(work())
        future.add_done_callback(lambda _: task.cancel())
        await asyncio.sleep(0)
        await from_a_callback(lambda: resume(future, 1))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_leaves_no_task_behind(when: str) -> None:
    """A signal handler may raise between any two calls."""

    class Interrupted(asyncio.Future[int]):
        def set_result(self, result: int) -> None:
            if not self.interrupted:
                self.interrupted = True
                if when == "after":
                    super().set_result(result)
                raise KeyboardInterrupt
            super().set_result(result)

        interrupted = False

    async def main() -> None:
        future = Interrupted()

        async def work() -> int:
            return await future

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        with pytest.raises(KeyboardInterrupt):
            resume(future, 1)
        assert await task == 1

    asyncio.run(main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_comes_out(kind: type[BaseException]) -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            await future
            raise kind

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        raised: list[BaseException] = []

        def reply() -> None:
            try:
                resume(future, 1)
            except BaseException as error:
                raised.append(error)

        await from_a_callback(reply)
        assert isinstance(task.exception(), kind)
        assert raised == [task.exception()]

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_an_eager_task() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        first, second = loop.create_future(), loop.create_future()
        seen: list[Any] = []

        async def inner() -> None:
            seen.append(asyncio.current_task())
            seen.append(await second)

        async def work() -> None:
            seen.append(await first)
            begun = asyncio.create_task(inner())
            assert seen[-1] is begun  # it has run already, up to where it waits
            assert asyncio.current_task() is task
            await begun

        task = asyncio.create_task(work())
        await from_a_callback(lambda: resume(first, 1))
        await from_a_callback(lambda: resume(second, 2))
        await task
        assert [seen[0], seen[2]] == [1, 2]

    asyncio.run(main())
