"""Calls the handler of one session, and cuts calls short that take too long after `stop`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from ...errors import FluxaError
from ...flows.consume.session import ConsumerSession
from ...flows.steps import Deliver
from ...shared.handlers import call_awaiting
from ..base import AsyncPool

__all__ = ["Handling", "begin"]


class Handling:
    """The calls of a handler that are under way.

    Args:
        session: whose batches the handler is given.
        pool: that the streams are on.
        handler: is called with each batch.
    """

    def __init__(self, session: ConsumerSession, pool: AsyncPool, handler: Callable[[Sequence[Any]], object]) -> None:
        self._session = session
        self._pool = pool
        self._handler = handler
        self._calls: dict[asyncio.Task[Any], bool] = {}  # which task calls it; whether that was cut short

    async def call(self, step: Deliver) -> object:
        """Call the handler with a batch. Returns the outcome of the step."""
        if not await begin(self._session, self._pool, step):
            return Deliver.TOO_LATE
        task = asyncio.current_task()
        assert task is not None
        self._calls[task] = False
        try:
            await call_awaiting(self._handler, step.events)
        except asyncio.CancelledError:
            if self._calls[task] and task.cancelling() == 1:
                return Deliver.CUT_SHORT
            raise
        finally:
            if self._calls.pop(task):
                task.uncancel()
            del task  # which keeps the exception that knows this frame
        return None

    def cut_short(self) -> None:
        """Cancel the calls that are under way. What their events are about is for another consumer to handle."""
        for task, cut in list(self._calls.items()):
            if not cut:
                self._calls[task] = True
                task.cancel()


async def begin(session: ConsumerSession, pool: AsyncPool, step: Deliver) -> bool:
    """A batch is about to be handed over. Returns whether it has events that no other consumer has taken over."""
    if time.monotonic() > step.stale_at:
        for flow, key in session.refreshing(step):
            with suppress(RedisError, FluxaError):  # the connection of the session will meet it as well, and wait
                await pool.run(flow, key)
        step.events[:] = [event for event in step.events if not event.taken_over]
    if step.hand is not None:
        step.hand.begin()
    return bool(step.events)
