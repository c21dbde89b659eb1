"""`EventBroker`: publishes, and hands out flushers, consumers and statistics."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar, get_args, overload

from .consumer import EventConsumer
from .errors import UnregisteredStreamError
from .flows.consume.group_member import GroupMember, StopFlag
from .flows.consume.leases import Leases
from .flows.partition_count import PartitionCheck, check_partitions
from .flows.retry import Recovery
from .flusher import EventFlusher
from .partitioned import PartitionedConsumer
from .partitions import RegisteredStream
from .protocol.commands import entry_head
from .protocol.generic import BodyT
from .protocol.hashing import Key
from .protocol.typed import Reader, checker, reader
from .shared.buffer_targets import AnyPool
from .shared.routing import StreamRoute
from .shared.validation import Duration, seconds
from .statistics import RedisStreamStatistics, added_up
from .transport.blocking.cluster import ClusterPool
from .transport.blocking.pool import Pool
from .typed_stream import TypedStream

__all__ = ["BrokerBase", "Delivery", "EventBroker"]

P = TypeVar("P", bound=AnyPool)
Delivery = Literal["at-least-once", "at-most-once"]
DELIVERIES: tuple[Delivery, ...] = get_args(Delivery)

SINGLE = "consumer-single"
ORDERED = "consumer-ordered"
SHORTEST_LEASE = 0.5  # seconds
_random = random.SystemRandom()


class BrokerBase(Generic[P]):
    """What brokers know of pools and streams."""

    def __init__(self, pools: Mapping[str, P], streams: Mapping[str, RegisteredStream]) -> None:
        self._pools = pools
        self._streams = streams
        self._readers: dict[str, Reader] = {}
        self._types: dict[str, Any] = {}
        self._routes = {
            name: StreamRoute(
                pools[stream.pool],
                tuple(map(entry_head, stream.keys)),
                PartitionCheck(name, len(stream.keys)) if stream.partitioned else None,
            )
            for name, stream in streams.items()
        }

    def _route(self, stream: str) -> StreamRoute[P]:
        try:
            return self._routes[stream]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None

    def _members(
        self, stream: str, name: str, delivery: Delivery, recovery: Recovery | None
    ) -> tuple[P, list[GroupMember]]:
        """A consumer's pool, and what it is to be in each partition."""
        if delivery not in DELIVERIES:
            raise ValueError(f"delivery is {' or '.join(map(repr, DELIVERIES))}, not {delivery!r}")
        if recovery is not None and not isinstance(recovery, Recovery):
            raise TypeError(f"recovery is a Recovery (its deadline is in seconds), not {recovery!r}")
        pool = self._route(stream).pool
        at_most_once = delivery == "at-most-once"
        stopping = StopFlag()
        members = []
        for key in self._streams[stream].keys:
            member = GroupMember(
                pool.implementation, pool.name, key, name, recovery or Recovery(), at_most_once, stopping=stopping
            )
            member.reader = self._readers.get(stream)
            members.append(member)
        return pool, members

    def _leased(
        self, stream: str, delivery: Delivery, recovery: Recovery | None, lease: Duration
    ) -> tuple[P, str, str, list[GroupMember], PartitionCheck | None, Leases]:
        """What the consumer is made of that owns partitions."""
        lasting = seconds("lease", lease)
        if lasting < SHORTEST_LEASE:
            raise ValueError(f"a lease lasts {SHORTEST_LEASE} s at least, not {lasting:g}")
        pool, members = self._members(stream, ORDERED, delivery, recovery)
        name = new_name()
        return pool, stream, name, members, self._routes[stream].check, Leases(name, members, lasting)

    def _register_body(self, stream: str, body: Any) -> None:
        destination = self._route(stream)
        if self._types.setdefault(stream, body) != body:
            raise ValueError(f"the bodies of {stream!r} are registered as {self._types[stream]!r} already")
        try:
            self._readers[stream] = reader(body)
        except TypeError as error:
            del self._types[stream]
            raise TypeError(f"{stream!r} can't have such bodies: {error}") from None
        check, exact = checker(body)
        heads = tuple(head.taking(check, exact) for head in destination.heads)
        self._routes[stream] = StreamRoute(destination.pool, heads, destination.check)

    def _is_registered(self, stream: object) -> bool:
        try:
            return stream in self._streams
        except TypeError:  # it has no hash
            return False

    def _by_pool(self, streams: Sequence[str]) -> dict[str, list[str]]:
        """The streams, each once; without any, all that are registered.

        Raises:
            UnregisteredStreamError: if one of them is not registered.
        """
        found: dict[str, list[str]] = {}
        for stream in streams:
            if not self._is_registered(stream):
                raise UnregisteredStreamError(stream)
        for stream in dict.fromkeys(streams or self._streams):
            found.setdefault(self._streams[stream].pool, []).append(stream)
        return found

    def _keys(self, streams: Sequence[str]) -> list[str]:
        """What the streams are made of in Redis."""
        return [key for stream in streams for key in self._streams[stream].keys]

    def _in_order(self, streams: Sequence[str], found: Iterable[RedisStreamStatistics]) -> list[RedisStreamStatistics]:
        by_key = {one.stream: one for one in found}
        wanted = [self._streams[name] for name in dict.fromkeys(streams or self._streams)]
        return [
            added_up(one.name, [by_key[key] for key in one.keys]) if one.partitioned else by_key[one.name]
            for one in wanted
        ]


