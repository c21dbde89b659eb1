"""`EventBroker`: publishes, and hands out flushers, consumers and statistics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, overload

from ..broker import BrokerBase
from ..delivery import DeliveryReport
from ..flows.consume.options import ConsumerOptions
from ..flows.trimming import trim_kept, trimming
from ..positions import Start
from ..protocol.generic import BodyT
from ..protocol.hashing import Key
from ..shared.consumer_factory import MakesConsumers
from ..shared.producing.options import OnFull, ProducerOptions
from ..shared.publish_reporter import PublishReporter
from ..shared.validation import Duration
from ..statistics import RedisStreamStatistics
from ..transport.base import AsyncPool
from .checking import checked_together
from .consumer import EventConsumer
from .event import Event
from .flusher import EventFlusher
from .history import StreamEvents
from .producer import EventProducer
from .typed_stream import TypedStream

__all__ = ["EventBroker"]


class EventBroker(BrokerBase[AsyncPool], MakesConsumers[EventConsumer[Any]]):
    """Publishes to registered streams and consumes from them. The tasks of one event loop may share it.

    A flusher that it hands out may be shared as well; a consumer belongs to one task at a time.
    """

    # ---- types ----

    @overload
    def register_body(self, stream: str, body: type[BodyT]) -> TypedStream[BodyT]: ...
    @overload
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]: ...
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]:
        """Declare the type of a stream's bodies, for this broker. Nothing to await.

        From now on `publish` and new flushers refuse a body of another type, and ``event.body`` in new consumers has
        this type. A class is checked with isinstance: it has to check its own fields. Other forms (TypedDict, unions,
        ``list[T]``) are checked in depth.

        Args:
            stream: a registered stream.
            body: a dataclass, a NamedTuple or TypedDict, a class of msgspec, attrs or pydantic, an enum, a union...

        Returns:
            The stream with the types in its calls; a handler is given ``Sequence[Event[Order]]``.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            TypeError: if the type is not supported.
            ValueError: if the stream has another type already.
        """
        self._register_body(stream, body)
        return TypedStream(self, stream)

    # ---- publishing ----

    async def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> str:
        """Publish one event now, and return the ID that the server gave it (``XADD stream *``).

        Events that several tasks publish at the same time go out together, over one connection of their own. If a task
        is cancelled (or times out) meanwhile, it can't know whether the server has the event, unless the event was not
        sent yet: then it is never sent.

        Args:
            stream: a registered stream.
            body: anything that msgpack can write; see the page on bodies. None if the tags say it all.
            tags: more about the event, readable without decoding the body.
            key: events with the same key go to the same partition of the stream, so that they stay in order; an int
                counts as its digits. None: to any partition.
            id: the ID of the event, such as ``1709136000000-0``: higher than all IDs that the Redis stream has had.
                ``1709136000000-*`` leaves the second number to the server (Redis 7.0). None: the server chooses it.

        Returns:
            The ID, such as ``1709136000000-0``.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if the body, a tag or the key can't be written; nothing was sent.
            ValueError: if there is a key, and the stream has no partitions, or for what is no ID; nothing was sent.
            TypeError: if `id` is no str; nothing was sent.
            PartitionsDifferError: if other services use the stream with another number; nothing was sent.
            redis.RedisError: what the server or the network says. After a ConnectionError or TimeoutError the server
                may have the event all the same.
        """
        destination = self._route(stream)
        head = destination.head_for(stream, key)
        if id is not None:
            head = head.numbered(id)
        if (check := destination.check) is not None and check.due:
            await checked_together(check, destination.pool)
        if self._hooks is None:
            given = await destination.pool.publish(head, body, tags)
        else:
            with PublishReporter(self._hooks, stream, destination.pool.name) as reporter:
                given = reporter.id = await destination.pool.publish(head, body, tags)
        retention = destination.retention
        if retention is not None and retention.after_publish():
            with trimming(retention, head.stream):
                await destination.pool.run(trim_kept(destination.pool, head.stream, retention), head.stream)
        return given

    def new_flusher(self, *, eager: bool = False) -> EventFlusher:
        """A flusher, which collects events and sends them in one go.

        Args:
            eager: begin to send while still collecting, once there is a connection; what was sent can't be taken back.
        """
        return EventFlusher(self._routes, eager=eager, hooks=self._hooks)

    def new_producer(
        self,
        *,
        linger: Duration = 0.005,
        max_batch_bytes: int = 4_000_000,
        max_buffered_bytes: int = 32_000_000,
        max_buffered_events: int = 1_000_000,
        on_full: OnFull = "wait",
        full_timeout: Duration | None = None,
        delivery_timeout: Duration | None = 120.0,
        exit_timeout: Duration = 2.0,
        replicas: int = 0,
        replicas_timeout: Duration = 1.0,
        on_delivery: Callable[[DeliveryReport], object] | None = None,
        on_error: Callable[[DeliveryReport], object] | None = None,
    ) -> EventProducer:
        """A producer, whose `publish` returns at once: a task of its own sends what was published.

        Args:
            linger: seconds (or a timedelta) that an event waits for others, from the first event of a batch. A batch of
                64 kB does not wait.
            max_batch_bytes: with how many bytes a batch is complete; half of `max_buffered_bytes` at most.
            max_buffered_bytes: how many bytes of events wait at most, to be sent or to be confirmed, for each pool. The
                last event may go beyond.
            max_buffered_events: how many events wait at most, for each pool.
            on_full: what `publish` does when there is no room: ``"wait"``, ``"raise"`` a ProducerFullError, or
                ``"drop"`` the event, which is counted and told.
            full_timeout: seconds (or a timedelta) to wait for room, then `publish` raises. None: no matter how long.
            delivery_timeout: seconds (or a timedelta) from the first event of a batch, after which events that can't be
                delivered are given up. None: never.
            exit_timeout: seconds (or a timedelta) for the rest at the end of the process.
            replicas: how many replicas must have an event too before it counts as confirmed (``WAIT``). A batch that
                too few replicas have is sent again, and then is there twice.
            replicas_timeout: seconds (or a timedelta) to wait for replicas, for each batch.
            on_delivery: is called with a `DeliveryReport` for each batch, in a task of their own. What it raises is
                logged. It may publish, which never waits there. A coroutine function is awaited.
            on_error: the same, only for batches with events that were refused or given up, and after events were
                dropped. If there is neither of the two, the log tells of these.

        Raises:
            TypeError, ValueError: for an argument that can't be right.
        """
        options = ProducerOptions.checked(
            linger=linger,
            max_batch_bytes=max_batch_bytes,
            max_buffered_bytes=max_buffered_bytes,
            max_buffered_events=max_buffered_events,
            on_full=on_full,
            full_timeout=full_timeout,
            delivery_timeout=delivery_timeout,
            exit_timeout=exit_timeout,
            replicas=replicas,
            replicas_timeout=replicas_timeout,
            on_delivery=on_delivery,
            on_error=on_error,
        )
        return EventProducer(self._routes, self._readers_by_key(), options, self._hooks)

    # ---- consuming ----

    def _new_consumer(self, streams: str | Sequence[str], options: ConsumerOptions) -> EventConsumer[Any]:
        return EventConsumer(*self._parts(streams, options))

    # ---- groups ----

    async def remove_group(self, stream: str, group: str) -> bool:
        """Remove a group of a stream, with all that is pending in it (``XGROUP DESTROY``).

        A consumer of the group that still runs ends with `GroupRemovedError`. What only this group still needed is
        deleted when another group acknowledges next. Take the group out of `groups=` of all services: a new consumer of
        the group makes it again. The group need not be declared here.

        Args:
            stream: a registered stream.
            group: the name of the group.

        Returns:
            Whether there was such a group.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            PartitionsDifferError: if other services use the stream with another number.
            redis.RedisError: what the server or the network says. On a cluster some partitions may have lost the group
                before that: call it again.
        """
        pool, removals = self._removals(stream, group)
        removed = [await pool.run(flow, key) for key, flow in removals]
        return any(removed)

    async def seek(
        self, stream: str, group: str, start: Start, *, pending: Literal["keep", "drop"] | None = None
    ) -> None:
        """Let a group go on at another place: it is given all events from `start` on (``XGROUP SETID``, in a script).

        Stop the consumers of the group before. What was deleted can't be delivered again: a stream without other groups
        has only what was not handled. Going forward, the events in between count as handled.

        Args:
            stream: a registered stream.
            group: the name of the group.
            start: the first event that it is given next: as for `consumer_many`.
            pending: what is to become of entries that were delivered and not acknowledged. ``"keep"``: they are
                delivered all the same. ``"drop"``: they count as handled. None: if there are some, nothing is changed.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            PartitionsDifferError: if other services use the stream with another number.
            FluxaError: if entries are pending, and `pending` is None. The partitions before the one that has them have
                gone to the new place then.
            TypeError, ValueError: for a start or `pending` that can't be right.
            redis.RedisError: what the server or the network says: there is no such group, for example.
        """
        pool, flows = self._seeks(stream, group, start, pending)
        for key, flow in flows:
            await pool.run(flow, key)

    # ---- reading without a group ----

    def read(
        self, stream: str, *, start: Start = "0", end: str | datetime | None = None, count: int | None = None
    ) -> AsyncIterator[Event[Any]]:
        """Iterate over what is in a stream, without a group: nothing is acknowledged, and nothing is changed.

        The iteration ends with the entry that was the newest when the first event was asked for. Partitions are merged
        by the IDs of their entries. If the server or the network fails, the step raises the error, and the next step
        tries again (``XREVRANGE``, ``XRANGE``).

        Args:
            stream: a registered stream.
            start: the first event: ``"0"`` is the oldest in the stream, an ID that event or the next one, a datetime
                the first event since then.
            end: the last event: an ID, or a datetime; None: the newest.
            count: how many events at most, of all partitions together; None: all.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            PartitionsDifferError: from the first step, if other services use the stream with another number.
            TypeError, ValueError: for a start, an end or a count that can't be right.
        """
        return StreamEvents(*self._history(stream, start, end, count))

    # ---- statistics ----

    async def get_stream_statistics(self, stream: str) -> RedisStreamStatistics | None:
        """The state of one stream, or None if it is not registered.

        Raises:
            redis.RedisError: what the server says about the stream, or what the network says.
        """
        if not self._is_registered(stream):
            return None
        (found,) = await self.get_streams_statistics(stream)
        if found.error is not None:
            raise found.error
        return found

    async def get_streams_statistics(self, *streams: str) -> list[RedisStreamStatistics]:
        """The state of streams, in one round trip for each pool or node; no arguments: of all registered streams.

        Args:
            streams: registered streams.

        Returns:
            All of them, in the order of the arguments. Where the server could not tell the state of a stream (its key
            is of another type, or the user has no rights to it), `RedisStreamStatistics.error` says why.

        Raises:
            UnregisteredStreamError: if one of the streams is not registered; nothing was sent.
            redis.RedisError: what the network says.
        """
        found: list[RedisStreamStatistics] = []
        for name, on_pool in self._by_pool(streams).items():
            found += await self._pools[name].statistics(self._keys(on_pool))
        return self._in_order(streams, found)
