"""`StreamEvents`: iterates over what is in a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .flows.history import History
from .protocol.interface import Event
from .transport.base import BlockingPool

__all__ = ["StreamEvents"]


class StreamEvents(Iterator[Event[Any]]):
    """The events of a stream that `EventBroker.read` reads. After an error of the network the next step goes on."""

    def __init__(self, pool: BlockingPool, history: History) -> None:
        self._pool = pool
        self._history = history

    def __next__(self) -> Event[Any]:
        while (due := self._history.due()) is not None:
            key, flow = due
            self._pool.run(flow, key)
        event: Event[Any] | None = self._history.next()
        if event is None:
            raise StopIteration
        return event
