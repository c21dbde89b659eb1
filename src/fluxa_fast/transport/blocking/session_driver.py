"""Runs the flows of one consumer session: one after the other if there is one partition, else multiplexed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from ...errors import FluxaError
from ...flows.consume.session import ConsumerSession, LoopLeftError
from ...flows.steps import Deliver, Flow, Pause, Refresh, Start
from ...protocol.interface import INCOMPLETE
from ...shared.handlers import HandlerFailedError, refuse_unfinished
from ..base import BlockingLink, BlockingPool
from ..node_links import NodeLinksBase
from .driver import drive, perform, refuse, run_flow
from .heartbeat import Heartbeat
from .link import GRACE
from .multiplex import FlowTask, run_ready

__all__ = ["NodeLinks", "SessionDriver"]

_ORDINARY = (RedisError, FluxaError)  # what a step may meet without having been interrupted

Batches = Generator[Sequence[Any], None, None]
Handler = Callable[[Sequence[Any]], object]


class NodeLinks(NodeLinksBase[BlockingPool, BlockingLink]):
    """The links of one consumer to the nodes of its partitions, kept from session to session."""

    def __init__(self, pool: BlockingPool) -> None:
        super().__init__(pool)
        self._until: float | None = None

    def to(self, node: tuple[str, str]) -> BlockingLink:
        link = super().to(node)
        link.limit(self._until)
        return link

    def run(self, flow: Flow[int], stream: str) -> int:
        """Return the result of a flow about one partition."""
        if (kept := self._only) is not None:
            return drive(flow, kept)
        link = self.pool.new_link(stream)
        link.limit(self._until)
        try:
            return drive(flow, link)
        finally:
            link.release()

    def limit(self, until: float | None) -> None:
        """Fail in whatever is not done by then (monotonic seconds). None: it takes the time it takes."""
        self._until = until
        for link in self._links.values():
            link.limit(until)

    def release(self) -> None:
        """Return the connections to redis-py's pool."""
        while self._links:
            self._links.popitem()[1].release()


