"""Event loops for tests of `fluxa_fast.asyncio`, and tasks that are cancelled where a test wants it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, Literal

import anyio
import pytest
import redis

from fluxa_fast.asyncio import Engine, Registry
from fluxa_fast.protocol import Implementation

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MakeAsyncEngine = Callable[..., Engine]

LOOPS = ["asyncio", "uvloop"] if importlib.util.find_spec("uvloop") else ["asyncio"]


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    import uvloop

    return uvloop.new_event_loop


@pytest.fixture
def loop_name() -> str:
    """Which event loop; tests that are for all of them are parametrised with it."""
    return "asyncio"


ALL_LOOPS = pytest.mark.parametrize("loop_name", LOOPS)


@pytest.fixture
def run(loop_name: str) -> Iterator[Run]:
    """Runs coroutines in one event loop. No task may be left behind."""
    with asyncio.Runner(loop_factory=_loop_factory(loop_name), debug=True) as runner:

        def call(work: Coroutine[Any, Any, Any]) -> Any:
            async def checked() -> Any:
                result = await asyncio.wait_for(work, 60)
                others = asyncio.all_tasks() - {asyncio.current_task()}
                assert not others, f"tasks that are still running: {others}"
                return result

            return runner.run(checked())

        yield call


@pytest.fixture
def async_engine(implementation: Implementation, server_url: str, client: redis.Redis, run: Run) -> Iterator[Engine]:
    """An engine on the shared, empty server, with the streams `orders` and `users`."""
    engine = new_engine(server_url)
    yield engine
    run(engine.aclose())


@pytest.fixture
def async_engine_with(
    implementation: Implementation, server_url: str, client: redis.Redis, run: Run
) -> Iterator[MakeAsyncEngine]:
    """Makes an engine whose stream `orders` is registered with these arguments."""
    engines = []

    def make(**options: Any) -> Engine:
        registry = Registry()
        registry.register_redis(server_url)
        registry.register_redis_stream("orders", **options)
        engines.append(registry.validate())
        return engines[-1]

    yield make
    for engine in engines:
        run(engine.aclose())


def new_engine(*address: Any, **options: Any) -> Engine:
    registry = Registry()
    registry.register_redis(*address, **options)
    for stream in ("orders", "users"):
        registry.register_redis_stream(stream)
    return registry.validate()


# ---- cancelling -----------------------------------------------------------------------------------------

When = Literal["at once", "when it is done", "again and again"]
"""At once; only when what is awaited is there, but before the task knows; or as anyio does, at every further await."""

EVERY_WAY = pytest.mark.parametrize("when", ["at once", "when it is done", "again and again"])


class _Stepped:
    """Awaits `work`, and has the task cancelled where it suspends for the time `at`, counted from 0."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, cancel: Callable[[], object], when: When) -> None:
        self._work = work
        self._at = at
        self._cancel = cancel
        self._when = when
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                awaited = steps.throw(thrown) if thrown is not None else steps.send(sent)
            except StopIteration as end:
                return end.value
            if self.suspensions == self._at:
                if awaited is not None and self._when == "when it is done":
                    awaited.add_done_callback(lambda _: self._cancel())
                else:
                    self._cancel()
            self.suspensions += 1
            thrown = None
            try:
                sent = yield awaited
            except BaseException as error:
                thrown = error


async def cancelled_at(work: Coroutine[Any, Any, Any], at: int, when: When) -> bool:
    """Run `work`, cancelled where it suspends for the time `at`. False if it came to its end before that."""
    if when == "again and again":
        with anyio.CancelScope() as scope:
            stepped = _Stepped(work, at, scope.cancel, when)
            await stepped
        return stepped.suspensions > at

    async def in_a_task() -> None:
        nonlocal stepped
        task = asyncio.current_task()
        assert task is not None
        stepped = _Stepped(work, at, task.cancel, when)
        await stepped

    try:
        await asyncio.create_task(in_a_task())
    except asyncio.CancelledError:
        pass
    return stepped.suspensions > at
