"""Resumes a task in the turn of the event loop in which its reply has come, instead of in the next turn.

A future schedules its callbacks: the task that awaits it goes on in the next turn, after another look at all sockets.
For one small reply that takes as long as to read it.
"""

from __future__ import annotations

import asyncio
from asyncio import selector_events
from typing import Any, TypeVar

__all__ = ["resume", "resumes_at_once"]

T = TypeVar("T")

_PlainTransport: Any = getattr(selector_events, "_SelectorSocketTransport", ())


def resumes_at_once(transport: asyncio.BaseTransport) -> bool:
    """Whether tasks may be resumed from the callbacks of the protocol.

    That needs a transport that does nothing after a callback, and passes on what KeyboardInterrupt and SystemExit a
    callback raises: asyncio's own over a socket, without TLS.
    """
    return isinstance(transport, _PlainTransport)


def resume(future: asyncio.Future[T], result: T) -> None:
    """Give a future its result, and run the task that waits for it until it waits again.

    No task may be running. Where something else than one task waits for the future, its callbacks are scheduled as
    ever.

    Args:
        future: that is not done yet.
        result: of the future.

    Raises:
        KeyboardInterrupt, SystemExit: what the task raises.
    """
    callbacks = getattr(future, "_callbacks", None)
    if not callbacks or len(callbacks) > 1:
        future.set_result(result)
        return
    callback, context = callbacks[0]
    try:
        future.remove_done_callback(callback)
        future.set_result(result)
    except BaseException:  # a signal handler has raised it: the task must go on all the same
        if not future.done():
            future.set_result(result)
        future.get_loop().call_soon(callback, future, context=context)
        raise
    context.run(callback, future)
