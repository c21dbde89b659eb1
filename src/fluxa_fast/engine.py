"""What a validated registry becomes: the pools, ready to be used."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Generic, TypeVar

from .broker import EventBroker
from .errors import UnregisteredStreamError
from .hooks import Hooks
from .partitions import RegisteredStream
from .redis_adapter.closing import close_all
from .transport.base import AnyPool, BlockingPool

__all__ = ["Context", "Engine", "EngineBase"]

P = TypeVar("P", bound=AnyPool)


class EngineBase(Generic[P]):
    """The pools and streams of a registry."""

    def __init__(
        self, pools: Mapping[str, P], streams: Mapping[str, RegisteredStream], hooks: Hooks | None = None
    ) -> None:
        self._pools = pools
        self._streams = streams
        self._hooks = hooks

    @property
    def streams(self) -> Mapping[str, str]:
        """The name of the pool of every registered stream."""
        return MappingProxyType({name: stream.pool for name, stream in self._streams.items()})

    def partitions(self, stream: str) -> tuple[str, ...]:
        """The streams in Redis that a registered stream is made of: its partitions in order, or only itself.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
        """
        if stream not in self._streams:
            raise UnregisteredStreamError(stream)
        return self._streams[stream].keys


class Engine(EngineBase[BlockingPool]):
    """The pools and streams of a registry. Threads may share it. Made by `Registry.validate`."""

    def new_context(self) -> Context:
        """A context, which is where brokers come from."""
        return Context(self)

    def close(self) -> None:
        """Close the connections of all pools. A client that was handed in is not closed: it gets its connections back.

        Calls of other threads end at once: a call that waits for a server raises FluxaError, and so does every later
        call of the engine's brokers, flushers and consumers. A flush that was going on raises FlushError, which says
        what became of each event. Events that consumers have not acknowledged stay pending.

        Safe to call twice, and from several threads.

        Raises:
            Exception: the first error of a pool that could not be closed, once all other pools are closed.
        """
        close_all(pool.close for pool in self._pools.values())

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Context:
    """Hands out the event broker of an engine. Threads may share it."""

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
