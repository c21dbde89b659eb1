"""`EventBroker`: publishes, and hands out flushers, consumers and statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .consumer import EventConsumer
from .errors import UnregisteredStreamError
from .flows.consume.group_member import GroupMember, StopFlag
from .flows.consume.options import ConsumerOptions, Delivery
from .flows.partition_count import PartitionCheck, check_partitions
from .flows.removing import remove_group
from .flows.steps import Flow
from .flusher import EventFlusher
from .groups import ONE_GROUP, checked_group
from .hooks import Hooks
from .partitions import RegisteredStream
from .protocol.commands import entry_head
from .protocol.generic import BodyT
from .protocol.hashing import Key
from .shared.consumer_base import ConsumerParts
from .shared.consumer_factory import MakesConsumers
from .shared.publish_reporter import PublishReporter
from .shared.routing import StreamRoute
from .statistics import RedisStreamStatistics, added_up, for_groups
from .transport.base import AnyPool, BlockingPool
from .typed_stream import TypedStream

if TYPE_CHECKING:
    from .protocol.typed import Reader

__all__ = ["BrokerBase", "Delivery", "EventBroker"]

P = TypeVar("P", bound=AnyPool)


class BrokerBase(Generic[P]):
    """What brokers know of pools and streams."""

    def __init__(
        self, pools: Mapping[str, P], streams: Mapping[str, RegisteredStream], hooks: Hooks | None = None
    ) -> None:
        self._hooks = hooks
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

    def _parts(self, stream: str, options: ConsumerOptions) -> tuple[P, ConsumerParts]:
        """Return the pool of a consumer, and what it is made of."""
        route = self._route(stream)
        groups = options.groups_of(stream, self._streams[stream].groups)
        stopping = StopFlag()
        reader = self._readers.get(stream) or route.pool.codec.plain_reader()
        members = [
            GroupMember(
                route.pool.implementation,
                route.pool.name,
                key,
                groups,
                options,
                stopping,
                reader,
                self._hooks,
            )
            for key in self._streams[stream].keys
        ]
        return route.pool, ConsumerParts(stream, options, members, route.check)

    def _removals(self, stream: str, group: str) -> tuple[P, list[tuple[str, Flow[bool]]]]:
        """Return the pool of a stream, and for each of its Redis keys the flow that removes a group of it."""
        pool = self._route(stream).pool
        name = checked_group(group)
        new = pool.implementation.CommandBuffer
        return pool, [(key, remove_group(new(), key, name)) for key in self._streams[stream].keys]

    def _register_body(self, stream: str, body: Any) -> None:
        destination = self._route(stream)
        if self._types.setdefault(stream, body) != body:
            raise ValueError(f"the bodies of {stream!r} are registered as {self._types[stream]!r} already")
        try:
            self._readers[stream] = destination.pool.codec.reader(body, registered=True)
        except TypeError as error:
            del self._types[stream]
            raise TypeError(f"{stream!r} can't have such bodies: {error}") from None
        check, exact = destination.pool.codec.checker(body)
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

    @staticmethod
    def _about(stream: RegisteredStream, found: RedisStreamStatistics) -> RedisStreamStatistics:
        return found if stream.groups is ONE_GROUP else for_groups(found, dict(stream.groups))

    def _in_order(self, streams: Sequence[str], found: Iterable[RedisStreamStatistics]) -> list[RedisStreamStatistics]:
        by_key = {one.stream: one for one in found}
        wanted = [self._streams[name] for name in dict.fromkeys(streams or self._streams)]
        return [
            added_up(one.name, [self._about(one, by_key[key]) for key in one.keys])
            if one.partitioned
            else self._about(one, by_key[one.name])
            for one in wanted
        ]


class EventBroker(BrokerBase[BlockingPool], MakesConsumers[EventConsumer[Any]]):
    """Publishes to registered streams and consumes from them. Threads may share it.

    A flusher or consumer that it hands out belongs to one thread at a time.
    """

    # ---- types ----

    @overload
    def register_body(self, stream: str, body: type[BodyT]) -> TypedStream[BodyT]: ...
    @overload
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]: ...
    def register_body(self, stream: str, body: Any) -> TypedStream[Any]:
        """Declare the type of a stream's bodies, for this broker.

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
            redis.RedisError: what the server or the network says. After a ConnectionError or TimeoutError the server
                may have the event all the same.
        """
        destination = self._route(stream)
        head = destination.head_for(stream, key)
        if (check := destination.check) is not None and check.due:
            destination.pool.run(check_partitions(check, destination.pool), check.key)
        if self._hooks is None:
            return destination.pool.publish(head, body, tags)
        with PublishReporter(self._hooks, stream, destination.pool.name) as reporter:
            reporter.id = destination.pool.publish(head, body, tags)
        return reporter.id

    def new_flusher(self, *, eager: bool = False) -> EventFlusher:
        """A flusher, which collects events and sends them in one go.

        Args:
            eager: begin to send while still collecting; up to a third faster, but what was sent can't be taken back.
        """
        return EventFlusher(self._routes, eager=eager, hooks=self._hooks)

    # ---- consuming ----

    def _new_consumer(self, stream: str, options: ConsumerOptions) -> EventConsumer[Any]:
        return EventConsumer(*self._parts(stream, options))

    # ---- groups ----

    def remove_group(self, stream: str, group: str) -> bool:
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
            redis.RedisError: what the server or the network says. On a cluster some partitions may have lost the group
                before that: call it again.
        """
        pool, removals = self._removals(stream, group)
        removed = [pool.run(flow, key) for key, flow in removals]
        return any(removed)

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
