"""The tasks of a producer on asyncio: one sends the batches of a pool, and one calls the callbacks."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any

from ..delivery import DeliveryReport
from ..flows.retry import log
from ..flows.trimming import trim_kept, trimming
from ..hooks import Hooks
from ..shared.producing.batch import Batch
from ..shared.producing.exit import at_exit
from ..shared.producing.lane import Lane
from ..shared.producing.options import ProducerOptions
from ..shared.routing import StreamRoute
from ..transport.aio.one_loop import OneLoop
from ..transport.base import AsyncPool
from ..transport.failures import told_again
from .checking import checked_together

__all__ = ["DONE", "Reporter", "Signal", "TaskLane"]

_AFTER_A_BUG = 1.0  # seconds


class _Done(Coroutine[Any, Any, None]):
    """What `publish` returns when there is nothing to wait for. It can be awaited any number of times, or never."""

    def send(self, value: Any, /) -> Any:
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, traceback: Any = None, /) -> Any:
        raise kind if value is None else value

    def close(self) -> None:
        """There is nothing to close."""

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # type: ignore[return-value]


class _Turn(_Done):
    """The same, if the task is to let others run before it goes on."""

    def __init__(self) -> None:
        self._yielded = False

    def send(self, value: Any, /) -> Any:
        if self._yielded:
            raise StopIteration
        self._yielded = True

    def __await__(self) -> Generator[Any, Any, None]:
        yield


DONE: _Done = _Done()


class Signal:
    """Wakes one task that waits for it, or that will."""

    __slots__ = ("_future", "_set")

    def __init__(self) -> None:
        self._set = False
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._set = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float | None) -> bool:
        """Wait until it is set, and reset it. False: the time was over before."""
        if not self._set and (seconds is None or seconds > 0):
            loop = asyncio.get_running_loop()
            self._future = loop.create_future()
            timer = None if seconds is None else loop.call_later(seconds, _end, self._future)
            try:
                await self._future
            finally:
                self._future = None
                if timer is not None:
                    timer.cancel()
        was_set, self._set = self._set, False
        return was_set


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Reporter:
    """Calls the callbacks of a producer, in a task of its own while there are reports."""

    def __init__(self) -> None:
        self._reports: deque[tuple[TaskLane, Sequence[Callable[[Any], Any]], DeliveryReport, int]] = deque()
        self.task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether there are reports."""
        return bool(self._reports)

    def put(
        self, lane: TaskLane, callbacks: Sequence[Callable[[Any], Any]], report: DeliveryReport, events: int
    ) -> None:
        """Call these with a report about so many events."""
        self._reports.append((lane, callbacks, report, events))
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._run(), name="fluxa_fast producer's callbacks")

    async def _run(self) -> None:
        while self._reports:
            lane, callbacks, report, events = self._reports[0]
            for callback in callbacks:
                try:
                    result = callback(report)
                    if inspect.isawaitable(result):
                        await result
                except Exception:
                    log.exception("a callback of a producer has failed: %r", callback)
            self._reports.popleft()
            lane.told(events)

    def forget(self) -> None:
        """Drop everything, in a forked child or another event loop."""
        self._reports.clear()
        self.task = None


