"""What a consumer knows of one partition, and of its lease: the states, and every transition between them.

A stream without partitions is one partition without a lease. Other files ask for the state, and call a transition;
they assign no attribute of a `Partition` or a `Lease`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from enum import Enum
from typing import Any, Literal, NamedTuple

from ...groups import beside_group
from ...hooks import LeaseReport
from ..retry import Backoff, Outage
from .acknowledge import joined
from .group_member import Fence, GroupMember

__all__ = ["FIRST_CLAIM", "NEW", "PENDING", "Lease", "LeaseState", "Partition", "PartitionState", "ReadEvents"]

NEW = ">"
"""Where a read begins: behind what the group was given."""

PENDING = "0"
"""Where a read begins: at the first entry that is pending for this consumer."""

FIRST_CLAIM = "0-0"
"""Where claiming begins; and where it is said to go on when there is nothing more."""

_BELIEVED = 0.9  # of a lease's time: the rest is for clocks that differ, and for the network


class PartitionState(Enum):
    """What a partition is doing.

    Attributes:
        REPLAYING: pending entries of this consumer are to be read before new ones.
        IDLE: new events are to be read.
        READ_SENT: the reply to a read is to come.
        DELIVERING: the handler has events, or is about to be given them. A read may have been sent ahead.
        SETTLING: events were handled, and the server has not confirmed that.
    """

    REPLAYING = "replaying"
    IDLE = "idle"
    READ_SENT = "read sent"
    DELIVERING = "delivering"
    SETTLING = "settling"


class LeaseState(Enum):
    """What this consumer has of a lease.

    Attributes:
        FREE: nothing. Another consumer may own it.
        ASKED: a command that takes it was sent.
        OWNED: it was granted.
        LEAVING: it is owned, and will be released when everything that was read is settled.
    """

    FREE = "free"
    ASKED = "asked"
    OWNED = "owned"
    LEAVING = "leaving"


class Lease:
    """The lease on one partition.

    Attributes:
        fence: what scripts compare before they change anything.
        state: what this consumer has of it.
        valid_until: when it is believed to end (monotonic seconds).
        renew_at: when it is to be renewed (monotonic seconds).
        try_at: when this consumer may try to take it (monotonic seconds).
        command_sent: whether the reply to a command about it is to come.
    """

    def __init__(self, member: GroupMember, owner: str) -> None:
        self.fence: Fence = Fence(beside_group(member.stream, "lease", member.group), owner)
        self.state: LeaseState = LeaseState.FREE
        self.valid_until: float = -math.inf
        self.renew_at: float = -math.inf
        self.try_at: float = -math.inf
        self.command_sent: bool = False
        member.fenced_by(self.fence)

    @property
    def owned(self) -> bool:
        """Whether it was granted, and not lost or released since, as far as this consumer knows."""
        return self.state in (LeaseState.OWNED, LeaseState.LEAVING)

    @property
    def counted(self) -> bool:
        """Whether it counts as one of this consumer's share."""
        return self.owned or self.state is LeaseState.ASKED

    @property
    def valid(self) -> bool:
        """Whether it is owned, and no other consumer can own it yet."""
        return self.owned and time.monotonic() < self.valid_until

    def sent(self) -> None:
        """A command that takes, renews or releases it was sent."""
        self.command_sent = True
        if self.state is LeaseState.FREE:
            self.state = LeaseState.ASKED

    def answered(self) -> None:
        """The reply to that command came, or will not come."""
        self.command_sent = False
        if self.state is LeaseState.ASKED:
            self.state = LeaseState.FREE

    def granted(self, sent_at: float, seconds: float) -> None:
        """The server has given it, or given it for longer; the command was sent at `sent_at` (monotonic seconds)."""
        if not self.owned:
            self.state = LeaseState.OWNED
        self.valid_until = sent_at + _BELIEVED * seconds
        self.renew_at = sent_at + seconds / 3

    def refused(self, again_in: float) -> None:
        """Another consumer owns it: try again in so many seconds."""
        self.try_at = time.monotonic() + again_in

    def leave(self) -> None:
        """Release it as soon as everything that was read is settled."""
        self.state = LeaseState.LEAVING

    def gone(self, again_in: float) -> None:
        """It is not owned any more. This consumer may try to take it again in so many seconds."""
        self.state = LeaseState.FREE
        self.refused(again_in)


