"""What the consumers of both faces are: what they tell about themselves, and how `Event.ack` finds their partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..flows.consume.group_member import GroupMember
from ..flows.consume.leases import Leases
from ..flows.consume.options import ConsumerOptions
from ..flows.consume.session import ConsumerState
from ..flows.partition_count import PartitionCheck, check_partitions_recovered
from ..flows.steps import Flow
from ..flows.topology import NodeMap
from ..protocol.interface import Event
from .session_guard import SessionGuard

__all__ = ["ConsumerBase", "ConsumerParts"]


class ConsumerParts:
    """What the broker makes a consumer of.

    Attributes:
        stream: as it is registered.
        options: what the caller has asked for.
        members: the consumer in the group of each partition, in order; of the stream, if it has none.
        check: of the number of partitions; None if the stream has none.
    """

    __slots__ = ("check", "members", "options", "stream")

    def __init__(
        self, stream: str, options: ConsumerOptions, members: Sequence[GroupMember], check: PartitionCheck | None
    ) -> None:
        self.stream: str = stream
        self.options: ConsumerOptions = options
        self.members: Sequence[GroupMember] = members
        self.check: PartitionCheck | None = check


class ConsumerBase:
    """What the consumers of both faces are.

    Args:
        nodes: where the partitions are.
        parts: what the broker makes the consumer of.
        acknowledging: makes what acknowledges one event of a partition.
    """

    def __init__(
        self, nodes: NodeMap, parts: ConsumerParts, acknowledging: Callable[[GroupMember], Callable[[Any], Any]]
    ) -> None:
        options, members = parts.options, parts.members
        leases = None if options.lease is None else Leases(options.name, members, options.lease)
        self._stream = parts.stream
        self._names = {member.stream: parts.stream for member in members}
        self._name = options.name
        self._check = parts.check
        self._state = ConsumerState(options.name, nodes, members, leases)
        self._guard = SessionGuard(self._state)
        # No method of the consumer: an event would keep a consumer that is not used any more, and its connections. The
        # same function for all partitions, because one reply may have events of several.
        acknowledge = acknowledging(members[0])
        if len(members) > 1:
            by_stream = {member.stream: acknowledging(member) for member in members}

            def acknowledge(event: Any) -> Any:
                return by_stream[event.stream](event)

        for member in members:
            member.acknowledged_by(acknowledge)

    def _due_check(self) -> tuple[Flow[None], str] | None:
        """Return the flow that compares the number of partitions with that of other services, and its Redis key.

        None: the stream has no partitions, or this broker has compared it before.
        """
        if self._check is None or not self._check.due:
            return None
        return check_partitions_recovered(self._check, self._state.partitions[0].member), self._check.key

    @property
    def name(self) -> str:
        """The name in the group: ``consumer-single``, or ``consumer-<UTC time>-<random number>``.

        Of a consumer that owns partitions it is the name among the owners.
        """
        return self._name

    @property
    def group(self) -> str:
        """The group whose events it is given."""
        return self._state.partitions[0].member.group

    @property
    def stream(self) -> str:
        """The stream that is consumed."""
        return self._stream

    def stream_of(self, event: Event[Any]) -> str:
        """Return the name by which the stream of an event of this consumer is registered.

        ``event.stream`` is its Redis key: with the registry's prefix, or that of a partition.

        Raises:
            KeyError: if the event did not come from this consumer.
        """
        return self._names[event.stream]

    @property
    def partitions(self) -> tuple[str, ...]:
        """The Redis streams that are read: all partitions, or those that this consumer owns now; or the stream."""
        return tuple(one.member.stream for one in self._state.partitions if one.lease is None or one.lease.valid)

    @property
    def deleted(self) -> int:
        """Entries so far that were pending, but no longer in the stream; acknowledged, and never handed over."""
        return self._state.deleted

    def stop(self) -> None:
        """End `run`, `batches`, `auto_claim` or a waiting `consume`, once the handler returns.

        Any thread may call it, and a signal handler. It takes effect within about a second; if no call is going on, the
        next one ends at once. No batch is handed over after it, except for events that were read at most once: they
        would be lost.
        """
        self._state.stopping.set()