class TaskLane(Lane[AsyncPool]):
    """A lane whose sender is a task."""

    def __init__(
        self,
        pool: AsyncPool,
        routes: Mapping[str, StreamRoute[AsyncPool]],
        readers: Mapping[str, Any],
        options: ProducerOptions,
        hooks: Hooks | None,
        reporter: Reporter,
    ) -> None:
        super().__init__(pool, routes, readers, options, hooks, accepted=DONE)
        self._reporter = reporter
        self._home = OneLoop("the producer")
        self._sender: asyncio.Task[None] | None = None
        self._wake = Signal()
        at_exit(self)

    # ---- publishers ----

    async def on_full(self, stream: str, body: Any, tags: Any, key: Any, id: Any) -> None:
        await self.enter(lambda beyond: self.writer.add(stream, body, tags, key, id, None, beyond), 1)

    async def enter(self, add: Callable[[bool], bool], events: int) -> bool:
        """Add events as soon as there is room. False: they are dropped.

        Args:
            add: adds them, and returns whether there was room; its argument is whether it needs none.
            events: how many there are.

        Raises:
            ProducerFullError, FluxaError: as `may_wait`; or there was no room in time.
        """
        if add(self.in_callback):
            return True
        if not self.may_wait(events):
            return False
        deadline = time.monotonic() + self.options.full_timeout
        signal = Signal()
        self.publishers.append(signal)
        try:
            while not add(False):
                self.check_open()
                if not await signal.wait(_bounded(deadline - time.monotonic())):
                    raise self.full_error()
        finally:
            self.publishers.remove(signal)
            self.wake_publisher()
        return True

    @property
    def in_callback(self) -> bool:
        """Whether a callback calls this: it must not wait for its own task."""
        if self._reporter.task is None:
            return False
        try:
            return asyncio.current_task() is self._reporter.task
        except RuntimeError:  # there is no event loop
            return False

    # ---- the sender ----

    def noticed(self) -> Awaitable[None]:
        self._wake.set()
        try:
            if self._sender is None or self._sender.done() or self._home.loop is not asyncio.get_running_loop():
                self.see_to_it()
        except RuntimeError:  # there is no event loop: the next call in one sees to it
            return DONE
        # A task that publishes in a loop lets the sender run from time to time.
        return _Turn() if self.writer.ready or self.writer.sealed else DONE

    def see_to_it(self) -> None:
        """See that what is there is sent.

        Raises:
            FluxaError: if another event loop uses the producer, and is running.
        """
        loop = asyncio.get_running_loop()
        if self._home.loop is not loop:
            self._home.enter(loop, self._leave)
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._run(), name=f"fluxa_fast producer for {self.pool.name}")

    def _leave(self, before: Any) -> None:
        """Go on in another event loop. Those that waited in the one before are gone with it."""
        self._sender = None
        self._wake = Signal()
        self.publishers.clear()
        self.flushers.clear()

    async def _run(self) -> None:
        try:
            while not await self._work():
                await self._wake.wait(self.wait_time())
        except asyncio.CancelledError:  # the event loop ends
            self.hurry()
            try:
                async with asyncio.timeout(self.options.exit_timeout):
                    while not self.idle and not self.stopped:
                        await self._work()
            except TimeoutError:
                pass
            self._tell_left("the event loop ends")
            raise

    async def _work(self) -> bool:
        """Do all that can be done now. True if nothing will ever be to do again."""
        while True:
            await self._wake.wait(0)  # what it says is seen from here on
            if self.stopped:
                return True
            batch = self.next_batch()
            if batch is None:
                return self.closing and self.idle
            try:
                pause = await self._send(batch)
            except Exception:
                log.exception("a producer could not send, and tries again")
                pause = _AFTER_A_BUG
            end = time.monotonic() + pause
            while (left := end - time.monotonic()) > 0 and not self.stopped:
                await self._wake.wait(min(left, 0.05) if self.closing else left)

    async def _send(self, batch: Batch) -> float:
        pool = self.pool
        errors: dict[int, Exception] = {}
        for check in self.unchecked():
            with self.compared(check, batch, errors):
                await checked_together(check, pool)
        if not batch.left:
            self.finish(batch)
            return 0.0
        flushing = batch.flushes(errors)
        began = time.monotonic()
        try:
            if named := self.named(flushing):
                await pool.flush(named, self.options.replication)
        except asyncio.CancelledError:
            self.settle(batch, flushing, time.monotonic() - began)
            raise
        pause = self.settle(batch, flushing, time.monotonic() - began)
        for key, retention in self.trims():
            with trimming(retention, key):
                await pool.run(trim_kept(pool, key, retention), key)
        return pause

    # ---- what is told ----

    def tell(self, callbacks: Sequence[Callable[[Any], Any]], report: DeliveryReport, events: int) -> None:
        self._reporter.put(self, callbacks, report, events)

    def reports_wait(self) -> bool:
        return self._reporter.busy

    def resolve(self, receipt: asyncio.Future[str], outcome: str | Exception) -> None:
        if receipt.done():  # cancelled, for example
            return
        try:
            if isinstance(outcome, str):
                receipt.set_result(outcome)
            else:
                receipt.set_exception(told_again(outcome))
        except RuntimeError:  # of an event loop that is closed
            pass

    async def wait_until(self, target: int, deadline: float | None) -> bool:
        """Wait until so many events are settled and reported. False: the time was over before."""
        signal = Signal()
        waiting = (target, signal)
        self.flushers.append(waiting)
        try:
            while self.reported < target:
                if not await signal.wait(None if deadline is None else deadline - time.monotonic()):
                    return self.reported >= target
        finally:
            if waiting in self.flushers:
                self.flushers.remove(waiting)
        return True

    def stop(self) -> None:
        """Send nothing more: the producer is closed."""
        self.stopped = True
        self._wake.set()

    def abandon(self) -> None:
        """The producer is dropped. This waits for nothing: the collector may call it anywhere, in any thread."""
        self.closing = True
        loop = self._home.loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._wake.set)
            except RuntimeError:  # it was closed meanwhile
                pass

    # ---- the end of the process, and forks ----

    def begin_exit(self) -> float:
        return 0.0

    def end_exit(self, seconds: float) -> None:
        self._tell_left("the process ends")

    def _tell_left(self, what_ends: str) -> None:
        if self.left and not self._told_left:
            self._told_left = True
            log.error("%s with %d events that were not delivered: %s", what_ends, self.left, self.told_left())

    _told_left = False

    def forget(self) -> None:
        self.renew(None)
        self._sender = None
        self._wake = Signal()
        self._reporter.forget()


def _bounded(seconds: float) -> float | None:
    """What `call_later` takes."""
    return None if seconds > 86_400 * 365 else max(0.0, seconds)
