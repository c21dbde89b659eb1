"""`EventBroker`: publishes, and hands out flushers, consumers and statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args, overload

from .consumer import EventConsumer
from .delivery import DeliveryReport
from .errors import UnregisteredStreamError
from .flows.agreement import Agreement, agree
from .flows.consume.filter_check import FilterCheck
from .flows.consume.group_member import GroupMember, StopFlag
from .flows.consume.options import ConsumerOptions, Delivery
from .flows.history import History
from .flows.managing import PendingEntries, forget_filter, remove_group, seek
from .flows.partition_count import PartitionCheck, count_key
from .flows.steps import Flow
from .flows.trimming import trim_kept, trimming
from .flusher import EventFlusher
from .groups import ONE_GROUP, Groups, beside_group, checked_group
from .history import StreamEvents
from .hooks import Hooks
from .keep import Retention
from .partitions import RegisteredStream, key_slot
from .positions import Start, first_id, last_id, position_before
from .producer import EventProducer
from .protocol.commands import entry_head
from .protocol.generic import BodyT
from .protocol.hashing import Key
from .protocol.interface import Event
from .shared.consumer_base import ConsumerParts
from .shared.consumer_factory import MakesConsumers
from .shared.producing.options import OnFull, ProducerOptions
from .shared.publish_reporter import PublishReporter
from .shared.routing import StreamRoute
from .shared.validation import Duration, positive_int
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
        self._filters: dict[tuple[str, str, str], FilterCheck] = {}
        self._routes = {
            name: StreamRoute(
                pools[stream.pool],
                tuple(entry_head(key, stream.partitioned, stream.packing) for key in stream.keys),
                PartitionCheck(name, len(stream.keys), count_key(stream.key)) if stream.partitioned else None,
                Retention(stream.keep, stream.keys, packed=stream.packing is not None)
                if stream.keep is not None
                else None,
            )
            for name, stream in streams.items()
        }

    def _route(self, stream: str) -> StreamRoute[P]:
        try:
            return self._routes[stream]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None

    def _parts(self, streams: str | Sequence[str], options: ConsumerOptions) -> tuple[P, ConsumerParts]:
        """Return the pool of a consumer, and what it is made of.

        Raises:
            UnregisteredStreamError, ValueError: if the streams can't be read by one consumer.
        """
        names: list[Any] = [streams]
        if isinstance(streams, Sequence) and not isinstance(streams, str):
            names = list(streams)
        routes = {name: self._route(name) for name in names}
        groups = {name: options.groups_of(name, self._streams[name].groups) for name in names}
        self._check_together(names, groups, options)
        stopping = StopFlag()
        members = {}
        agreements: list[Agreement] = []
        for name, route in routes.items():
            stream = self._streams[name]
            reader = self._reader(name)
            kept, pool, of_stream = route.retention, route.pool, groups[name]
            members[name] = [
                GroupMember(
                    pool.implementation,
                    pool.name,
                    key,
                    of_stream,
                    kept,
                    options,
                    stopping,
                    reader,
                    self._hooks,
                    stream.packing,
                )
                for key in stream.keys
            ]
            if route.check is not None:
                agreements.append(route.check)
            if options.filter is not None or stream.groups is not ONE_GROUP:
                agreements.append(self._filter_check(stream, of_stream[0][0], options))
        return routes[names[0]].pool, ConsumerParts(options, members, agreements)

    def _check_together(self, names: Sequence[str], groups: Mapping[str, Groups], options: ConsumerOptions) -> None:
        """Refuse streams that one consumer can't read."""
        if not names:
            raise ValueError("a consumer reads one stream at least")
        if len(groups) < len(names):
            raise ValueError(f"a stream is named twice in {list(names)!r}")
        if len(names) == 1:
            return
        told = ", ".join(map(repr, names))
        if len({self._streams[name].pool for name in names}) > 1:
            raise ValueError(f"streams {told} are on different pools: make a consumer for each pool")
        if len({declared[0][0] for declared in groups.values()}) > 1:
            raise ValueError(f"streams {told} would be read in different groups: name one that all have: group=")
        keys = self._keys(names)
        of_cluster = self._route(names[0]).pool.buffer_of(keys[0])
        if options.strict and of_cluster and len({key_slot(key) for key in keys}) > 1:
            raise ValueError(
                f'order="strict" needs streams {told} on one node of the cluster: give them one hash tag, such as '
                f"'{{jobs}}:urgent' and '{{jobs}}:normal', and no partitions"
            )

    def _filter_check(self, stream: RegisteredStream, group: str, options: ConsumerOptions) -> FilterCheck:
        filter = options.filter
        place = (stream.name, group, "" if filter is None else filter.text)
        if place not in self._filters:
            self._filters[place] = FilterCheck(stream.name, group, beside_group(stream.key, "where", group), filter)
        return self._filters[place]

    def _removals(self, stream: str, group: str) -> tuple[P, list[tuple[str, Flow[Any]]]]:
        """Return the pool of a stream, and flows that remove a group of it, with the Redis key that each is about."""
        pool = self._route(stream).pool
        name = checked_group(group)
        filter_key = beside_group(self._streams[stream].key, "where", name)
        for place in [place for place in self._filters if place[:2] == (stream, name)]:
            self._filters[place].due = True
        return pool, [
            *self._comparison(stream),
            *((key, remove_group(pool, key, name)) for key in self._streams[stream].keys),
            (filter_key, forget_filter(pool, filter_key)),
        ]

    def _seeks(
        self, stream: str, group: str, start: Start, pending: PendingEntries | None
    ) -> tuple[P, list[tuple[str, Flow[None]]]]:
        """Return the pool of a stream, and for each of its Redis keys the flow that moves a group of it."""
        pool = self._route(stream).pool
        if pending is not None and pending not in get_args(PendingEntries):
            raise ValueError(f"pending is 'keep', 'drop' or None, not {pending!r}")
        name, position = checked_group(group), position_before(start)
        seeks = [(key, seek(pool, key, name, position, pending)) for key in self._streams[stream].keys]
        return pool, [*self._comparison(stream), *seeks]

    def _comparison(self, stream: str) -> list[tuple[str, Flow[None]]]:
        """Return the flow that compares the number of partitions, if the stream has some, and that is to be done."""
        check = self._route(stream).check
        if check is None or not check.due:
            return []
        return [(check.key, agree(check.only_compared(), self._route(stream).pool))]

    def _history(self, stream: str, start: Start, end: str | datetime | None, count: int | None) -> tuple[P, History]:
        """Return the pool of a stream, and what is to be read of it."""
        pool = self._route(stream).pool
        most = None if count is None else positive_int(count, "count")
        reader = self._reader(stream)
        keys = self._streams[stream].keys
        check = self._route(stream).check
        compared = None if check is None else check.only_compared()
        packing = self._streams[stream].packing
        return pool, History(pool, keys, first_id(start), last_id(end), most, reader, compared, packing)

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
        self._routes[stream] = StreamRoute(destination.pool, heads, destination.check, destination.retention)

    def _reader(self, stream: str) -> Reader | None:
        """What makes the bodies of a stream; None: they are plain values."""
        return self._readers.get(stream) or self._route(stream).pool.codec.plain_reader()

    def _readers_by_key(self) -> dict[str, Reader]:
        """What makes the bodies of each Redis key, where they are more than plain values."""
        found: dict[str, Reader] = {}
        for name, stream in self._streams.items():
            if (reader := self._reader(name)) is not None:
                found |= dict.fromkeys(stream.keys, reader)
        return found

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
            else replace(self._about(one, by_key[one.key]), stream=one.name)
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
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> str:
        """Publish one event now, and return the ID that the server gave it (``XADD stream *``).

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
            destination.pool.run(agree(check, destination.pool), check.key)
        if self._hooks is None:
            given = destination.pool.publish(head, body, tags)
        else:
            with PublishReporter(self._hooks, stream, destination.pool.name) as reporter:
                given = reporter.id = destination.pool.publish(head, body, tags)
        retention = destination.retention
        if retention is not None and retention.after_publish():
            with trimming(retention, head.stream):
                destination.pool.run(trim_kept(destination.pool, head.stream, retention), head.stream)
        return given

    def new_flusher(self, *, eager: bool = False) -> EventFlusher:
        """A flusher, which collects events and sends them in one go.

        Args:
            eager: begin to send while still collecting; up to a third faster, but what was sent can't be taken back.
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
        """A producer, whose `publish` returns at once: a thread of its own sends what was published.

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
            on_delivery: is called with a `DeliveryReport` for each batch, in a thread of their own. What it raises is
                logged. It may publish, which never waits there.
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
            PartitionsDifferError: if other services use the stream with another number.
            redis.RedisError: what the server or the network says. On a cluster some partitions may have lost the group
                before that: call it again.
        """
        pool, removals = self._removals(stream, group)
        removed = [pool.run(flow, key) for key, flow in removals]
        return any(removed)

    def seek(self, stream: str, group: str, start: Start, *, pending: Literal["keep", "drop"] | None = None) -> None:
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
            pool.run(flow, key)

    # ---- reading without a group ----

    def read(
        self, stream: str, *, start: Start = "0", end: str | datetime | None = None, count: int | None = None
    ) -> Iterator[Event[Any]]:
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