class SessionDriver:
    """Runs the flows of one session.

    Args:
        session: of the consumer.
        links: of the consumer.
    """

    def __init__(self, session: ConsumerSession, links: NodeLinks) -> None:
        self._session = session
        self._links = links
        self._handler: Handler | None = None
        self._waiting: deque[tuple[tuple[str, str] | None, Flow[None]]] = deque([(None, session.begin())])
        self._tasks: list[FlowTask] = []

    def run(self, handler: Handler) -> None:
        """Run the session, and call the handler with every batch.

        Raises:
            BaseException: what has ended the session, unless it ended by itself.
        """
        try:
            with Heartbeat(self._session.in_hand, self._links.pool):
                if self._session.lone:
                    self._handler = handler
                    for _ in self._one_after_the_other():
                        raise AssertionError("the handler was given every batch")
                else:
                    _call_with_each(handler, self._multiplexed())
        finally:
            self._end()
        self._session.raise_error()

    def batches(self) -> Batches:
        """Every batch. It counts as handled when the next one is asked for.

        Raises:
            BaseException: what has ended the session, unless it ended by itself or was closed.
        """
        try:
            yield from self._one_after_the_other() if self._session.lone else self._multiplexed()
        finally:
            self._end()
        self._session.raise_error()

    def _end(self) -> None:
        self._links.limit(None)
        self._session.end()

    # ---- one partition ----

    def _one_after_the_other(self) -> Batches:
        while self._waiting:
            node, flow = self._waiting.popleft()
            link = None if node is None else self._links.to(node)
            attempt = self._without_link if link is None else partial(perform, link, self._other)
            resume: Callable[[Any], Any] = flow.send
            value: Any = None
            try:
                while True:
                    step = run_flow(flow, attempt, self._failed, resume, value)
                    try:
                        yield step.events
                    except GeneratorExit:  # the loop was left
                        if self._session.superseded:
                            return
                        self._session.leave_loop()
                        run_flow(flow, attempt, self._failed, flow.throw, LoopLeftError())
                    except BaseException as error:
                        resume, value = flow.throw, error
                    else:
                        resume, value = flow.send, None
            except StopIteration:
                continue
            finally:
                if link is not None and not link.in_order:
                    link.drop()

    def _other(self, step: Any) -> Any:
        """Do what a step asks for that is not about a link. A batch is for the handler, or the loop over batches."""
        kind = type(step)
        if kind is Deliver:
            if not self._begin(step):
                return Deliver.TOO_LATE
            return INCOMPLETE if self._handler is None else _call(self._handler, step.events)
        if kind is Start:
            return self._waiting.append((step.node, step.flow))
        if kind is Refresh:
            return self._links.pool.refresh(step.seen)
        return refuse(step)

    def _begin(self, step: Deliver) -> bool:
        """A batch is about to be handed over. Returns whether it has events that no other consumer has taken over."""
        if time.monotonic() > step.stale_at:
            for flow, key in self._session.refreshing(step):
                with suppress(*_ORDINARY):  # the connection of the session will meet it as well, and wait
                    self._links.pool.run(flow, key)
            step.events[:] = [event for event in step.events if not event.taken_over]
        if step.hand is not None:
            step.hand.begin()
        return bool(step.events)

    def _without_link(self, step: Any) -> Any:
        return time.sleep(step.seconds) if type(step) is Pause else self._other(step)

    def _failed(self, step: object, error: BaseException) -> None:
        """A step has met an error. An interruption ends the session, and leaves it a second to settle."""
        ordinary = Exception if type(step) is Deliver else _ORDINARY  # a handler may raise what it likes
        if not isinstance(error, ordinary) and not self._session.interrupted:
            self._session.interrupt(error)
            self._links.limit(time.monotonic() + GRACE)

    # ---- several partitions ----

    def _multiplexed(self) -> Batches:
        session, tasks = self._session, self._tasks
        try:
            tasks.append(FlowTask(self._waiting.popleft()[1], None, self._other_step))
            ready = run_ready(tasks, session.fail)
            while True:
                try:
                    task = next(ready)
                except StopIteration:
                    return
                except BaseException as error:  # Ctrl-C, or what another signal handler raises
                    if session.interrupted:
                        raise
                    until = self._interrupt(error)
                    for one in tasks:
                        one.interrupted(until)
                    ready = run_ready(tasks, session.fail)
                    continue
                if not (session.may_deliver(task.events) and self._begin(task.delivery)):
                    task.handled(Deliver.TOO_LATE)
                    continue
                try:
                    yield task.events
                except GeneratorExit:  # the loop was left
                    if session.superseded:
                        return
                    session.leave_loop()
                    task.throw(LoopLeftError())
                    for one in run_ready(tasks, session.fail):
                        one.handled(Deliver.TOO_LATE)
                    return
                except HandlerFailedError as failure:
                    if not isinstance(failure.error, Exception):
                        self._interrupt(failure.error)
                    task.throw(failure.error)
                except BaseException as error:  # into a loop over batches
                    task.throw(error)
                else:
                    task.handled()
        finally:
            for one in tasks:
                one.abandon()
                if one.link is not None:
                    one.link.limit(None)
            tasks.clear()  # each of them knows this driver

    def _other_step(self, step: Any) -> Any:
        """Do what a step asks for that is not about the link of its flow."""
        if isinstance(step, Start):
            link = None if step.node is None else self._links.to(step.node)
            self._tasks.append(FlowTask(step.flow, link, self._other_step))
        elif isinstance(step, Refresh):
            self._links.pool.refresh(step.seen)

    def _interrupt(self, error: BaseException) -> float:
        """End the session. Returns until when (monotonic seconds) it may settle what was handled."""
        self._session.interrupt(error)
        until = time.monotonic() + GRACE
        self._links.limit(until)
        for one in self._tasks:
            if one.link is not None:
                one.link.limit(until)
        return until


def _call(handler: Handler, events: Sequence[Any]) -> None:
    answer = handler(events)
    if answer is not None:
        refuse_unfinished(handler, answer)


def _call_with_each(handler: Handler, batches: Batches) -> None:
    """Call the handler with every batch. What it raises is thrown into `batches`, in a `HandlerFailedError`."""
    try:
        events = next(batches)
        while True:
            try:
                _call(handler, events)
            except BaseException as error:
                events = batches.throw(HandlerFailedError(error))
            else:
                events = next(batches)
    except StopIteration:
        return
    finally:
        batches.close()
