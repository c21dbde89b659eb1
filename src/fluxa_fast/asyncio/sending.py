"""The tasks of a producer on asyncio: one sends the batches of a pool, and one calls the callbacks."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
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

_CHECKED_EACH = 1.0  # seconds


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

    @property
    def is_set(self) -> bool:
        """Whether the next wait ends at once."""
        return self._set

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
        self._reports: deque[tuple[TaskLane, Sequence[Callable[[Any], Any]], DeliveryReport, int, int]] = deque()
        self.task: asyncio.Task[None] | None = None
        self.ends_with_sender: bool = False  # the sender calls `work`: the event loop ends, and takes no new task

    @property
    def busy(self) -> bool:
        """Whether there are reports."""
        return bool(self._reports)

    def put(
        self,
        lane: TaskLane,
        callbacks: Sequence[Callable[[Any], Any]],
        report: DeliveryReport,
        events: int,
        size: int,
    ) -> None:
        """Call these with a report about so many events, which holds so many bytes of them."""
        self._reports.append((lane, callbacks, report, events, size))
        if not self.ends_with_sender and (self.task is None or self.task.done()):
            self.task = asyncio.get_running_loop().create_task(self.work(), name="fluxa_fast producer's callbacks")

    async def work(self) -> None:
        """Tell all reports. A callback that is cancelled is not called again."""
        while self._reports:
            lane, callbacks, report, events, size = self._reports[0]
            try:
                for callback in callbacks:
                    await self._call(callback, report)
            finally:
                self._reports.popleft()
                lane.told(events, size)

    @staticmethod
    async def _call(callback: Callable[[Any], Any], report: DeliveryReport) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            result = callback(report)
            if inspect.isawaitable(result):
                await result
        except (KeyboardInterrupt, SystemExit):  # they end the event loop
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > before:
                raise
            log.exception("a callback of a producer has failed: %r", callback)

    def forget(self) -> None:
        """Drop everything, in a forked child or another event loop."""
        self._reports.clear()
        self.task = None
        self.ends_with_sender = False


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

    def on_full(self, stream: str, body: Any, tags: Any, key: Any, id: Any) -> Awaitable[Any]:
        def add(beyond: bool) -> bool:
            return self.writer.add(stream, body, tags, key, id, None, beyond)

        if not self.in_callback and self.options.on_full != "wait" and not self.may_wait(1):
            return DONE
        return self.enter(add, 1)

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
        try:
            self.publishers.append(signal)
            while not add(False):
                self.check_open()
                if not await signal.wait(_bounded(deadline - time.monotonic())):
                    raise self.full_error()
        finally:
            with suppress(ValueError):  # another event loop has taken over
                self.publishers.remove(signal)
            self.wake_publisher()
        return True

    @property
    def in_callback(self) -> bool:
        """Whether a callback calls this: it must not wait for its own task."""
        if self._reporter.task is None and not self._reporter.ends_with_sender:
            return False
        try:
            task = asyncio.current_task()
        except RuntimeError:  # there is no event loop
            return False
        return task is not None and task in (self._reporter.task, self._sender)

    # ---- the sender ----

    def noticed(self) -> Awaitable[None]:
        try:
            if self._sender is None or self._sender.done() or self._home.loop is not asyncio.get_running_loop():
                self.see_to_it()
            self._wake.set()
        except RuntimeError:  # there is no event loop: the next call in one sees to it
            self.writer.note_again()
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
            self._reporter.ends_with_sender = True
            self.hurry()
            try:
                async with asyncio.timeout(self.options.exit_timeout):
                    while not self.idle and not self.stopped:
                        await self._work()
                    await self._reporter.work()
            except TimeoutError:
                pass
            finally:
                self._reporter.ends_with_sender = False
            self._tell_left("the event loop ends")
            raise

    async def _work(self) -> bool:
        """Do all that can be done now. True if nothing will ever be to do again."""
        while True:
            await self._wake.wait(0)  # what it says is seen from here on
            if self.stopped:
                return True
            try:
                batch = self.next_batch()
            except Exception:  # an entry could not be compressed, for example
                log.exception("a producer could not make a batch, and tries again")
                await asyncio.sleep(_CHECKED_EACH)
                continue
            if batch is None:
                return self.closing and self.idle
            try:
                pause = await self._send(batch)
            except Exception as error:
                log.exception("a producer could not send, and tries again")
                pause = self.failed(batch, error)
            end = time.monotonic() + pause
            while (left := end - time.monotonic()) > 0 and not self.stopped:
                await self._wake.wait(left)

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
            self.settle(batch, flushing, time.monotonic() - began, interrupted=True)
            raise
        pause = self.settle(batch, flushing, time.monotonic() - began)
        for key, retention in self.trims():
            with trimming(retention, key):
                await pool.run(trim_kept(pool, key, retention), key)
        return pause

    # ---- what is told ----

    def tell(self, callbacks: Sequence[Callable[[Any], Any]], report: DeliveryReport, events: int, size: int) -> None:
        self._reporter.put(self, callbacks, report, events, size)

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
                if self.stopped:
                    return False
                if not await signal.wait(None if deadline is None else deadline - time.monotonic()):
                    return self.reported >= target
        finally:
            if waiting in self.flushers:
                self.flushers.remove(waiting)
        return True

    def stop(self) -> None:
        self.stopped = True
        self._wake.set()
        self.told_stop()

    def abandon(self) -> None:
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
        if self.left != self._told_left and not self.stopped:
            self._told_left = self.left
            self.log_left(what_ends)

    _told_left = 0  # events, of which the log has told that they are left

    def forget(self) -> None:
        self.renew(None)
        self._sender = None
        self._wake = Signal()
        self._reporter.forget()


def _bounded(seconds: float) -> float | None:
    """What `call_later` takes."""
    return None if seconds > 86_400 * 365 else max(0.0, seconds)
