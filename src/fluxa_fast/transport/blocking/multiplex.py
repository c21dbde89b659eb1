"""Several flows at the same time on one thread, each over a link of its own: sockets are waited for together."""

from __future__ import annotations

import inspect
import math
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from ...flows.steps import Ask, Deliver, Flow, Pause, Pipeline, Receive, ReceiveAll, Refresh, Start
from ...protocol.interface import INCOMPLETE
from ..base import BlockingLink
from .driver import no_matter, perform, refuse, run_flow

__all__ = ["FlowTask", "run_all", "run_ready"]

_OTHERS = frozenset({Refresh, Start})  # steps that are not about the task's own link

# Sockets that are waited for come and go: this one keeps no state in the kernel. (Windows has only the other.)
_Selector: Callable[[], selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class _InterruptedError(Exception):
    """Tells a flow that its step was interrupted."""


class FlowTask:
    """One flow, which goes on whenever it can without waiting.

    Args:
        flow: that is run.
        link: that its steps are about; None: it needs none.
        other: does the steps that are not about the link.

    Attributes:
        deadline: of its step, in monotonic seconds: the end of a pause, or of waiting for the server.
        over: whether the flow has ended.
        is_new: whether it was not driven yet.
        outcome: what it returned, or the error that ended it.
    """

    def __init__(self, flow: Flow[Any], link: BlockingLink | None, other: Callable[[Any], Any] | None = None) -> None:
        self.link = link
        self.over: bool = False
        self.is_new: bool = True
        self.outcome: Any = None
        self.deadline: float = math.inf
        self._flow = flow
        self._other = other
        self._step: Any = None
        self._begun = False  # the step has sent what it sends
        self._busy = False  # between two waits: an interruption may have come between any two lines
        self._waited_for: Any = None  # the socket that a selector knows of

    def _run(self, resume: Callable[[Any], Any], value: Any) -> None:
        self._busy = True
        try:
            run_flow(self._flow, self._attempt, no_matter, resume, value)
        except StopIteration as end:
            self._end(end.value)
        except BaseException as error:
            if inspect.getgeneratorstate(self._flow) != inspect.GEN_CLOSED:
                raise  # the thread was interrupted; the flow has not ended
            self._end(error)
        self._busy = False

    def _end(self, outcome: Any) -> None:
        self.over = True
        self.outcome = outcome
        self._step = None
        if self.link is not None and not self.link.in_order:
            self.link.drop()

    def throw(self, error: BaseException) -> None:
        """Resume the flow with an error."""
        self._run(self._flow.throw, error)

    def interrupted(self, until: float) -> None:
        """Take note that the driver was interrupted: by then (monotonic seconds) the flow must have settled everything.

        A connection that a step was using owes replies that are not known, and one that blocks brings none in time.
        """
        if self.over:
            return
        step = self._step
        if self._busy or (type(step) in (Ask, Receive) and step.wait):
            if self.link is not None:
                self.link.drop()
            self.throw(_InterruptedError())
        else:
            self.deadline = min(self.deadline, until)

    def abandon(self) -> None:
        """End the flow where it is."""
        if not self.over:
            self._flow.close()
            self._end(None)

    @property
    def delivers(self) -> bool:
        """Whether the flow waits for its events to be handled."""
        return type(self._step) is Deliver

    @property
    def delivery(self) -> Deliver:
        """The step that waits for its events to be handled."""
        step: Deliver = self._step
        return step

    @property
    def events(self) -> Sequence[Any]:
        """What it delivers."""
        return self.delivery.events

    def handled(self, outcome: object = None) -> None:
        """Resume the flow with the outcome of a delivery: its events were handled, or it came too late."""
        self._run(self._flow.send, outcome)

    def go_on(self) -> None:
        """Do what can be done without waiting, up to the next events that it delivers."""
        if self.is_new:
            self.is_new = False
            self._run(self._flow.send, None)
        elif not (self.over or self.delivers):
            self._run(_same, self._step)

    def _attempt(self, step: Any) -> Any:
        kind = type(step)
        if step is not self._step:
            self._step = step
            self._begun = False
            self.deadline = math.inf
        if kind is Deliver:
            return INCOMPLETE
        now = time.monotonic()
        if kind is Pause:
            if self.deadline == math.inf:
                self.deadline = now + step.seconds
            return None if now >= self.deadline else INCOMPLETE
        link = self.link
        if link is None:
            assert self._other is not None
            return self._other(step)
        if kind is Ask or kind is Receive:
            if not self._begun and kind is Ask:
                link.send(step.commands)
            reply = link.receive_now(step.take)
            return reply if reply is not INCOMPLETE else self._waits(now, step.wait)
        if kind is ReceiveAll:
            while len(step.replies) < len(step.takes):
                reply = link.receive_now(step.takes[len(step.replies)])
                if reply is INCOMPLETE:
                    return self._waits(now, 0.0)
                step.replies.append(reply)
            return step.replies
        if kind is Pipeline:
            if not self._begun and not link.in_order:
                link.drop()
            done = link.pushed(step.commands, step.confirmations)
            return None if done else self._waits(now, 0.0)
        if self._other is not None and kind in _OTHERS:
            return self._other(step)
        return perform(link, refuse, step)

    def _waits(self, now: float, wait: float) -> Any:
        assert self.link is not None
        self._begun = True
        if self.deadline == math.inf and self.link.timeout is not None:
            self.deadline = now + self.link.timeout + wait
        return INCOMPLETE

    # ---- waiting ----

    @property
    def gathers(self) -> bool:
        """Whether it has sent a pipeline, and waits for the replies only."""
        if type(self._step) is not Pipeline or not self._begun or self.link is None:
            return False
        return not self.link.sending(self._step.commands)

    def gather(self) -> None:
        """Wait for all of these replies."""
        assert self.link is not None
        try:
            self.link.gather(self._step.confirmations, overdue=time.monotonic() > self.deadline)
        except Exception as error:  # Ctrl-C is not of this task alone: it ends all of them
            self.throw(error)
        else:
            self._run(self._flow.send, None)

    def register(self, selector: selectors.BaseSelector) -> None:
        """Say which socket is waited for, if any, unless that was said before."""
        if (
            self._waited_for is None
            and self.link is not None
            and type(self._step) in (Ask, Receive, ReceiveAll, Pipeline)
        ):
            events = selectors.EVENT_READ
            if type(self._step) is Pipeline and self.link.sending(self._step.commands):
                events |= selectors.EVENT_WRITE
            socket = self.link.socket
            selector.register(socket, events, self)
            self._waited_for = socket

    def unregister(self, selector: selectors.BaseSelector) -> None:
        """It goes on, and may wait for something else after that."""
        if self._waited_for is not None:
            waited_for, self._waited_for = self._waited_for, None
            with suppress(KeyError, ValueError):  # an interruption came before it was registered, or it is closed
                selector.unregister(waited_for)

    def heard(self) -> None:
        """The socket is ready: the server is not silent."""
        if type(self._step) is not Pause:
            self.deadline = math.inf

    def is_due(self, now: float) -> bool:
        """Whether its time is over: a pause has ended, or the server was silent for too long."""
        if now < self.deadline:
            return False
        if self.link is not None and type(self._step) is not Pause:
            try:
                self.link.time_out()
            except Exception as error:
                self.throw(error)
        return True


def _same(step: Any) -> Any:
    return step


def run_ready(tasks: list[FlowTask], failed: Callable[[BaseException], object] | None = None) -> Iterator[FlowTask]:
    """Drive them until all are over. Yields a task that has events to be handled, which are when it is resumed.

    Args:
        tasks: may be added to meanwhile. Those that are over leave it.
        failed: is told of the error that ended one of them.
    """
    ready = list(tasks)
    with _Selector() as selector:
        try:
            while tasks:
                resumed = []
                for task in ready:
                    task.go_on()
                    if task.delivers:
                        resumed.append(task)
                        yield task
                for task in tasks:
                    if failed is not None and isinstance(task.outcome, BaseException):
                        failed(task.outcome)
                tasks[:] = [task for task in tasks if not task.over]
                resumed += [task for task in tasks if task.is_new]
                others = [task for task in tasks if task not in resumed]
                ready = resumed + (_ready(others, selector, may_wait=not resumed) if others else [])
        finally:
            for task in tasks:  # to drive them on takes a selector of its own
                task.unregister(selector)


def _ready(tasks: Sequence[FlowTask], selector: selectors.BaseSelector, *, may_wait: bool) -> list[FlowTask]:
    """Those that can go on; if there are none and it may, it waits for one."""
    if may_wait and all(task.gathers for task in tasks):
        # Nothing is left to send: other replies gather at their sockets meanwhile, and are read in large pieces.
        for task in tasks:
            task.unregister(selector)
            task.gather()
        return list(tasks)
    for task in tasks:
        task.register(selector)
    timeout = max(0.0, min(task.deadline for task in tasks) - time.monotonic()) if may_wait else 0.0
    if selector.get_map():
        found = selector.select(None if timeout == math.inf else timeout)
    else:
        time.sleep(timeout)
        found = []
    heard: list[FlowTask] = [key.data for key, _ in found]
    for task in heard:
        task.heard()
    now = time.monotonic()
    ready = heard + [task for task in tasks if task.is_due(now)]  # of those that were heard none is
    for task in ready:
        task.unregister(selector)
    return ready


def run_all(work: Sequence[tuple[Flow[Any], BlockingLink]]) -> list[Any]:
    """For each of the flows what it returned, or the error that ended it. Ctrl-C and its like end all of them."""
    tasks: list[FlowTask] = []
    try:
        tasks += [FlowTask(flow, link) for flow, link in work]
        for task in run_ready(list(tasks)):
            raise TypeError(f"{task.events!r} are delivered where no handler is")
        for task in tasks:
            if isinstance(task.outcome, BaseException) and not isinstance(task.outcome, Exception):
                raise task.outcome
    except BaseException:
        for _, link in work:
            if not link.in_order:
                link.drop()
        raise
    return [task.outcome for task in tasks]
