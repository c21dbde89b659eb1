"""`TypedStream`: a registered stream whose bodies are of one type, awaited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..flows.retry import Recovery
from ..protocol.generic import BodyT
from ..protocol.hashing import Key
from ..typed_stream import TypedStreamBase

if TYPE_CHECKING:
    from ..broker import Delivery
    from ..shared.validation import Duration
    from .broker import EventBroker
    from .consumer import EventConsumer
    from .partitioned import PartitionedConsumer

__all__ = ["TypedStream"]


class TypedStream(TypedStreamBase[BodyT]):
    """The calls of a broker for one stream, whose type of bodies is known. Made by `EventBroker.register_body`."""

    _broker: EventBroker

    async def publish(self, body: BodyT, tags: Mapping[str, str] | None = None, key: Key | None = None) -> str:
        """As `EventBroker.publish`."""
        return await self._broker.publish(self._name, body, tags, key)

    def consumer_single(
        self, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer[BodyT]:
        """As `EventBroker.consumer_single`: ``event.body`` is a `BodyT`."""
        return self._broker.consumer_single(self._name, delivery=delivery, recovery=recovery)

    def consumer_many(
        self, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer[BodyT]:
        """As `EventBroker.consumer_many`: ``event.body`` is a `BodyT`."""
        return self._broker.consumer_many(self._name, delivery=delivery, recovery=recovery)

    def consumer_ordered(
        self,
        *,
        lease: Duration = 10.0,
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> PartitionedConsumer[BodyT]:
        """As `EventBroker.consumer_ordered`: ``event.body`` is a `BodyT`."""
        return self._broker.consumer_ordered(self._name, lease=lease, delivery=delivery, recovery=recovery)
