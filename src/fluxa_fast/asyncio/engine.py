"""What a validated registry becomes: the pools, ready to be used."""

from __future__ import annotations

from types import TracebackType

from ..engine import EngineBase
from ..redis_adapter.closing import async_close_all
from ..transport.base import AsyncPool
from .broker import EventBroker

__all__ = ["Context", "Engine"]


class Engine(EngineBase[AsyncPool]):
    """The pools and streams of a registry. The tasks of one event loop may share it. Made by `Registry.validate`.

    In a new event loop (a second `asyncio.run`) it makes new connections; `aclose` before the old one ends. Two loops
    that run at the same time need an engine each: the second one is refused with a FluxaError.
    """

    def new_context(self) -> Context:
        """A context, which is where brokers come from."""
        return Context(self)

    async def aclose(self) -> None:
        """Close the connections of all pools. A client that was handed in is not closed: it gets its connections back.

        Calls of other tasks end at once: a call that waits for a server raises FluxaError, and so does every later
        call of the engine's brokers, flushers and consumers. A flush that was going on raises FlushError, which says
        what became of each event. Events that consumers have not acknowledged stay pending.

        Safe to call twice, and from several tasks.

        Raises:
            FluxaError: if another event loop uses the engine, and is running. Nothing was closed.
            Exception: the first error of a pool that could not be closed, once all other pools are closed.
        """
        await async_close_all(pool.close for pool in self._pools.values())

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Context:
    """Hands out the event broker of an engine. The tasks of one event loop may share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._broker = EventBroker(engine._pools, engine._streams, engine._hooks)

    @property
    def engine(self) -> Engine:
        """The engine that the context belongs to."""
        return self._engine

    def get_event_broker(self) -> EventBroker:
        """The broker; the same one at every call."""
        return self._broker
