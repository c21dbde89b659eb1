"""What a lane has asked for, and what follows from each reply."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import LeaseLostError
from ...protocol.interface import ErrorReply, EventBatch
from ...scripts import OWN_PENDING, RELEASE_LEASE, Script
from ..replies import NUMBER, OK
from ..retry import raise_for_error
from ..scripting import ScriptRefusedError
from ..steps import Flow, Receive, any_reply
from .acknowledge import Acknowledgements, joined
from .group_member import GROUP_LOST, group_in
from .leases import Leases, answered, is_fenced
from .partition_state import Found, Partition
from .reading import events_reply

if TYPE_CHECKING:
    from .session import Crew

__all__ = [
    "AGAIN",
    "Acknowledged",
    "Expected",
    "Fenced",
    "Forgotten",
    "GroupMade",
    "LastDelivered",
    "Leased",
    "Read",
    "Roster",
    "Waited",
]

AGAIN = 0.02  # seconds after which what went wrong may be tried again


class Expected(ABC):
    """A reply that is to come, or several.

    Attributes:
        partitions: that it is about.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.partitions: Sequence[Partition] = (partition,)

    @abstractmethod
    def receive(self) -> Flow[Sequence[Found]]:
        """Take it. What the server says that passes is raised; what was read is returned."""

    def lost(self) -> None:  # noqa: B027 (most have nothing to do then)
        """It will not come, or it is an error that passes."""

    def refused(self) -> None:
        """It is an error that lasts."""
        self.lost()


class Acknowledged(Expected):
    def __init__(self, partition: Partition, acknowledgements: Acknowledgements, *, pending: bool) -> None:
        super().__init__(partition)
        self._acknowledgements = acknowledgements
        self._pending = pending
        partition.unconfirmed += 1

    def _again(self, events: list[Any]) -> None:
        partition = self.partition
        partition.unconfirmed -= 1
        if self._pending:
            partition.handled = joined(events, partition.handled)
        else:
            partition.read_once = joined(events, partition.read_once)

    def receive(self) -> Flow[Sequence[Found]]:
        try:
            again = yield from self._acknowledgements.receive()
        except LeaseLostError:
            self.partition.unconfirmed -= 1
            self.partition.lost(AGAIN)
        else:
            self._again(again)
        return ()

    def lost(self) -> None:
        self._again(list(self._acknowledgements.events))

    def refused(self) -> None:
        self._again([])  # they stay pending: the call ends with that error, and the next one is given them again
        self.partition.member.replaying = True


class Forgotten(Expected):
    def receive(self) -> Flow[Sequence[Found]]:
        raise_for_error((yield Receive(NUMBER)))
        return ()


class GroupMade(Expected):
    def receive(self) -> Flow[Sequence[Found]]:
        self.partition.member.has_group((yield Receive(OK)))
        return ()


class Read(Expected):
    def __init__(self, partition: Partition, count: int, after: str) -> None:
        super().__init__(partition)
        self._count = count
        self.after = after
        self.events: list[Any] = []

    def receive(self) -> Flow[Sequence[Found]]:
        member = self.partition.member
        reply = yield Receive(events_reply(member))
        self.partition.reading = False
        if isinstance(reply, ErrorReply) and reply.code in GROUP_LOST:
            member.group_made = False
            return ()
        batch: EventBatch = raise_for_error(reply)
        found = len(batch.events) + len(batch.deleted)
        if self.after == "0":
            self.partition.deleted += batch.deleted
            if found < self._count:
                member.replaying = False
            self.partition.hot = False
        else:
            self.partition.hot = found >= self._count
        if self.partition.lease is not None:  # they count once the fence has been passed
            self.events = batch.events
            return ()
        pending = self.after == "0" or not member.at_most_once
        return (Found(self.partition, batch.events, pending),) if batch.events else ()

    def lost(self) -> None:
        self.partition.reading = False
        self.partition.member.replaying = True
        self.partition.hot = False


