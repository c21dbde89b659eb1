"""`EventBroker`: publishes, and hands out flushers, consumers and statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from ..broker import SINGLE, BrokerBase, Delivery, new_name
from ..flows.retry import Recovery
from ..protocol.generic import BodyT
from ..protocol.hashing import Key
from ..shared.validation import Duration
from ..statistics import RedisStreamStatistics
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.pool import Pool
from .checking import checked_together
from .consumer import EventConsumer
from .flusher import EventFlusher
from .partitioned import PartitionedConsumer
from .typed_stream import TypedStream

__all__ = ["EventBroker"]


class EventBroker(BrokerBase[Pool | ClusterPool]):
    """Publishes to registered streams and consumes from them. The tasks of one event loop may share it.

    A flusher may be shared as well; a consumer belongs to one task at a time.
    """

    # ---- types ----

    @overload
    def register_body(self, stream: str, body: type[BodyT]) -> TypedStream[BodyT]: ...
    @overload
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]: ...
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]:
        """Say of what type the bodies of a stream are, for this broker. Nothing to await.

        Arguments and errors are those of `fluxa_fast.EventBroker.register_body`.
        """
        self._register_body(stream, body)
        return TypedStream(self, stream)

    # ---- publishing ----

    async def publish(
        self, stream: str, body: object = None, tags: Mapping[str, str] | None = None, key: Key | None = None
    ) -> str:
        """Publish one event now, and return the ID that the server gave it (``XADD stream *``).

        What many tasks publish at the same time goes out together, over one connection of its own. A task that is
        cancelled (or timed out) meanwhile can't know whether the server has the event, unless it was not sent yet:
        then it never is.

        Args:
            stream: a registered stream.
            body: anything that msgpack can write; see the page on bodies. None if the tags say it all.
            tags: more about the event, readable without decoding the body.
            key: events with the same key go to the same partition of the stream, so that they stay in order; an int
                counts as its digits. None: to any partition.

        Returns:
            The ID, such as ``1709136000000-0``.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if the body, a tag or the key can't be written; nothing was sent.
            ValueError: if there is a key, and the stream has no partitions; nothing was sent.
            PartitionsDifferError: if other services use the stream with another number; nothing was sent.
            redis.RedisError: what the server or the network says. After a ConnectionError or TimeoutError
                the server may have the event all the same.
        """
        destination = self._route(stream)
        head = destination.head_for(stream, key)
        if (check := destination.check) is not None and check.due:
            await checked_together(check, destination.pool)
        return await destination.pool.publish(head, body, tags)

    def new_flusher(self, *, eager: bool = False) -> EventFlusher:
        """A flusher, which collects events and sends them in one go.

        Args:
            eager: begin to send while still collecting, once there is a connection; what was sent can't be taken back.
        """
        return EventFlusher(self._routes, eager=eager)

    # ---- consuming ----

    def consumer_single(
        self, stream: str, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer[Any]:
        """The one consumer of a stream, under the fixed name ``consumer-single``: events come in their order.

        Arguments and errors are those of `fluxa_fast.EventBroker.consumer_single`.
        """
        return self._consumer(stream, SINGLE, delivery, recovery)

    def consumer_many(
        self, stream: str, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer[Any]:
        """One of any number of consumers that share the events of a stream, under a name of its own.

        Arguments and errors are those of `fluxa_fast.EventBroker.consumer_many`.
        """
        return self._consumer(stream, new_name(), delivery, recovery)

    def consumer_ordered(
        self,
        stream: str,
        *,
        lease: Duration = 10.0,
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> PartitionedConsumer[Any]:
        """One of any number of consumers that share the partitions of a stream: events with the same key stay in order.

        Arguments and errors are those of `fluxa_fast.EventBroker.consumer_ordered`.
        """
        return PartitionedConsumer(*self._leased(stream, delivery, recovery, lease))

    def _consumer(self, stream: str, name: str, delivery: Delivery, recovery: Recovery | None) -> EventConsumer[Any]:
        pool, members = self._members(stream, name, delivery, recovery)
        if self._streams[stream].partitioned:
            return PartitionedConsumer(pool, stream, name, members, self._routes[stream].check)
        return EventConsumer(pool, members[0])

    # ---- statistics ----

    async def get_stream_statistics(self, stream: str) -> RedisStreamStatistics | None:
        """The state of one stream, or None if it is not registered.

        Errors are those of `fluxa_fast.EventBroker.get_stream_statistics`.
        """
        if not self._is_registered(stream):
            return None
        (found,) = await self.get_streams_statistics(stream)
        if found.error is not None:
            raise found.error
        return found

    async def get_streams_statistics(self, *streams: str) -> list[RedisStreamStatistics]:
        """The state of streams, in one round trip for each pool or node; no arguments: of all registered streams.

        Arguments, result and errors are those of `fluxa_fast.EventBroker.get_streams_statistics`.
        """
        found: list[RedisStreamStatistics] = []
        for name, on_pool in self._by_pool(streams).items():
            found += await self._pools[name].statistics(self._keys(on_pool))
        return self._in_order(streams, found)
