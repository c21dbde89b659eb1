"""The threads of a producer for blocking use: one sends the batches of a pool, and one calls the callbacks."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from typing import Any

from .delivery import DeliveryReport
from .flows.agreement import agree
from .flows.retry import log
from .flows.trimming import trim_kept, trimming
from .hooks import Hooks
from .shared.producing.batch import Batch
from .shared.producing.exit import at_exit, see_to_children_of_multiprocessing
from .shared.producing.lane import Lane
from .shared.producing.options import ProducerOptions
from .shared.routing import StreamRoute
from .transport.base import BlockingPool
from .transport.failures import told_again

__all__ = ["Reporter", "Signal", "ThreadLane"]

_CHECKED_EACH = 1.0  # seconds, after which a thread looks again, should nothing wake it


class Signal:
    """Wakes one thread that waits for it, or that will."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        with suppress(RuntimeError):  # it is set already
            self._lock.release()

    @property
    def is_set(self) -> bool:
        """Whether the next wait ends at once."""
        return not self._lock.locked()

    def wait(self, seconds: float | None) -> bool:
        """Wait until it is set, and reset it. False: the time was over before."""
        if seconds is None:
            return self._lock.acquire()
        if seconds <= 0:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


class _Worker(ABC):
    """A thread that is made when there is something to do.

    It is a daemon thread, but for subinterpreters, which must not end with one. There it ends whenever it has nothing
    to do, because the end of an interpreter waits for all other threads.

    Attributes:
        wake: says that there is something to do.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._renew()

    def _renew(self) -> None:
        self.wake: Signal = Signal()
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()  # held by the thread that works: there is never a second one

    def start(self) -> bool:
        """See that there is a thread. False: none can be made, because the interpreter ends.

        It takes no lock, because a signal handler may call it while the same thread is in here.
        """
        if self._thread is not None:
            return True
        for daemon in _DAEMON:
            try:
                threading.Thread(target=self._run, name=self._name, daemon=daemon).start()
            except RuntimeError:  # as above; or no thread can be made
                continue
            return True
        return False

    def _run(self) -> None:
        me = threading.current_thread()
        while self._turn.acquire(blocking=False):
            self._thread = me
            try:
                while not self.work(None):
                    seconds = self.wait_time()
                    if seconds is None and not me.daemon:
                        break
                    self.wake.wait(seconds)
            finally:
                self._thread = None
                self._turn.release()
            # What was said while there still was a thread, is to be done; after that, another thread is started.
            if not self.wake.wait(0) and self.wait_time() is None:
                return

    @abstractmethod
    def work(self, until: float | None) -> bool:
        """Do all that can be done now. True if nothing will ever be to do again.

        Args:
            until: monotonic seconds; None: no matter how long it takes.
        """

    @abstractmethod
    def wait_time(self) -> float | None:
        """Seconds until there is something to do; None: unless `wake` says so."""

    @property
    def is_this_thread(self) -> bool:
        """Whether this is called by the worker."""
        return self._thread is not None and self._thread is threading.current_thread()


def _in_main_interpreter() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # of Python 3.13, and before
        with suppress(ImportError, AttributeError):
            module = import_module(name)
            return bool(module.get_current() == module.get_main())
    return True


# Found out once: an import in a forked child may wait for ever for a lock that another thread had.
_DAEMON = (True, False) if _in_main_interpreter() else (False,)


class Reporter(_Worker):
    """Calls the callbacks of a producer, so that a slow one does not hold up the sender."""

    def __init__(self) -> None:
        super().__init__("fluxa_fast producer's callbacks")
        self._ending = False
        self._reports: deque[tuple[ThreadLane, Sequence[Callable[[Any], Any]], DeliveryReport, int, int]] = deque()

    def put(
        self,
        lane: ThreadLane,
        callbacks: Sequence[Callable[[Any], Any]],
        report: DeliveryReport,
        events: int,
        size: int,
    ) -> None:
        """Call these with a report about so many events, which holds so many bytes of them."""
        self._reports.append((lane, callbacks, report, events, size))
        self.wake.set()
        if not self.start():
            self.work(None)

    @property
    def busy(self) -> bool:
        """Whether there are reports."""
        return bool(self._reports)

    def forget(self) -> None:
        """Drop everything, in a forked child."""
        self._reports.clear()
        self._ending = False
        self._renew()

    def work(self, until: float | None) -> bool:
        while self._reports:
            lane, callbacks, report, events, size = self._reports[0]
            for callback in callbacks:
                try:
                    callback(report)
                except BaseException:  # sys.exit() would end the thread
                    log.exception("a callback of a producer has failed: %r", callback)
            lane.told(events, size)
            if self._reports:  # else this is a forked child
                self._reports.popleft()  # only now: as long as it is here, the sender of the lane tells nothing itself
        return self._ending

    def end(self) -> None:
        """End the thread when all reports are told. The next report makes another one."""
        self._ending = True
        self.wake.set()

    def wait_time(self) -> float | None:
        return 0.0 if self._reports else None


class _Sender(_Worker):
    """Sends the batches of a lane, one after the other."""

    def __init__(self, lane: ThreadLane) -> None:
        super().__init__(f"fluxa_fast producer for {lane.pool.name}")
        self._lane = lane
        self._end_began = 0.0

    def work(self, until: float | None) -> bool:
        lane = self._lane
        waited_for = not threading.current_thread().daemon and self.is_this_thread
        while True:
            self.wake.wait(0)  # what it says is seen from here on
            if waited_for:  # by the end of the interpreter, perhaps
                lane.hurry()
                self._bound_the_end()
            if lane.stopped or (until is not None and time.monotonic() >= until):
                return lane.stopped
            try:
                batch = lane.next_batch()
            except Exception:  # an entry could not be compressed, for example
                log.exception("a producer could not make a batch, and tries again")
                self._pause(_CHECKED_EACH, until)
                continue
            if batch is None:
                return lane.closing and lane.idle
            try:
                pause = self._send(batch)
            except Exception as error:
                log.exception("a producer could not send, and tries again")
                pause = lane.failed(batch, error)
            self._pause(pause, until)

    def wait_time(self) -> float | None:
        return None if self._lane.stopped else self._lane.wait_time()

    def _send(self, batch: Batch) -> float:
        lane = self._lane
        pool = lane.pool
        errors: dict[int, Exception] = {}
        for check in lane.unchecked():
            with lane.compared(check, batch, errors):
                pool.run(agree(check, pool), check.key)
        if not batch.left:
            lane.finish(batch)
            return 0.0
        flushing = batch.flushes(errors)
        began = time.monotonic()
        if named := lane.named(flushing):
            pool.flush(named, lane.options.replication)
        pause = lane.settle(batch, flushing, time.monotonic() - began)
        for key, retention in lane.trims():
            with trimming(retention, key):
                pool.run(trim_kept(pool, key, retention), key)
        return pause

    def _bound_the_end(self) -> None:
        """The interpreter ends, and waits for this thread: give it its time, and no more."""
        if threading.main_thread().is_alive():
            return
        now = time.monotonic()
        self._end_began = self._end_began or now
        if now > self._end_began + self._lane.options.exit_timeout and not self._lane.stopped:
            self._lane.log_left("the interpreter ends")
            self._lane.stop()

    def _pause(self, seconds: float, until: float | None) -> None:
        """Wait, unless the producer is to end."""
        end = time.monotonic() + seconds
        if until is not None:
            end = min(end, until)
        while (left := end - time.monotonic()) > 0 and not self._lane.stopped:
            self.wake.wait(left)


class ThreadLane(Lane[BlockingPool]):
    """A lane whose sender is a thread."""

    def __init__(
        self,
        pool: BlockingPool,
        routes: Mapping[str, StreamRoute[BlockingPool]],
        readers: Mapping[str, Any],
        options: ProducerOptions,
        hooks: Hooks | None,
        reporter: Reporter,
    ) -> None:
        super().__init__(pool, routes, readers, options, hooks, threading.Lock())
        self._reporter = reporter
        self._exiting = False
        self.sender: _Sender = _Sender(self)
        at_exit(self)

    # ---- publishers ----

    def on_full(self, stream: str, body: Any, tags: Any, key: Any, id: Any) -> None:
        self.enter(lambda beyond: self.writer.add(stream, body, tags, key, id, None, beyond), 1)

    def enter(self, add: Callable[[bool], bool], events: int) -> bool:
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
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self.full_error()
                signal.wait(min(left, _CHECKED_EACH))
        finally:
            with suppress(ValueError):
                self.publishers.remove(signal)
            self.wake_publisher()
        return True

    @property
    def in_callback(self) -> bool:
        """Whether a callback calls this: it must not wait for its own thread."""
        return self.sender.is_this_thread or self._reporter.is_this_thread

    # ---- the sender ----

    def noticed(self) -> None:
        if self._exiting:
            return self._send_at_the_exit()
        sender = self.sender
        sender.wake.set()
        if sender._thread is None:
            self.see_to_it()

    def see_to_it(self) -> None:
        """See that what is there is sent."""
        see_to_children_of_multiprocessing()
        if not self.sender.start():
            self._send_here(time.monotonic() + self.options.exit_timeout)

    def _send_here(self, until: float) -> None:
        """Send in this thread, because no other can be made."""
        self.hurry()
        turn = self.sender._turn
        if turn.acquire(timeout=max(0.0, until - time.monotonic())):
            try:
                self.sender.work(until)
            finally:
                turn.release()

    def tell(self, callbacks: Sequence[Callable[[Any], Any]], report: DeliveryReport, events: int, size: int) -> None:
        self._reporter.put(self, callbacks, report, events, size)

    def reports_wait(self) -> bool:
        return self._reporter.busy

    def resolve(self, receipt: Future[str], outcome: str | Exception) -> None:
        try:
            if not receipt.set_running_or_notify_cancel():
                return
            if isinstance(outcome, str):
                receipt.set_result(outcome)
            else:
                receipt.set_exception(told_again(outcome))
        except BaseException:  # a function that was added to it calls sys.exit(); or it was set somewhere else
            log.exception("a future of a producer could not be told its outcome: %r", receipt)

    def wait_until(self, target: int, deadline: float | None) -> bool:
        """Wait until so many events are settled and reported. False: the time was over before."""
        signal = Signal()
        waiting = (target, signal)
        self.flushers.append(waiting)
        try:
            while self.reported < target:
                if self.stopped:
                    return False
                if not signal.wait(None if deadline is None else deadline - time.monotonic()):
                    return self.reported >= target
        finally:
            self.flushers.remove(waiting)
        return True

    def stop(self) -> None:
        self.stopped = True
        self.sender.wake.set()
        self._reporter.end()
        self.told_stop()

    def abandon(self) -> None:
        self.closing = True
        self.sender.wake.set()
        self._reporter.end()

    # ---- the end of the process, and forks ----

    def begin_exit(self) -> float:
        self._exiting = True
        self.hurry()
        self.sender.wake.set()
        return self.options.exit_timeout if self.left and not self.stopped else 0.0

    def end_exit(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        if self.stopped:  # `close` has told what was left
            return
        if self.left and not self.sender.start():
            self._send_here(deadline)
        if not self.wait_until(self.writer.total, deadline):
            self.log_left("the process ends")

    def _send_at_the_exit(self) -> None:
        """Another function that is called at the exit has published: it is the last chance."""
        if not self.in_callback:
            self.end_exit(self.begin_exit())

    def forget(self) -> None:
        self.renew(threading.Lock())
        self.sender._renew()
        self._reporter.forget()
