"""What a validated registry becomes: the pools, ready to be used."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType

from ..engine import EngineBase
from ..transport.aio import Pool
from ..transport.aio_cluster import ClusterPool
from .broker import EventBroker

__all__ = ["Context", "Engine"]


class Engine(EngineBase[Pool | ClusterPool]):
    """The pools and streams of a registry. The tasks of one event loop may share it. Made by `Registry.validate`.

    In a new event loop (a second `asyncio.run`) it makes new connections; `aclose` before the old one ends.
    """

    def new_context(self) -> Context:
        """A context, which is where brokers come from."""
        return Context(self)

    async def aclose(self) -> None:
        """Close the connections of all pools, except those of a client that was handed in. Safe to call twice."""
        async with AsyncExitStack() as closing:  # all of them, even if one fails
            for pool in self._pools.values():
                closing.push_async_callback(pool.close)

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Context:
    """Hands out the event broker of an engine. Tasks may share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._broker = EventBroker(engine._pools, engine._streams)

    @property
    def engine(self) -> Engine:
        """The engine that the context belongs to."""
        return self._engine

    def get_event_broker(self) -> EventBroker:
        """The broker; the same one at every call."""
        return self._broker
