"""What a node reader has asked for: one class for each kind of reply, which says what follows from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import GroupRemovedError, LeaseLostError
from ...partitions import beside
from ...protocol.entry_ids import highest_id
from ...protocol.interface import CommandBuffer, ErrorReply, EventBatch
from ...scripts import OWN_PENDING, RELEASE_LEASE, Script
from ..replies import NUMBER, OK, PENDING_ENTRIES
from ..retry import raise_for_error
from ..scripting import ScriptRefusedError
from ..server_errors import forbids_scripts, unwrapped
from ..steps import Flow, Receive, ReceiveAll, Take, any_reply
from .acknowledge import Acknowledgements
from .group_member import GROUP_LOST, group_in
from .leases import Leases, is_fenced, script_reply
from .partition_state import NEW, Partition, ReadEvents
from .reading import events_reply

if TYPE_CHECKING:
    from .session import ConsumerSession

__all__ = [
    "AGAIN",
    "BlockingReadReply",
    "DeletedAcknowledged",
    "DeliveryCounts",
    "EventsAcknowledged",
    "FenceReply",
    "FewAcknowledged",
    "GroupMade",
    "LastDelivered",
    "LeaseReply",
    "PendingReply",
    "ReadReply",
    "Reading",
    "RosterReply",
]

AGAIN = 0.02  # seconds after which what went wrong may be tried again
_GROUPS_LOST = 5  # reads in a row that find no group, before the error is told


class PendingReply(ABC):
    """A reply that is to come, or several.

    Attributes:
        partition: that it is about; the first of them.
        partitions: that it is about.
        reads: whether it may bring events.
        is_one: whether it is an acknowledgement whose replies can be taken at once.
        inconclusive: whether a read that brought nothing does not mean that there are no new events.
        moves_leases: whether other partitions may be this consumer's after it.
        pages: whether it is a full page of a larger batch.
        next_page: where the page behind it begins.
    """

    reads: bool = False
    is_one: bool = False
    inconclusive: bool = False
    moves_leases: bool = False
    pages: bool = False
    next_page: str = NEW

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.partitions: Sequence[Partition] = (partition,)

    @abstractmethod
    def receive(self) -> Flow[Sequence[ReadEvents]]:
        """Take the reply. Returns the events that were read.

        Raises:
            ServerNotReadyError: for an error that passes.
            redis.ResponseError: for an error that lasts.
        """

    def lost(self) -> None:  # noqa: B027 (most have nothing to do then)
        """The reply will not come, or it is an error that passes."""

    def refused(self) -> None:
        """The reply is an error that lasts."""
        self.lost()


# ---- acknowledging --------------------------------------------------------------------------------------


class EventsAcknowledged(PendingReply):
    """Events were acknowledged, or trimmed if they were read at most once."""

    def __init__(self, partition: Partition, acknowledgements: Acknowledgements, *, pending: bool) -> None:
        super().__init__(partition)
        self._acknowledgements = acknowledgements
        self._pending = pending
        self.is_one: bool = acknowledgements.is_one
        partition.acknowledgement_was_sent(pending=pending)

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        try:
            again = yield from self._acknowledgements.receive()
        except LeaseLostError:
            self.partition.acknowledgement_was_answered([], pending=self._pending)
            self.partition.lease_lost(AGAIN)
        else:
            self.partition.acknowledgement_was_answered(again, pending=self._pending)
        return ()

    @property
    def takes(self) -> Sequence[Take]:
        """How to read the replies."""
        return self._acknowledgements.takes

    def answered(self, replies: Sequence[Any]) -> None:
        """As `receive`, of a stream without leases, if these replies came already, and none is an error."""
        again = self._acknowledgements.answered(replies)
        self.partition.acknowledgement_was_answered(again, pending=self._pending)

    def lost(self) -> None:
        self.partition.acknowledgement_was_answered(list(self._acknowledgements.events), pending=self._pending)

    def refused(self) -> None:
        # They stay pending: the call ends with this error, and the next call is given them again.
        self.partition.acknowledgement_was_answered([], pending=self._pending)
        self.partition.replay()


class FewAcknowledged(PendingReply):
    """A few events were acknowledged and deleted, by XACK and XDEL."""

    is_one: bool = True

    def __init__(self, partition: Partition, commands: CommandBuffer) -> None:
        super().__init__(partition)
        member, events = partition.member, partition.to_acknowledge
        self._events = events
        waiting = commands.with_ids(("XACK", member.stream, member.group), events)
        if waiting:
            commands.with_ids(("XDEL", member.stream), events)
        self.takes: Sequence[Take] = _TWO_NUMBERS if waiting else ()
        partition.acknowledgement_was_sent(pending=True)

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        for reply in (yield ReceiveAll(self.takes)):
            raise_for_error(reply)
        self.answered(())
        return ()

    def answered(self, replies: Sequence[Any]) -> None:
        """As `receive`, if these replies came already, and none is an error."""
        self.partition.member.implementation.mark_acknowledged(self._events)
        self.partition.acknowledgement_was_answered([], pending=True)

    def lost(self) -> None:
        self.partition.acknowledgement_was_answered(self._events, pending=True)

    def refused(self) -> None:
        self.partition.acknowledgement_was_answered([], pending=True)
        self.partition.replay()


_TWO_NUMBERS = (NUMBER, NUMBER)


class DeletedAcknowledged(PendingReply):
    """Entries that are not in the stream any more were acknowledged."""

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        raise_for_error((yield Receive(NUMBER)))
        return ()


# ---- reading --------------------------------------------------------------------------------------------


class GroupMade(PendingReply):
    """The group was made, or was there; and so were the other groups of the stream, if a script has made them."""

    def __init__(self, partition: Partition, script: Script | None) -> None:
        super().__init__(partition)
        self._script = script

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        member = self.partition.member
        reply = yield Receive(OK)
        if self._script is not None:
            if isinstance(reply, ErrorReply) and reply.code == "REMOVED":
                raise GroupRemovedError(member.stream, member.group)
            if len(member.groups) > 1 and isinstance(reply, ErrorReply) and forbids_scripts(reply):
                words = (
                    f"; a stream with several groups needs scripts: +eval +evalsha and the keys {member.stream!r} and"
                    f" {beside(member.stream, 'removed@*')!r}, see the ACL rule 'grouped' on the page on security"
                )
                raise_for_error(ErrorReply(unwrapped(reply).message + words))
            try:
                script_reply(member, self._script, reply)
            except ScriptRefusedError:  # the next round makes it in another way
                return ()
        member.has_group(reply)
        return ()


class Reading(PendingReply):
    """A command that brings events of a group."""

    reads = True
    inconclusive: bool

    def _batch(self, reply: Any) -> EventBatch | None:
        """Return what was read; None if the group is gone, and the command has to be sent again.

        Raises:
            ServerNotReadyError, redis.ResponseError: for another error, or if the group is gone again and again.
        """
        self.inconclusive = isinstance(reply, ErrorReply) and reply.code in GROUP_LOST
        if self.inconclusive and max([partition.group_was_lost() for partition in self.partitions]) < _GROUPS_LOST:
            return None
        batch: EventBatch = raise_for_error(reply)
        sizes = self.partition.member.sizes
        if batch.extra or not sizes.plain:
            sizes.note(batch)
        return batch


class ReadReply(Reading):
    """The events of one partition.

    Args:
        count: how many entries were asked for.
        after: where the read begins.
        more: whether the batch may have more of them.

    Attributes:
        after: as the argument.
        events: that were read, if they are still to be fenced.
        entries: how many these are.
    """

    inconclusive: bool
    pages: bool
    next_page: str
    entries: int = 0

    def __init__(self, partition: Partition, count: int, after: str, *, more: bool) -> None:
        super().__init__(partition)
        self.after = after
        self.events: list[Any] = []
        self._count = count
        self._more = more
        partition.read_was_sent()

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        partition, member = self.partition, self.partition.member
        reply = yield Receive(events_reply(member.acknowledge))
        batch = self._batch(reply)
        if batch is None:
            return ()
        new = self.after == NEW
        entries = len(batch.events) - batch.extra
        full = entries + len(batch.deleted) >= self._count
        if not new:
            batch.events = member.resumed(batch.events)
            self.inconclusive = True
            partition.forget(batch.deleted)
            self.next_page = (
                highest_id([*(event.entry_id for event in batch.events[-1:]), *batch.deleted[-1:]]) if full else ""
            )
        partition.read_was_answered(new=new, full=full)
        if partition.lease is not None:  # they count once the fence has been passed
            self.events = batch.events
            self.entries = entries
            return ()
        self.pages = full and self._more and not member.sizes.packed
        pending = not (new and member.at_most_once)
        return (ReadEvents(partition, batch.events, pending, new),) if batch.events else ()

    def lost(self) -> None:
        self.partition.read_was_lost()


class BlockingReadReply(Reading):
    """The events of one partition or several, for which the server was to wait."""

    pages: bool

    def __init__(
        self, session: ConsumerSession, waiting: Sequence[Partition], count: int, wait: float, *, more: bool
    ) -> None:
        super().__init__(waiting[0])
        self._more = more
        self.partitions = waiting
        self._session = session
        self._count = count
        self._wait = wait

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        reply = yield Receive(self._take(), self._wait)
        batch = self._batch(reply)
        if batch is None or self._session.leases is not None:  # what is read under leases has to be fenced
            return ()
        pending = not self.partition.member.at_most_once
        if len(self.partitions) == 1:
            full = len(batch.events) - batch.extra >= self._count
            self.pages = full and self._more and not self.partition.member.sizes.packed
            self.partition.read_was_answered(new=True, full=full)
            return (ReadEvents(self.partition, batch.events, pending, True),) if batch.events else ()
        by_stream: dict[str, list[Any]] = {}
        if batch.extra:
            for partition in self.partitions:
                partition.member.sizes.packed = True
        for event in batch.events:
            by_stream.setdefault(event.stream, []).append(event)
        return [ReadEvents(self._session.by_stream[key], events, pending, True) for key, events in by_stream.items()]

    def _take(self) -> Take:
        if not self._session.several:
            return events_reply(self.partition.member.acknowledge)
        return events_reply({one.member.stream: one.member.acknowledge for one in self.partitions})

    def lost(self) -> None:
        for partition in self.partitions:
            partition.replay()


class DeliveryCounts(PendingReply):
    """How often events were delivered that come again, and which of them another consumer has claimed meanwhile.

    ``XPENDING stream group first last n consumer``, behind the read or the claim that has brought the events.
    """

    def __init__(self, partition: Partition, events: list[Any]) -> None:
        super().__init__(partition)
        self._events = events
        self._most = 2 * len(events) + 100  # other entries of this consumer may lie between them

    def write(self, commands: CommandBuffer) -> None:
        """Append the command."""
        member, events = self.partition.member, self._events
        first, last = events[0].entry_id, events[-1].entry_id
        commands.xpending_range(member.stream, member.group, first, last, self._most, consumer=member.name)

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        reply = yield Receive(PENDING_ENTRIES)
        events, counts = self._events, {}
        if not isinstance(reply, ErrorReply):  # else the user has no right to ask: the counts are not known
            counts = {entry[0].decode(): entry[3] for entry in reply}
            if len(reply) < self._most:
                events[:] = [event for event in events if event.entry_id in counts]
        self.partition.member.implementation.count_deliveries(events, counts)
        return ()


# ---- leases ---------------------------------------------------------------------------------------------


class LastDelivered(PendingReply):
    """From where to wait: the group has not been given what comes later."""

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        group = group_in((yield Receive(any_reply)), self.partition.member.group)
        if group is not None:  # or else the read that follows says so as well
            self.partition.group_is_at(group["last-delivered-id"].decode())
        return ()


class FenceReply(PendingReply):
    """Whether a read was the owner's, and the only one: then what is pending is what this consumer has read."""

    def __init__(self, partition: Partition, read: ReadReply) -> None:
        super().__init__(partition)
        self._read = read
        self._in_handler = partition.entries_in_handler if partition.in_handler else 0

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        partition, events = self.partition, self._read.events
        reply = yield Receive(any_reply)
        if is_fenced(reply):
            partition.lease_lost(AGAIN)
            return ()
        try:
            pending = int(script_reply(partition.member, OWN_PENDING, reply))
        except ScriptRefusedError:
            partition.replay()
            return ()
        except BaseException:
            partition.replay()
            raise
        new = self._read.after == NEW
        if new and not partition.member.at_most_once and pending > self._in_handler + self._read.entries:
            # A former owner's read has come in between. What it read is pending: read all of it again, in order.
            partition.replay()
            return ()
        if not events:
            return ()
        partition.group_is_at(events[-1].entry_id if new else None)
        return (ReadEvents(partition, events, not (new and partition.member.at_most_once), new),)

    def lost(self) -> None:
        self.partition.replay()


