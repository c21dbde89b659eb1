"""Runs a flow over a blocking link."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...flows.steps import (
    Arrived,
    Ask,
    Connect,
    Deliver,
    Disconnect,
    Flow,
    Pause,
    Pipeline,
    Receive,
    Send,
    YieldControl,
)
from ...shared.handlers import refuse_unfinished
from .link import Link

__all__ = ["drive", "perform"]

T = TypeVar("T")


def drive(
    flow: Flow[T],
    link: Link,
    handler: Callable[[Sequence[Any]], object] | None = None,
    *,
    thrown: BaseException | None = None,
) -> T:
    """Run a flow to its end. `handler` is called with the events that it delivers.

    Args:
        thrown: what a flow that waits at a step is resumed with.
    """
    of_handler: StopIteration | None = None
    try:
        step = next(flow) if thrown is None else flow.throw(thrown)
        while True:
            try:
                outcome = perform(step, link, handler)
            except BaseException as error:
                if isinstance(error, StopIteration):
                    of_handler = error
                if type(step) is not Deliver or not isinstance(error, Exception):
                    link.limit_after(error)
                step = flow.throw(error)
            else:
                step = flow.send(outcome)
    except StopIteration as end:
        result: T = end.value
        return result
    except RuntimeError as error:
        if of_handler is not None and error.__cause__ is of_handler:  # a generator can't pass it on
            raise of_handler from None
        raise
    finally:
        if link._limit is not None:
            link.limit(None)
        if not link.in_order:
            link.drop()


def perform(step: Any, link: Link, handler: Callable[[Sequence[Any]], object] | None) -> Any:
    """Do what one step asks for."""
    kind = type(step)
    if kind is Ask:
        return link.ask(step.commands, step.take, step.wait)
    if kind is Receive:
        return link.receive(step.take, step.wait)
    if kind is Send:
        return link.send(step.commands, behind=step.behind)
    if kind is Deliver and handler is not None:
        answer = handler(step.events)
        if answer is not None:
            refuse_unfinished(handler, answer)
        return None
    if kind is Arrived:
        return link.arrived()
    if kind is Pipeline:
        return link.pipeline(step.commands, step.confirmations)
    if kind is Pause:
        return time.sleep(step.seconds)
    if kind is YieldControl:  # nobody shares this thread
        return None
    if kind is Disconnect:
        return link.disconnect(step.error)
    if kind is Connect:
        return link.connect() and None
    raise TypeError(f"a flow asked for {step!r}, and this driver does not support that step")