def new_name() -> str:
    """The name of one of many consumers."""
    now = datetime.now(UTC).strftime("%Y_%m_%d_%H_%M_%S")
    return f"consumer-{now}-{_random.getrandbits(64)}"


class EventBroker(BrokerBase[Pool | ClusterPool]):
    """Publishes to registered streams and consumes from them. Threads may share it.

    A flusher or consumer that it hands out belongs to one thread at a time.
    """

    # ---- types ----

    @overload
    def register_body(self, stream: str, body: type[BodyT]) -> TypedStream[BodyT]: ...
    @overload
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]: ...
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]:
        """Say of what type the bodies of a stream are, for this broker.

        From then on `publish`, and the flushers made from now on, refuse a body of another type, and ``event.body`` of
        the consumers made from now on is of that type. A class is asked for by isinstance: it looks after its own
        fields. Other forms (TypedDict, unions, ``list[T]``) are checked through and through.

        Args:
            stream: a registered stream.
            body: a dataclass, a NamedTuple or TypedDict, a class of msgspec, attrs or pydantic, an enum, a union...

        Returns:
            The stream with the types in its calls; a handler is given ``Sequence[Event[Order]]``.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            TypeError: if the type is none that is understood.
            ValueError: if the stream has another type already.
        """
        self._register_body(stream, body)
        return TypedStream(self, stream)

    # ---- publishing ----

    def publish(
        self, stream: str, body: object = None, tags: Mapping[str, str] | None = None, key: Key | None = None
    ) -> str:
        """Publish one event now, and return the ID that the server gave it (``XADD stream *``).

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
            destination.pool.run(check_partitions(check, destination.pool), check.key)
        return destination.pool.publish(head, body, tags)

    def new_flusher(self, *, eager: bool = False) -> EventFlusher:
        """A flusher, which collects events and sends them in one go.

        Args:
            eager: begin to send while still collecting; up to a third faster, but what was sent can't be taken back.
        """
        return EventFlusher(self._routes, eager=eager)

    # ---- consuming ----

    def consumer_single(
        self, stream: str, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer[Any]:
        """The one consumer of a stream, under the fixed name ``consumer-single``: events come in their order.

        Of a stream with partitions it reads all of them, each in its order.

        Args:
            stream: a registered stream.
            delivery: ``"at-least-once"``, or ``"at-most-once"``: what is read is never delivered again. That is much
                less work for the server, and a crash loses what was being handled and what was read ahead.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            ValueError: for another delivery.
        """
        return self._consumer(stream, SINGLE, delivery, recovery)

    def consumer_many(
        self, stream: str, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer[Any]:
        """One of any number of consumers that share the events of a stream, under a name of its own.

        Of a stream with partitions it reads all of them. No order is kept between consumers.

        Args:
            stream: a registered stream.
            delivery: ``"at-least-once"``, or ``"at-most-once"``: what is read is never delivered again. That is much
                less work for the server, and a crash loses what was being handled and what was read ahead.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            ValueError: for another delivery.
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

        Each partition is read by one consumer at a time, under the name ``consumer-ordered``. Who that is, a lease in
        Redis says (``GET``, ``SET``, ``PEXPIRE``, ``DEL`` in scripts); it is renewed while the consumer reads. When
        consumers come and go, partitions are handed over, so that each has as many as the others, or one more. What a
        former owner has not acknowledged, the next one is given first; and what a former owner acknowledges afterwards,
        Redis refuses. A consumer that was killed keeps its partitions from the others until its leases end.

        Args:
            stream: a registered stream. Without partitions, one consumer reads it, and the others stand by.
            lease: seconds (or a timedelta), at least 0.5. The handler must be done with a batch before it ends: then
                another consumer may have begun with the same events.
            delivery: as for `consumer_many`.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            ValueError: for another delivery, or a shorter lease.
        """
        return PartitionedConsumer(*self._leased(stream, delivery, recovery, lease))

    def _consumer(self, stream: str, name: str, delivery: Delivery, recovery: Recovery | None) -> EventConsumer[Any]:
        pool, members = self._members(stream, name, delivery, recovery)
        if self._streams[stream].partitioned:
            return PartitionedConsumer(pool, stream, name, members, self._routes[stream].check)
        return EventConsumer(pool, members[0])

    # ---- statistics ----

    def get_stream_statistics(self, stream: str) -> RedisStreamStatistics | None:
        """The state of one stream, or None if it is not registered.

        Raises:
            redis.RedisError: what the server says about the stream, or what the network says.
        """
        if not self._is_registered(stream):
            return None
        (found,) = self.get_streams_statistics(stream)
        if found.error is not None:
            raise found.error
        return found

    def get_streams_statistics(self, *streams: str) -> list[RedisStreamStatistics]:
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
            found += self._pools[name].statistics(self._keys(on_pool))
        return self._in_order(streams, found)
