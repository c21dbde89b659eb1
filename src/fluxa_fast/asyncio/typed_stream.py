"""`TypedStream`: a registered stream whose bodies are of one type, awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from ..protocol.generic import BodyT
from ..protocol.hashing import Key
from ..shared.consumer_factory import MakesItsConsumers
from ..typed_stream import TypedStreamBase
from .consumer import EventConsumer

if TYPE_CHECKING:
    from .broker import EventBroker
    from .flusher import EventFlusher
    from .producer import EventProducer

__all__ = ["TypedStream"]


class TypedStream(TypedStreamBase[BodyT], MakesItsConsumers[EventConsumer[BodyT]]):
    """The calls of a broker for one stream, whose type of bodies is known. Made by `EventBroker.register_body`."""

    _broker: EventBroker

    async def publish(
        self, body: BodyT, tags: Mapping[str, str] | None = None, key: Key | None = None, id: str | None = None
    ) -> str:
        """As `EventBroker.publish`."""
        return await self._broker.publish(self._name, body, tags, key, id)

    def collect(
        self,
        flusher: EventFlusher,
        body: BodyT,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> None:
        """Call ``flusher.publish(name, body, tags, key)``, with `id` if there is one; the body's type is checked."""
        if id is None:  # a subclass may have a `publish` without it
            flusher.publish(self._name, body, tags, key)
        else:
            flusher.publish(self._name, body, tags, key, id)

    def produce(
        self,
        producer: EventProducer,
        body: BodyT,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Awaitable[None]:
        """Call ``producer.publish(name, body, tags, key)``, with `id` if there is one; the body's type is checked."""
        return producer.publish(self._name, body, tags, key, id)
