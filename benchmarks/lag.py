"""How long the steps of fluxa_fast.asyncio hold the event loop, by a ticker that never pauses."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.table import Table

from fluxa_fast.asyncio import Event, Registry
from fluxa_fast.embedded import EmbeddedServer

__all__ = ["run_lag"]

_STREAM = "lag"


class Ticker:
    """Runs beside the work of a block.

    Attributes:
        longest: seconds between two of its turns at most.
    """

    async def __aenter__(self) -> Ticker:
        gc.collect()  # as long as it would take, it is not what is measured
        gc.disable()
        self.longest = 0.0
        self._task = asyncio.create_task(self._tick())
        return self

    async def _tick(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest = max(self.longest, now - before)
            before = now

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.sleep(0)  # the last step counts too
        await asyncio.sleep(0)
        self._task.cancel()
        await asyncio.wait([self._task])
        gc.enable()


def body(number: int) -> dict[str, int]:
    return {"UserID": number, "ProductID": 42, "Quantity": 3}


async def measure(url: str, events: int, many: int) -> dict[str, float]:
    """The longest step in seconds, of everything that is measured."""
    registry = Registry()
    registry.register_redis(url)
    registry.register_redis_stream(_STREAM)
    found: dict[str, float] = {}

    async def handle(batch: Sequence[Event]) -> None:
        for number, event in enumerate(batch):
            assert event.body
            if number % 1000 == 0:
                await asyncio.sleep(0)

    async with registry.validate() as engine:
        broker = engine.new_context().get_event_broker()
        flusher = broker.new_flusher()

        async def fill() -> None:
            await flusher.publish_many(_STREAM, map(body, range(many)))
            await flusher.flush()

        async def loop_over_batches() -> None:
            async for batch in broker.consumer_single(_STREAM).batches(many, None):
                await handle(batch)

        async def stopped_flush() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await flusher.flush()

        async with Ticker() as ticker:
            await flusher.publish_many(_STREAM, map(body, range(events)))
        found[f"publish_many of {events:,} events"] = ticker.longest
        async with Ticker() as ticker:
            await flusher.flush()
        found[f"flush of {events:,}"] = ticker.longest
        async with Ticker() as ticker:
            await broker.consumer_single(_STREAM).consume(many, None, handle)
        found[f"consume {many:,} in one batch"] = ticker.longest
        async with Ticker() as ticker:
            await broker.consumer_single(_STREAM).consume(1000, None, handle)
        found["consume 1,000"] = ticker.longest
        work: list[tuple[str, Callable[[], Any]]] = [
            (f"batches of {many:,}", loop_over_batches),
            ("a flush that runs into a timeout", stopped_flush),
        ]
        await fill()
        for name, call in work:
            if call is stopped_flush:
                await flusher.publish_many(_STREAM, map(body, range(events)))
            async with Ticker() as ticker:
                await call()
            found[name] = ticker.longest
    return found


def run_lag(console: Console, events: int, many: int) -> None:
    """Measure and show it, on the event loops that are installed."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop] | None] = {"asyncio": None}
    try:
        import uvloop
    except ImportError:
        pass
    else:
        loops["uvloop"] = uvloop.new_event_loop
    columns = {}
    with EmbeddedServer() as server:
        for name, factory in loops.items():
            with server.client() as client:
                client.flushall()
            with asyncio.Runner(loop_factory=factory) as runner:
                columns[name] = runner.run(measure(server.url, events, many))
    table = Table("longest step, ms", *columns, title_justify="left")
    for row in columns["asyncio"]:
        table.add_row(row, *(f"{column[row] * 1000:.1f}" for column in columns.values()))
    console.print(table)