class Partition:
    """One of the Redis streams that a consumer reads.

    Attributes:
        member: the consumer's place in the group of the Redis stream.
        lease: the lease that the consumer must own; None: it needs none.
        replay_due: whether entries may be pending for this consumer that it has not handled.
        prefetched: events that were read at most once, and not given to the handler. The next call hands them over.
        left_over: parts of packed entries that are pending, and were not given to the handler, because its batch was
            smaller than an entry. The next call hands them over.
        left_over_at: when they were read (monotonic seconds).
        to_acknowledge: events that were handled, and whose acknowledgement is to be sent.
        to_trim: events that were handled, and read at most once: they only have to be deleted.
        deleted: IDs of pending entries that are not in the stream any more, to be acknowledged.
        in_handler: how many events the handler has, or is about to be given.
        entries_in_handler: how many entries these are. It is counted for leases.
        unconfirmed: how many acknowledgements were sent and not answered.
        read_sent: whether the reply to a read is to come.
        full: whether the last read brought as many events as it asked for.
        last_id: the ID of the last entry that the group was given; None: not known.
        claim_cursor: where `auto_claim` goes on; None: there is nothing (more) to claim.
        takes_over: whether there is something to take over, as the server has said.
        claim_sent: whether the reply to the command that takes it over is to come.
        given_up: IDs of events whose handler was cut short. They are pending.
        ask_redirect: the node that has the Redis stream before it has its slot (ASK).
        backoff: counts the failures to reach its node.
        groups_lost: how many reads in a row have found no group.
        rank: the number of its stream among those that the consumer reads, from 0.
    """

    def __init__(self, member: GroupMember, lease: Lease | None, outage: Outage, rank: int = 0) -> None:
        self.rank = rank
        self.member = member
        self.lease = lease
        self.backoff: Backoff = Backoff(member.recovery, outage)
        self.replay_due: bool = True
        self.prefetched: list[Any] = []
        self.left_over: list[ReadEvents] = []
        self.left_over_at: float = 0.0
        self.full: bool = False
        self.last_id: str | None = None
        self.ask_redirect: str | None = None
        self.to_acknowledge: list[Any] = []
        self.to_trim: list[Any] = []
        self.unconfirmed: int = 0
        self.begin_session(claims=False)

    def begin_session(self, *, claims: bool) -> None:
        """Forget what an earlier session has left, however that ended. `claims`: the session takes over events."""
        if self.unsettled:
            self.member.held.cut_off()
        self.to_acknowledge = []
        self.to_trim = []
        self.deleted: list[str] = []
        self.in_handler: int = 0
        self.entries_in_handler: int = 0
        self.unconfirmed = 0
        self.read_sent: bool = False
        self.groups_lost: int = 0
        self.takes_over: bool = False
        self.claim_sent: bool = False
        self.given_up: list[str] = []
        if self.lease is not None:
            self.lease.answered()
        self.claim_cursor: str | None = FIRST_CLAIM if claims and self.may_read else None

    # ---- the state ----

    @property
    def state(self) -> PartitionState:
        """What it is doing."""
        if self.in_handler:
            return PartitionState.DELIVERING
        if self.read_sent:
            return PartitionState.READ_SENT
        if self.unsettled:
            return PartitionState.SETTLING
        return PartitionState.REPLAYING if self.replay_due else PartitionState.IDLE

    @property
    def unsettled(self) -> bool:
        """Whether events were handled, and the server has not confirmed that."""
        return bool(self.to_acknowledge or self.to_trim or self.unconfirmed)

    @property
    def unsaid(self) -> bool:
        """Whether the server is still to be told of what was handled."""
        return bool(self.to_acknowledge or self.to_trim or self.deleted)

    @property
    def may_read(self) -> bool:
        """Whether this consumer may read it: it needs no lease, or owns one and keeps it."""
        lease = self.lease
        return lease is None or (lease.state is LeaseState.OWNED and lease.valid)

    @property
    def trim_is_due(self) -> bool:
        """Whether what was left in the stream is to be trimmed now (at most once only)."""
        trim_at = self.member.trim_at
        return trim_at < math.inf and time.monotonic() >= trim_at and self.may_read

    @property
    def next_read(self) -> str | None:
        """Where the next read begins, `PENDING` or `NEW`; None: it has to wait until everything else is settled.

        Else pending entries that the handler has, or that are being claimed, would be delivered twice.
        """
        if self.claim_sent:
            return None
        if not self.replay_due:
            return NEW
        return PENDING if self.state is PartitionState.REPLAYING else None

    # ---- reading ----

    def replay(self) -> None:
        """Events may be pending that the handler has not had: read pending entries first."""
        self.replay_due = True
        self.left_over = []

    def read_was_sent(self) -> None:
        """The reply to a read is to come."""
        self.read_sent = True

    def read_was_answered(self, *, new: bool, full: bool) -> None:
        """The reply to a read came.

        Args:
            new: whether it was a read of new events, and not of pending entries.
            full: whether it brought as many entries as it asked for.
        """
        self.read_sent = False
        self.groups_lost = 0
        self.full = new and full
        if not (new or full):
            self.replay_due = False

    def read_was_lost(self) -> None:
        """The reply to a read will not come: what it brought is pending."""
        self.read_sent = False
        self.full = False
        self.replay_due = True

    def group_was_lost(self) -> int:
        """A read has found no group. Returns how many in a row have."""
        self.read_sent = False
        self.groups_lost += self.member.group_made  # else it could not be made, and the reply to that says why
        self.member.group_made = False
        return self.groups_lost

    def forget(self, ids: Sequence[str]) -> None:
        """These entries are pending, and not in the stream any more: acknowledge them with the next write."""
        self.deleted += ids

    def pop_deleted(self) -> list[str]:
        """Return what `forget` was told, to be acknowledged now."""
        ids, self.deleted = self.deleted, []
        self.member.deleted += len(ids)
        return ids

    def group_is_at(self, last_id: str | None) -> None:
        """The group was given everything up to this ID; None: this consumer does not know."""
        self.last_id = last_id

    def claim_was_answered(self, cursor: str | None) -> None:
        """The server has claimed: go on at this cursor, or end."""
        self.read_sent = False
        self.groups_lost = 0
        self.claim_cursor = None if cursor in (None, FIRST_CLAIM) else cursor

    def may_take_over(self) -> None:
        """There is something to take over."""
        self.takes_over = True

    def taking_over(self) -> None:
        """The command that takes it over is about to be sent."""
        self.takes_over = False
        self.claim_sent = True

    def took_over(self) -> None:
        """The reply to that command came, or will not come."""
        self.claim_sent = False

    def gave_up(self, events: Sequence[Any]) -> None:
        """The handler of these events was cut short: it may have done part of its work."""
        self.given_up += dict.fromkeys(event.entry_id for event in events)

    # ---- delivering ----

    def pop_prefetched(self) -> list[Any]:
        """Return the prefetched events, and forget them."""
        events, self.prefetched = self.prefetched, []
        return events

    def leave_over(self, part: ReadEvents, read_at: float) -> None:
        """The handler was given no more of what was read: the next call begins with that."""
        if part.pending:
            self.left_over.append(part)
            self.left_over_at = read_at
        else:
            self.prefetched += part.events

    def pop_left_over(self) -> list[ReadEvents]:
        """Return what was left over, and forget it."""
        parts, self.left_over = self.left_over, []
        return parts

    def deliver(self, count: int) -> None:
        """So many events are about to be given to the handler."""
        self.in_handler += count

    def deliver_entries(self, found: Sequence[ReadEvents]) -> None:
        """These are all that the handler is about to be given, of all partitions."""
        self.entries_in_handler = sum([one.entries for one in found if one.partition is self])

    def next_read_was_answered(self) -> None:
        """The reply to a read of new events came, and has as many as were asked for. The next read was sent already."""
        self.groups_lost = 0
        self.full = True

    def delivered(self, count: int) -> None:
        """The handler is done with so many events, or will not be given them."""
        self.in_handler -= count

    def requeue(self, events: Sequence[Any], *, pending: bool) -> None:
        """These events were read, and the handler was not given them: deliver them later."""
        if not pending:
            self.prefetched += events
        elif events:
            self.replay()

    def handled(self, events: list[Any], *, pending: bool) -> None:
        """The handler is done with these events: acknowledge those of complete entries with the next write."""
        if self.member.sizes.packed:
            events = self.member.completed(events)
        if not (self.in_handler or self.replay_due):
            self.member.handled_up_to(events)
        if pending:
            self.to_acknowledge = joined(self.to_acknowledge, events) if self.to_acknowledge else events
        else:
            self.to_trim = joined(self.to_trim, events) if self.to_trim else events

    # ---- settling ----

    def acknowledgement_was_sent(self, *, pending: bool) -> None:
        """The acknowledgement of all handled events was sent."""
        self.unconfirmed += 1
        if pending:
            self.to_acknowledge = []
        else:
            self.to_trim = []

    def acknowledgement_was_answered(self, again: list[Any], *, pending: bool) -> None:
        """The server has confirmed it, or it will not come. `again`: what has to be acknowledged once more."""
        self.unconfirmed -= 1
        if again:
            if pending:
                self.to_acknowledge = joined(again, self.to_acknowledge)
            else:
                self.to_trim = joined(again, self.to_trim)

    # ---- the node, and the lease ----

    def moved(self, ask_redirect: str | None) -> None:
        """It is read over another connection from now on. `ask_redirect`: as the attribute."""
        self.ask_redirect = ask_redirect
        self.takes_over = False

    def lease_taken(self) -> None:
        """The lease was granted: what was pending for the owner before goes first."""
        self._report_lease("taken")
        self.replay_due = True
        self.last_id = None

    def lease_lost(self, again_in: float) -> None:
        """Another consumer owns it now, or may: what was read and not settled is for that one."""
        assert self.lease is not None
        if self.lease.owned:
            self._report_lease("lost")
        self.lease.gone(again_in)
        self.to_acknowledge = []
        self.to_trim = []
        self.deleted = []
        self.member.unfinished.clear()
        self.replay()
        self.member.nothing_to_trim()

    def lease_released(self, again_in: float) -> None:
        """The lease was given back: what is left in the stream is for the next owner."""
        assert self.lease is not None
        self._report_lease("released")
        self.lease.gone(again_in)
        self.replay_due = True
        self.member.nothing_to_trim()

    def _report_lease(self, change: Literal["taken", "released", "lost"]) -> None:
        if self.member.hooks is not None and self.lease is not None:
            self.member.hooks.on_lease(LeaseReport(self.member.stream, self.lease.fence.owner, change))


class ReadEvents(NamedTuple):
    """Events of one partition that were read.

    Attributes:
        partition: that they are of.
        events: in the order of their IDs.
        pending: false for events that were read at most once.
        new: false for events that were pending, claimed, or prefetched by an earlier call.
    """

    partition: Partition
    events: list[Any]
    pending: bool
    new: bool

    @property
    def entries(self) -> int:
        """How many entries they are of."""
        member = self.partition.member
        return member.implementation.entries_in(self.events) if member.sizes.packed else len(self.events)

    def requeue(self) -> None:
        """The handler was not given them."""
        self.partition.requeue(self.events, pending=self.pending)
