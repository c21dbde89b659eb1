"""Runs a flow over an asynchronous link."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, TypeVar

from ...flows.steps import (
    Arrived,
    Ask,
    Connect,
    Disconnect,
    Exchange,
    Flow,
    Pause,
    Pipeline,
    Receive,
    ReceiveAll,
    Send,
    YieldControl,
)
from ...protocol.interface import INCOMPLETE
from ..base import AsyncLink
from ..failures import network_error

__all__ = ["GRACE", "MANY", "Driver", "ended", "together"]

_MUST_WAIT: object = object()  # the outcome of a step that can't be done now

T = TypeVar("T")
Handler = Callable[[Sequence[Any]], object]

GRACE = 1.0  # seconds in which a cancelled flow may still settle what was handled
MANY = 2000  # events whose memory takes about half a millisecond to free


class Driver:
    """Runs flows over a link: the one loop of this face, and what it does for each step.

    Args:
        link: that steps are about; None: the flows need no connection.
    """

    def __init__(self, link: AsyncLink | None) -> None:
        self._link = link
        self._delivered: deque[list[Any]] = deque()
        self._deadline: float | None = None  # loop time, once the flow was cancelled

    async def drive(self, flow: Flow[T]) -> T:
        """Run a flow to its end, and return its result."""
        step, result = await self.advance(flow, flow.send, None)
        assert step is None
        answer: T = result
        return answer

    async def advance(self, flow: Flow[Any], resume: Callable[[Any], Any], value: Any) -> tuple[Any, Any]:
        """Resume a flow, and do what it asks for, until a step is for the caller to do.

        Args:
            flow: that is run.
            resume: its `send` or `throw`.
            value: what it is resumed with.

        Returns:
            That step; or None, and the result of the flow, which has ended.
        """
        step: Any = None
        waits = False
        try:
            step = resume(value)
            while True:
                try:
                    outcome = self._do_now(step)
                    if outcome is _MUST_WAIT:
                        outcome = await (self._do(step) if self._deadline is None else self._do_in_time(step))
                except BaseException as error:
                    self.interrupted_by(error)
                    step = flow.throw(error)
                else:
                    if outcome is INCOMPLETE:
                        waits = True
                        return step, None
                    step = flow.send(outcome)
        except StopIteration as end:
            step = None
            result = end.value
        finally:
            if not waits and self._link is not None and not self._link.in_order:
                await self._link.drop()
        if self._delivered:
            await self._let_go()
        return None, result

    def interrupted_by(self, error: BaseException) -> None:
        """Take note of an error. A flow that was cancelled has little time to settle what is in flight."""
        if isinstance(error, asyncio.CancelledError) and self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + GRACE

    def _do_now(self, step: Any) -> Any:
        """Do what needs no waiting. Returns the outcome, or `_MUST_WAIT`."""
        link = self._link
        if link is None:
            return _MUST_WAIT
        kind = type(step)
        if kind is Receive:
            reply = link.receive_now(step.take)
            return _MUST_WAIT if reply is INCOMPLETE else reply
        if kind is Send:
            return None if link.send_now(step.commands, behind=step.behind) else _MUST_WAIT
        if kind is Arrived:
            return link.arrived()
        return _MUST_WAIT

    async def _do_in_time(self, step: Any) -> Any:
        assert self._deadline is not None
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._do(step)
        except TimeoutError as error:
            if self._link is None:
                raise
            await self._link.drop()
            raise network_error(error, "settling with", self._link.pool) from error

    def _do(self, step: Any) -> Awaitable[Any]:
        """Do what one step asks for. Awaited, it gives the outcome; INCOMPLETE: it is for the caller of `advance`."""
        kind = type(step)
        link = self._link
        if kind is Pause:
            return asyncio.sleep(step.seconds)
        if link is None:
            raise TypeError(f"this driver does not support the step {step!r}")
        if kind is Receive:
            return link.receive(step.take, step.wait)
        if kind is Exchange:
            return link.exchange(step.commands, step.takes)
        if kind is ReceiveAll:
            return link.receive_all(step.takes)
        if kind is Pipeline:
            return link.pipeline(step.commands, step.confirmations)
        if kind is Ask:
            return link.ask(step.commands, step.take, step.wait)
        if kind is Send:
            return link.send(step.commands, behind=step.behind)
        if kind is YieldControl:
            return asyncio.sleep(0)
        if kind is Disconnect:
            return link.disconnect(step.error)
        if kind is Connect:
            return _connected(link)
        raise TypeError(f"this driver does not support the step {step!r}")

    # To free a hundred thousand events takes tens of milliseconds. So the last reference to those of a large batch is
    # kept here until the flow has acknowledged them, which it has when two more batches were delivered.

    async def delivering(self, events: Sequence[Any]) -> None:
        """Note that a large batch is about to be delivered."""
        self._delivered.append(list(events))
        await asyncio.sleep(0)
        if len(self._delivered) > 2:
            await _free(self._delivered.popleft())

    async def _let_go(self) -> None:
        """The flow is over."""
        while self._delivered:
            await _free(self._delivered.popleft())


async def _connected(link: AsyncLink) -> None:
    await link.connect()


async def _free(events: list[Any]) -> None:
    while events:
        del events[-MANY:]
        await asyncio.sleep(0)


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait until all of them have ended, even if that is to be cancelled as well."""
    cancelled: BaseException | None = None
    while any(not task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it at the same time. The first exception ends the rest, and is raised when all have ended."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await ended(tasks)
