"""What the consumers of both faces are: what they tell about themselves, and how `Event.ack` finds their partitions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..flows.agreement import Agreement, agree_recovered
from ..flows.consume.group_member import GroupMember
from ..flows.consume.leases import Leases
from ..flows.consume.options import ConsumerOptions
from ..flows.consume.session import ConsumerState
from ..flows.steps import Flow
from ..flows.topology import NodeMap
from ..protocol.interface import Event
from .session_guard import SessionGuard
from .validation import Duration, seconds

__all__ = ["ConsumerBase", "ConsumerParts"]


class ConsumerParts:
    """What the broker makes a consumer of.

    Attributes:
        options: what the caller has asked for.
        members: for each stream, as it is registered, the consumer in the group of each of its partitions, in order; of
            the stream, if it has none.
        agreements: what is to be compared with other services before the consumer begins.
    """

    __slots__ = ("agreements", "members", "options")

    def __init__(
        self,
        options: ConsumerOptions,
        members: Mapping[str, Sequence[GroupMember]],
        agreements: Sequence[Agreement],
    ) -> None:
        self.options: ConsumerOptions = options
        self.members: Mapping[str, Sequence[GroupMember]] = members
        self.agreements: Sequence[Agreement] = agreements


class ConsumerBase:
    """What the consumers of both faces are.

    Args:
        nodes: where the partitions are.
        parts: what the broker makes the consumer of.
        acknowledging: makes what acknowledges one event of a partition.
    """

    _cancels = False  # whether a call of a handler can be cancelled

    def __init__(
        self, nodes: NodeMap, parts: ConsumerParts, acknowledging: Callable[[GroupMember], Callable[[Any], Any]]
    ) -> None:
        options = parts.options
        members = [member for of_stream in parts.members.values() for member in of_stream]
        leases = None if options.lease is None else Leases(options.name, members, options.lease)
        self._streams = tuple(parts.members)
        self._names = {member.stream: name for name, of_stream in parts.members.items() for member in of_stream}
        self._name = options.name
        self._agreements = parts.agreements
        self._state = ConsumerState(options, nodes, list(parts.members.values()), leases)
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

    def _due_agreements(self) -> Sequence[tuple[Flow[None], str]]:
        """Return what this broker has still to compare with other services: the flows, and the Redis key of each."""
        if not self._agreements:
            return ()
        due = [one for one in self._agreements if one.due]
        return [(agree_recovered(one, self._state.partitions[0].member), one.key) for one in due]

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
        """The stream that is consumed; of several, the first."""
        return self._streams[0]

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that are consumed, in their order."""
        return self._streams

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

    def stop(self, *, drain: bool = False, timeout: Duration | None = None) -> None:
        """End `run`, `batches`, `auto_claim` or a waiting `consume`, once the handler returns.

        Any thread may call it, and a signal handler. It takes effect within about a second; if no call is going on, the
        next one ends at once. No batch is handed over after it, except for events that were read at most once: they
        would be lost. What `run` or `batches` of a consumer of `consumer_many` has read and not handled is handed back
        to the group: another consumer has it within a second, if one waits for events.

        Args:
            drain: hand over what was read before, instead of handing it back.
            timeout: seconds (or a timedelta) after which nothing is handed over any more, and what is left is handed
                back. On asyncio, calls of the handler that are under way then are cancelled, and their events are
                handed back too; a loop over `batches` is not cancelled. None: it takes the time it takes.

        Raises:
            TypeError, ValueError: for a timeout that can't be right; on the blocking face, for one without `drain`,
                because a thread can't be cancelled.
        """
        if timeout is not None and not (drain or self._cancels):
            raise ValueError("timeout= is for drain=True: a thread can't be cancelled, and no batch follows")
        within = math.inf if timeout is None else seconds("timeout", timeout)
        self._state.stopping.set(time.monotonic() + within if drain else -math.inf)
        if within < math.inf:
            self._cut_short_after(within)

    def _cut_short_after(self, within: float) -> None:
        """End calls of the handler in so many seconds, if they can be cancelled."""