class RosterReply(PendingReply):
    """The names of all consumers that own partitions, or want to."""

    moves_leases = True

    def __init__(self, partition: Partition, leases: Leases) -> None:
        super().__init__(partition)
        self._leases = leases

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        self._leases.take_roster(self.partition.member, (yield Receive(any_reply)))
        return ()


class LeaseReply(PendingReply):
    """A lease was taken, renewed or released, or not."""

    moves_leases = True

    def __init__(self, partition: Partition, leases: Leases, script: Script, sent_at: float) -> None:
        super().__init__(partition)
        self._leases = leases
        self._script = script
        self._sent_at = sent_at

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        partition, leases = self.partition, self._leases
        lease = partition.lease
        assert lease is not None
        reply = yield Receive(any_reply)
        lease.answered()
        if is_fenced(reply):
            partition.lease_lost(AGAIN)
            return ()
        try:
            done = script_reply(partition.member, self._script, reply)
        except ScriptRefusedError:
            return ()
        if self._script is RELEASE_LEASE:
            partition.lease_released(2 * leases.interval)
        elif not done:
            lease.refused(leases.interval)
        else:
            if not lease.owned:
                partition.lease_taken()
            lease.granted(self._sent_at, leases.seconds)
        return ()

    def lost(self) -> None:
        assert self.partition.lease is not None
        self.partition.lease.answered()
