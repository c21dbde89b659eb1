"""Runs flows over blocking links: the one loop of this face, and what it does for each step."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
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
from ..base import BlockingLink

__all__ = ["drive", "no_matter", "perform", "refuse", "run_flow", "run_to_end"]

T = TypeVar("T")


def run_flow(
    flow: Flow[Any],
    attempt: Callable[[Any], Any],
    failed: Callable[[Any, BaseException], object],
    resume: Callable[[Any], Any],
    value: Any,
) -> Any:
    """Resume a flow, and do what it asks for, until a step can't be done now. Returns that step.

    Args:
        flow: that is run.
        attempt: does what a step asks for, and returns the outcome; INCOMPLETE: it can't be done now.
        failed: is called with a step and the error that it has met, before the flow is told.
        resume: the flow's `send` or `throw`; or what returns a step that could not be done before.
        value: what that is called with.

    Raises:
        StopIteration: if the flow has ended; its value is the result.
        BaseException: what has ended the flow.
    """
    step = resume(value)
    while True:
        try:
            outcome = attempt(step)
        except BaseException as error:
            failed(step, error)
            step = flow.throw(error)
        else:
            if outcome is INCOMPLETE:
                return step
            step = flow.send(outcome)


def run_to_end(
    flow: Flow[T], attempt: Callable[[Any], Any], failed: Callable[[Any, BaseException], object] | None = None
) -> T:
    """Run a flow to its end, and return its result. Arguments are those of `run_flow`; every step can be done."""
    try:
        run_flow(flow, attempt, failed or no_matter, flow.send, None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("every step can be done")


def drive(flow: Flow[T], link: BlockingLink) -> T:
    """Run a flow over a link to its end, and return its result."""
    try:
        return run_to_end(flow, partial(perform, link, refuse), partial(_limit, link))
    finally:
        link.limit(None)
        if not link.in_order:
            link.drop()


def no_matter(step: object, error: BaseException) -> None:
    """The flow is told of the error, and that is all."""


def _limit(link: BlockingLink, step: object, error: BaseException) -> None:
    link.limit_after(error)


def refuse(step: object) -> None:
    """Refuse a step that this driver does not know.

    Raises:
        TypeError: always.
    """
    raise TypeError(f"this driver does not support the step {step!r}")


def perform(link: BlockingLink, others: Callable[[Any], Any], step: Any) -> Any:
    """Do over a link what a step asks for, and return the outcome. `others` does steps that are not about the link."""
    kind = type(step)
    if kind is Ask:
        return link.ask(step.commands, step.take, step.wait)
    if kind is Receive:
        return link.receive(step.take, step.wait)
    if kind is Send:
        return link.send(step.commands, behind=step.behind)
    if kind is Exchange:
        return link.exchange(step.commands, step.takes)
    if kind is ReceiveAll:
        return link.receive_all(step.takes)
    if kind is Arrived:
        return link.arrived()
    if kind is Pipeline:
        return link.pipeline(step.commands, step.confirmations)
    if kind is Pause:
        return time.sleep(step.seconds)
    if kind is YieldControl:  # this thread has nothing else to do
        return None
    if kind is Disconnect:
        return link.disconnect(step.error)
    if kind is Connect:
        return link.connect() and None
    return others(step)
