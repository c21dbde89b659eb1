"""`StreamEvents`: iterates over what is in a stream, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ..flows.history import History
from ..transport.base import AsyncPool
from .event import Event

__all__ = ["StreamEvents"]


class StreamEvents(AsyncIterator[Event[Any]]):
    """The events of a stream that `EventBroker.read` reads. After an error of the network the next step goes on."""

    def __init__(self, pool: AsyncPool, history: History) -> None:
        self._pool = pool
        self._history = history

    async def __anext__(self) -> Event[Any]:
        while (due := self._history.due()) is not None:
            key, flow = due
            await self._pool.run(flow, key)
        event: Event[Any] | None = self._history.next()
        if event is None:
            raise StopAsyncIteration
        return event
