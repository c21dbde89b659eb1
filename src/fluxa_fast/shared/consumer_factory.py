"""The calls that make consumers, for both faces: of a broker for any stream, and of a typed stream for its own.

To make a consumer sends nothing, so both faces have the same calls. They turn the caller's arguments into
`ConsumerOptions`; every other layer takes these as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from ..filters import Where
from ..flows.consume.options import ORDERED, SINGLE, ConsumerOptions, Delivery, Order
from ..flows.retry import Recovery
from ..positions import Start
from .validation import Duration

__all__ = ["MakesConsumers", "MakesItsConsumers"]

C = TypeVar("C")


class MakesConsumers(ABC, Generic[C]):
    """The calls of a broker."""

    @abstractmethod
    def _new_consumer(self, streams: str | Sequence[str], options: ConsumerOptions) -> C: ...

    def consumer_single(
        self,
        stream: str | Sequence[str],
        *,
        group: str | None = None,
        start: Start | None = None,
        where: Where | None = None,
        order: Order = "fair",
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> C:
        """The one consumer of a stream, under the fixed name ``consumer-single``: events come in their order.

        It reads all partitions of a stream that has them, each in its order.

        Args:
            stream: a registered stream; or several on one pool, in the order of their importance. A batch has events of
                one of them.
            group: whose events it is given; None: the stream's only one, or ``consumer_group`` if that is declared.
            start: the first event that the group is given, if it has to be made: ``"0"`` (the oldest), ``"$"`` (the
                next one that is published), an ID, or a datetime. None: as the group was declared.
            where: the group's filter: the value that each of these tags must have, or a list of values, of which it
                must have one. Events that do not pass are acknowledged, and not handed over. All consumers of the group
                must have the same filter. None: no filter.
            order: of several streams, which one is read next. ``"fair"``: each in turn. ``"strict"``: a stream is read
                only when those before it have no events.
            delivery: ``"at-least-once"``, or ``"at-most-once"``: events that were read are never delivered again. That
                is much less work for the server, but a crash loses the events being handled and those read ahead.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            TypeError: if `recovery` is not a `Recovery`, or `where` no dict.
            FiltersDifferError: from the consumer's calls, if the group has another filter.
            ValueError: for another delivery or order, for streams that one consumer can't read, or a group that is
                not declared.
        """
        return self._new_consumer(
            stream, ConsumerOptions.checked(SINGLE, delivery, recovery, None, group, start, where, order)
        )

    def consumer_many(
        self,
        stream: str | Sequence[str],
        *,
        group: str | None = None,
        start: Start | None = None,
        where: Where | None = None,
        order: Order = "fair",
        name: str | None = None,
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> C:
        """One of any number of consumers that share the events of a stream, under a name of its own.

        It reads all partitions of a stream that has them. No order is kept between consumers.

        Args:
            stream: a registered stream; or several on one pool, in the order of their importance. A batch has events of
                one of them.
            group: whose events it is given; None: the stream's only one, or ``consumer_group`` if that is declared.
            start: the first event that the group is given, if it has to be made: ``"0"`` (the oldest), ``"$"`` (the
                next one that is published), an ID, or a datetime. None: as the group was declared.
            where: the group's filter: the value that each of these tags must have, or a list of values, of which it
                must have one. Events that do not pass are acknowledged, and not handed over. All consumers of the group
                must have the same filter. None: no filter.
            order: of several streams, which one is read next. ``"fair"``: each in turn. ``"strict"``: a stream is read
                only when those before it have no events.
            name: in the group. A consumer of the same name that is made later, in another process too, is first given
                the entries that are pending for this one. Two consumers of one name must not be in use at the same
                time: each would be given the events of the other again. None: a new name.
            delivery: ``"at-least-once"``, or ``"at-most-once"``: events that were read are never delivered again. That
                is much less work for the server, but a crash loses the events being handled and those read ahead.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            TypeError: if `recovery` is not a `Recovery`, `where` no dict, or `name` no str.
            FiltersDifferError: from the consumer's calls, if the group has another filter.
            ValueError: for another delivery or order, for streams that one consumer can't read, a group that is not
                declared, a name that is empty, or the name of `consumer_single` or of `consumer_ordered`.
        """
        if name in (SINGLE, ORDERED):
            raise ValueError(f"name {name!r} is that of another kind of consumer; choose another name")
        return self._new_consumer(
            stream, ConsumerOptions.checked(name, delivery, recovery, None, group, start, where, order)
        )

    def consumer_ordered(
        self,
        stream: str,
        *,
        group: str | None = None,
        start: Start | None = None,
        where: Where | None = None,
        lease: Duration = 10.0,
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> C:
        """One of any number of consumers that share the partitions of a stream: events with the same key stay in order.

        Each partition is read by one consumer at a time, under the name ``consumer-ordered``. A lease in Redis
        (``GET``, ``SET``, ``PEXPIRE``, ``DEL`` in scripts) says which consumer that is; the consumer renews it while it
        reads. When consumers come and go, partitions are handed over, so that each consumer has as many as the others,
        or one more. The next owner of a partition is first given the events that the former owner has not acknowledged;
        Redis refuses what the former owner acknowledges afterwards. A consumer that was killed keeps its partitions
        from the others until its leases end.

        Args:
            stream: a registered stream. Without partitions, one consumer reads it, and the others stand by.
            group: whose events it is given; None: the stream's only one, or ``consumer_group`` if that is declared.
            start: the first event that the group is given, if it has to be made: ``"0"`` (the oldest), ``"$"`` (the
                next one that is published), an ID, or a datetime. None: as the group was declared.
            where: the group's filter: the value that each of these tags must have, or a list of values, of which it
                must have one. Events that do not pass are acknowledged, and not handed over. All consumers of the group
                must have the same filter. None: no filter.
            lease: seconds (or a timedelta), at least 0.5. The handler must be done with a batch before the lease ends:
                after that, another consumer may have begun with the same events.
            delivery: as for `consumer_many`.
            recovery: how long outages are waited for.

        Raises:
            UnregisteredStreamError: if the stream is not registered.
            TypeError: if `recovery` is not a `Recovery`, `where` no dict, or `lease` no duration; for several streams.
            FiltersDifferError: from the consumer's calls, if the group has another filter.
            ValueError: for another delivery, a group that is not declared, or a shorter lease.
        """
        if not isinstance(stream, str):
            raise TypeError(f"consumer_ordered reads one stream, by its name, not {type(stream).__name__}")
        options = ConsumerOptions.checked(None, delivery, recovery, lease, group, start, where)
        return self._new_consumer(stream, options)


class MakesItsConsumers(Generic[C]):
    """The calls of a typed stream: those of the broker, without the name of the stream."""

    _broker: MakesConsumers[C]
    _name: str

    def consumer_single(
        self,
        *,
        group: str | None = None,
        start: Start | None = None,
        where: Where | None = None,
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> C:
        """As `EventBroker.consumer_single`: ``event.body`` is a `BodyT`."""
        return self._broker.consumer_single(
            self._name, group=group, start=start, where=where, delivery=delivery, recovery=recovery
        )

    def consumer_many(
        self,
        *,
        group: str | None = None,
        start: Start | None = None,
        where: Where | None = None,
        name: str | None = None,
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> C:
        """As `EventBroker.consumer_many`: ``event.body`` is a `BodyT`."""
        return self._broker.consumer_many(
            self._name, group=group, start=start, where=where, name=name, delivery=delivery, recovery=recovery
        )

    def consumer_ordered(
        self,
        *,
        group: str | None = None,
        start: Start | None = None,
        where: Where | None = None,
        lease: Duration = 10.0,
        delivery: Delivery = "at-least-once",
        recovery: Recovery | None = None,
    ) -> C:
        """As `EventBroker.consumer_ordered`: ``event.body`` is a `BodyT`."""
        return self._broker.consumer_ordered(
            self._name, group=group, start=start, where=where, lease=lease, delivery=delivery, recovery=recovery
        )