class LastDelivered(Expected):
    """From where to wait: whatever comes later, the group has not been given."""

    def receive(self) -> Flow[Sequence[Found]]:
        group = group_in((yield Receive(any_reply)))
        if group is not None:  # or else the read that follows says so as well
            self.partition.last_id = group["last-delivered-id"].decode()
        return ()


class Fenced(Expected):
    """Whether a read was the owner's, and the only one: then what is pending is what was read, and nothing else."""

    def __init__(self, partition: Partition, read: Read, in_hand: int) -> None:
        super().__init__(partition)
        self._read = read
        self._in_hand = in_hand

    def receive(self) -> Flow[Sequence[Found]]:
        partition, events = self.partition, self._read.events
        reply = yield Receive(any_reply)
        if is_fenced(reply):
            partition.lost(AGAIN)
            return ()
        try:
            pending = int(answered(partition.member, OWN_PENDING, reply))
        except ScriptRefusedError:
            partition.member.replaying = True
            return ()
        except BaseException:
            partition.member.replaying = True
            raise
        own = self._in_hand + len(events)
        if self._read.after == ">" and not partition.member.at_most_once and pending > own:
            # A former owner's read has come in between. It is pending: so it is read again, and all in order.
            partition.member.replaying = True
            return ()
        if not events:
            return ()
        partition.last_id = events[-1].id if self._read.after == ">" else None
        return (Found(partition, events, self._read.after == "0" or not partition.member.at_most_once),)

    def lost(self) -> None:
        self.partition.member.replaying = True


class Waited(Expected):
    def __init__(self, crew: Crew, waiting: Sequence[Partition], wait: float) -> None:
        super().__init__(waiting[0])
        self.partitions = waiting
        self._crew = crew
        self._wait = wait

    def receive(self) -> Flow[Sequence[Found]]:
        reply = yield Receive(events_reply(self.partition.member), self._wait)
        if isinstance(reply, ErrorReply) and reply.code in GROUP_LOST:
            for partition in self.partitions:
                partition.member.group_made = False
            return ()
        batch: EventBatch = raise_for_error(reply)
        if self._crew.leases is not None:
            return ()
        found: dict[str, list[Any]] = {}
        for event in batch.events:
            found.setdefault(event.stream, []).append(event)
        pending = not self.partition.member.at_most_once
        return [Found(self._crew.by_key[stream], events, pending) for stream, events in found.items()]

    def lost(self) -> None:
        for partition in self.partitions:
            partition.member.replaying = True


class Roster(Expected):
    def __init__(self, partition: Partition, leases: Leases) -> None:
        super().__init__(partition)
        self._leases = leases

    def receive(self) -> Flow[Sequence[Found]]:
        self._leases.take_roster(self.partition.member, (yield Receive(any_reply)))
        return ()


class Leased(Expected):
    """A lease is taken, renewed or released."""

    def __init__(self, partition: Partition, leases: Leases, script: Script, sent_at: float) -> None:
        super().__init__(partition)
        self._leases = leases
        self._script = script
        self._sent_at = sent_at

    def receive(self) -> Flow[Sequence[Found]]:
        partition, leases = self.partition, self._leases
        lease = partition.lease
        assert lease is not None
        reply = yield Receive(any_reply)
        lease.asked = False
        if is_fenced(reply):
            partition.lost(AGAIN)
            return ()
        try:
            done = answered(partition.member, self._script, reply)
        except ScriptRefusedError:
            return ()
        if self._script is RELEASE_LEASE:
            lease.gone(2 * leases.interval)
            partition.member.trim_at = math.inf
        elif not done:
            lease.try_at = time.monotonic() + leases.interval
        else:
            if not lease.owned:
                partition.member.replaying = True  # what was pending for the owner before goes first
                partition.last_id = None
            lease.granted(self._sent_at, leases.seconds)
        return ()

    def lost(self) -> None:
        assert self.partition.lease is not None
        self.partition.lease.asked = False
