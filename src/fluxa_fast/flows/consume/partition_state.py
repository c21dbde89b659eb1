"""One of the keys that a stream with partitions is made of, as a consumer knows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .group_member import GroupMember
from .leases import Lease

__all__ = ["Found", "Partition"]


class Partition:
    """One of the keys.

    Attributes:
        member: the consumer's place in its group.
        handled: events whose acknowledgement is to be sent; `read_once`: those that were read at most once.
        in_hand: events that were read, and that the handler has, or is about to be given.
        unconfirmed: acknowledgements that are under way.
        deleted: pending entries that are no longer in the stream, to be acknowledged.
        reading: a read is under way.
        hot: the last read was full.
        last_id: of the last entry that the group was given; None: not known.
        asked_at: the node that has the key already, though not yet its slot.
        lease: on it, if only its owner may consume it.
    """

    def __init__(self, member: GroupMember, lease: Lease | None) -> None:
        self.member = member
        self.lease = lease
        self.hot = False
        self.last_id: str | None = None
        self.asked_at: str | None = None
        self.begin()

    def begin(self) -> None:
        """Begin a session: nothing of an earlier one counts any more, however that ended."""
        self.handled: list[Any] = []
        self.read_once: list[Any] = []
        self.deleted: list[str] = []
        self.in_hand = 0
        self.unconfirmed = 0
        self.reading = False
        self.failures = 0
        self.redirections = 0
        self.failing_since: float = 0.0
        if self.lease is not None:
            self.lease.asked = False

    @property
    def unsettled(self) -> bool:
        """Whether something of it was handled, and the server does not know yet."""
        return bool(self.handled or self.read_once or self.unconfirmed)

    @property
    def is_mine(self) -> bool:
        """Whether this consumer may read it."""
        return self.lease is None or (self.lease.valid and not self.lease.leaving)

    def requeue(self, events: Sequence[Any], *, pending: bool) -> None:
        """These events were read, and nobody was given them."""
        if not pending:
            self.member.in_hand += events
        elif events:
            self.member.replaying = True

    def lost(self, lease_again_in: float) -> None:
        """Another consumer owns it now: whatever is known of it is for that one."""
        assert self.lease is not None
        self.lease.gone(lease_again_in)
        self.handled = []
        self.read_once = []
        self.deleted = []
        self.member.replaying = True
        self.member.trim_at = math.inf  # what is left there is for the next owner


class Found(NamedTuple):
    """What was read.

    Attributes:
        pending: false for events that were read at most once.
    """

    partition: Partition
    events: list[Any]
    pending: bool

    def requeue(self) -> None:
        """Nobody was given it."""
        self.partition.requeue(self.events, pending=self.pending)
