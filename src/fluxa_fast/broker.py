"""`EventBroker`: publishes, and hands out flushers, consumers and statistics."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, get_args

from .consumer import EventConsumer
from .errors import UnregisteredStreamError
from .flows.publish import id_of, write_event
from .flows.recovery import Recovery
from .flows.statistics import statistics
from .flows.steps import any_reply
from .flusher import EventFlusher
from .protocol.commands import entry_head
from .statistics import RedisStreamStatistics
from .transport.sync import Pool

__all__ = ["Delivery", "EventBroker"]

Delivery = Literal["at-least-once", "at-most-once"]
DELIVERIES: tuple[Delivery, ...] = get_args(Delivery)

_SINGLE = "consumer-single"
_random = random.SystemRandom()


class EventBroker:
    """Publishes to registered streams and consumes from them. Threads may share it.

    A flusher or consumer that it hands out belongs to one thread at a time.
    """

    def __init__(self, pools: Mapping[str, Pool], streams: Mapping[str, str]) -> None:
        self._pools = pools
        self._streams = streams
        self._heads = {stream: (entry_head(stream), pools[pool]) for stream, pool in streams.items()}

    # ---- publishing ----

    def publish(self, stream: str, body: object = None, tags: Mapping[str, str] | None = None) -> str:
        """Publish one event now, and return the ID that the server gave it (``XADD stream *``).

        Args:
            stream: a registered stream.
            body: anything that msgpack can write; see the page on bodies. None if the tags say it all.
            tags: more about the event, readable without decoding the body.

        Returns:
            The ID, such as ``1709136000000-0``.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            SerializationError: if the body or a tag can't be written; nothing was sent.
            redis.RedisError: what the server or the network says. After a ConnectionError or TimeoutError
                the server may have the event all the same.
        """
        try:
            head, pool = self._heads[stream]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None
        link = pool.take_link()
        try:
            write_event(link.commands, head, body, tags)
            return id_of(link.ask(link.commands, any_reply))
        finally:
            link.commands.clear()
            pool.return_link(link)

    def new_flusher(self, *, eager: bool = False) -> EventFlusher:
        """A flusher, which collects events and sends them in one go.

        Args:
            eager: begin to send while still collecting; up to a third faster, but what was sent can't be taken back.
        """
        return EventFlusher(self._pools, self._heads, eager=eager)

    # ---- consuming ----

    def consumer_single(
        self, stream: str, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer:
        """The one consumer of a stream, under the fixed name ``consumer-single``: events come in their order.

        Args:
            stream: a registered stream.
            delivery: ``"at-least-once"``, or ``"at-most-once"``: what is read is never delivered again. That is much
                less work for the server, and a crash loses what was being handled and what was read ahead.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            ValueError: for another delivery.
        """
        return self._consumer(stream, _SINGLE, delivery, recovery)

    def consumer_many(
        self, stream: str, *, delivery: Delivery = "at-least-once", recovery: Recovery | None = None
    ) -> EventConsumer:
        """One of any number of consumers that share the events of a stream, under a name of its own.

        Args:
            stream: a registered stream.
            delivery: ``"at-least-once"``, or ``"at-most-once"``: what is read is never delivered again. That is much
                less work for the server, and a crash loses what was being handled and what was read ahead.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            ValueError: for another delivery.
        """
        now = datetime.now(UTC).strftime("%Y_%m_%d_%H_%M_%S")
        return self._consumer(stream, f"consumer-{now}-{_random.getrandbits(64)}", delivery, recovery)

    def _consumer(self, stream: str, name: str, delivery: Delivery, recovery: Recovery | None) -> EventConsumer:
        if delivery not in DELIVERIES:
            raise ValueError(f"delivery is {' or '.join(map(repr, DELIVERIES))}, not {delivery!r}")
        try:
            pool = self._pools[self._streams[stream]]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None
        return EventConsumer(pool, stream, name, recovery or Recovery(), at_most_once=delivery == "at-most-once")

    # ---- statistics ----

    def get_stream_statistics(self, stream: str) -> RedisStreamStatistics | None:
        """The state of one stream, or None if it is not registered."""
        found = self.get_streams_statistics(stream)
        return found[0] if found else None

    def get_streams_statistics(self, *streams: str) -> list[RedisStreamStatistics]:
        """The state of streams, in one round trip for each pool; no arguments: of all registered streams.

        Streams that are not registered are left out; the others come in the order of the arguments.
        """
        wanted = [stream for stream in dict.fromkeys(streams or self._streams) if stream in self._streams]
        by_pool: dict[str, list[str]] = {}
        for stream in wanted:
            by_pool.setdefault(self._streams[stream], []).append(stream)
        found: dict[str, RedisStreamStatistics] = {}
        for name, on_pool in by_pool.items():
            pool = self._pools[name]
            commands = pool.implementation.CommandBuffer()
            for one in pool.run(statistics(commands, name, on_pool)):
                found[one.stream] = one
        return [found[stream] for stream in wanted]
