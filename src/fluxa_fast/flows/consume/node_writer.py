"""What a node reader sends: in one write for all its partitions, acknowledgements, leases and reads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...groups import beside_group
from ...protocol.interface import CommandBuffer
from ...scripts import MAKE_GROUPS, OWN_PENDING
from ..steps import Flow, Send
from .acknowledge import Acknowledgements
from .in_flight import (
    BlockingReadReply,
    DeletedAcknowledged,
    EventsAcknowledged,
    FenceReply,
    GroupMade,
    LastDelivered,
    LeaseReply,
    PendingReply,
    ReadReply,
    RosterReply,
)
from .leases import Leases
from .partition_state import NEW, Partition
from .reading import SLICE, block_milliseconds, write_read
from .taking_over import write_claim, write_take_over

if TYPE_CHECKING:
    from .asking import Asking
    from .session import ConsumerSession

__all__ = ["LONGEST_WAIT", "NO_RANK", "NodeWriter"]

_FIRST_WAIT = 0.005  # seconds to wait at one of several partitions; twice as long when nothing came
LONGEST_WAIT = 0.1

NO_RANK = -1  # no stream was asked; the first one has rank 0


class NodeWriter:
    """Writes for the partitions of one node. `NodeReader` takes the replies.

    Attributes:
        name: the node; and the Redis key that it is asked for before it has its slot, or "".
    """

    def __init__(self, session: ConsumerSession, name: tuple[str, str]) -> None:
        self.name: tuple[str, str] = name
        self._session = session
        self._partitions: list[Partition] = []
        self._in_flight: deque[PendingReply] = deque()
        self._idle_rounds = 0  # in a row, which have brought nothing
        self._all_asked = False  # since the last one that has, all partitions were asked
        self._turn = 0
        self._asking = session.new_asking() if session.hands_back or session.claim_idle is not None else None
        self._read_at = 0.0  # when the batches that are handed over were read (monotonic seconds)
        self._asked_rank = NO_RANK  # of the stream that was asked last, where streams are read strictly in order

    def _wait_time(self) -> float | None:
        """Return how many seconds the server is to wait for events; None: not at all."""
        session = self._session
        left = session.time_left
        if left <= 0 or session.min_idle is not None:
            return None
        waiting = self._waiting()
        at_once = self._at_once(waiting)
        # One command that reads all partitions brings what is there as well: then nothing has to be asked before it.
        asked = self._idle_rounds and self._all_asked
        if not waiting or not (asked or (session.lone and session.leases is None and not waiting[0].full)):
            return None
        if any(
            one.replay_due or one.takes_over or one.prefetched or one.left_over or not one.member.group_made
            for one in waiting
        ):
            return None
        longest = SLICE if at_once else min(LONGEST_WAIT, _FIRST_WAIT * 2 ** min(self._idle_rounds, 10))
        if session.leases is not None:
            longest = min(longest, session.leases.interval)
        if self._asking is not None:
            longest = min(longest, self._asking.wait)
        return min(left, longest)

    def _waiting(self) -> list[Partition]:
        return [one for one in self._partitions if one.may_read]

    def _at_once(self, waiting: Sequence[Partition]) -> bool:
        """Whether one command can wait at all of them."""
        return len(waiting) == 1 or not self.name[0]

    def _write(self, wait: float | None, *, reads: bool = True) -> Flow[None]:
        """One write for all partitions of the node: acknowledge what was handled, and read on."""
        session = self._session
        commands = self._partitions[0].member.commands()
        written: list[PendingReply] = []
        for partition in self._partitions:
            if partition.to_acknowledge or (partition.member.held.untidy and self._has_time_to_tidy(partition)):
                yield from self._write_acknowledgement(commands, written, partition, pending=True)
            if partition.to_trim or partition.trim_is_due:
                yield from self._write_acknowledgement(commands, written, partition, pending=False)
            if partition.deleted:
                commands.xack(partition.member.stream, partition.member.group, partition.pop_deleted())
                written.append(DeletedAcknowledged(partition))
        if session.leases is not None and reads and session.min_idle is None:
            self._write_leases(session.leases, commands, written)
        if reads and (asking := self._asking) is not None:
            busy = wait is None and not self._idle_rounds
            if asking.found or not busy or self._read_at >= asking.busy_at:
                self._write_taking_over(asking, commands, written, busy=busy)
        if not reads:
            pass
        elif session.min_idle is not None:
            self._write_claims(commands, written, session.min_idle)
        elif wait is not None:
            self._write_blocking_read(commands, written, wait)
        else:
            self._write_reads(commands, written)
        behind = bool(self._in_flight)
        self._in_flight += written
        if commands.command_count:
            yield Send(commands, behind)

    def _has_time_to_tidy(self, partition: Partition) -> bool:
        """Whether there is nothing better to do than to delete what was acknowledged and could not be trimmed."""
        if not (self._idle_rounds or self._session.ending):
            return False
        return partition.member.may_trim

    def _write_acknowledgement(
        self, commands: CommandBuffer, written: list[PendingReply], partition: Partition, *, pending: bool
    ) -> Flow[None]:
        events = partition.to_acknowledge if pending else partition.to_trim
        at_once = self._session.deletes_at_once and bool(events)
        acknowledgements = Acknowledgements(partition.member, events, pending=pending, at_once=at_once)
        before = commands.command_count
        yield from acknowledgements.write(commands)
        if commands.command_count > before or events:
            written.append(EventsAcknowledged(partition, acknowledgements, pending=pending))

    def _write_leases(self, leases: Leases, commands: CommandBuffer, written: list[PendingReply]) -> None:
        now = time.monotonic()
        wanted = leases.wanted()
        for partition in self._partitions:
            lease = partition.lease
            assert lease is not None
            if leases.roster_is_due(partition.member, now):
                leases.write_roster(commands, partition.member)
                written.append(RosterReply(partition, leases))
            if lease.command_sent:
                continue
            if lease.owned and now >= lease.valid_until:
                partition.lease_lost(0.0)
            elif wanted < 0 and partition.may_read:
                lease.leave()
                wanted += 1
            script = leases.next_script(partition, wanted, now)
            if script is not None:
                wanted -= not lease.owned
                leases.write(commands, partition, script)
                written.append(LeaseReply(partition, leases, script, now))

    def _write_reads(self, commands: CommandBuffer, written: list[PendingReply]) -> None:
        session = self._session
        readable = [one for one in self._partitions if one.may_read and not one.read_sent]
        self._all_asked = True
        if session.strict:
            readable = self._of_next_stream(readable)
        full = sum([one.full for one in readable])
        for partition in readable:
            after = partition.next_read
            if after is None:
                continue
            member = partition.member
            if not member.group_made:
                self._write_group(commands, written, partition)
            if partition.lease is not None and partition.last_id is None:
                commands.xinfo_groups(member.stream)
                written.append(LastDelivered(partition))
            part = max(1, session.count // (full if partition.full else len(readable)))
            wanted = part if member.sizes.plain else member.sizes.entries_for(part)
            count = min(wanted, member.page)
            write_read(commands, member, count, None, after)
            read = ReadReply(partition, count, after, more=count < part)
            written.append(read)
            if partition.lease is not None:
                commands.command(*member.scripting.call(OWN_PENDING), *member.keys, member.group, member.name)
                written.append(FenceReply(partition, read))

    def _of_next_stream(self, readable: Sequence[Partition]) -> list[Partition]:
        """Return the partitions of the stream behind the one that was asked last, and brought nothing."""
        ranks = sorted({one.rank for one in readable})
        rank = next((rank for rank in ranks if rank > self._asked_rank), ranks[0] if ranks else NO_RANK)
        self._all_asked = rank == max(one.rank for one in self._partitions)
        self._asked_rank = rank
        return [one for one in readable if one.rank == rank]

    def _write_group(self, commands: CommandBuffer, written: list[PendingReply], partition: Partition) -> None:
        member = partition.member
        positions = [(member.group, member.position()), *member.groups[1:]]
        script = None
        if (len(positions) > 1 or member.had_group) and member.scripting.allowed:
            script = MAKE_GROUPS
            tombstones = [beside_group(member.stream, "removed", name) for name, _ in positions]
            arguments = [argument for one in positions for argument in one]
            keys = (1 + len(tombstones), member.stream, *tombstones)
            commands.command(*member.scripting.call(script), *keys, int(member.had_group), *arguments)
        else:
            commands.xgroup_create(member.stream, *positions[0])
        written.append(GroupMade(partition, script))

    def _write_taking_over(
        self, asking: Asking, commands: CommandBuffer, written: list[PendingReply], *, busy: bool
    ) -> None:
        asking.found = False
        readable = [one for one in self._partitions if one.may_read and one.member.group_made]
        for partition in readable:
            if partition.takes_over and partition.replay_due:  # or that read would bring what is claimed as well
                asking.found = True
            elif partition.takes_over:
                count = min(partition.member.sizes.to_claim(self._session.count), partition.member.page)
                written.append(write_take_over(commands, partition, count, asking))
        written += asking.write(commands, readable, one_slot=not self.name[0], busy=busy)

    def _write_claims(self, commands: CommandBuffer, written: list[PendingReply], min_idle: float) -> None:
        for partition in self._partitions:
            if partition.claim_cursor is not None and partition.may_read and not partition.read_sent:
                member = partition.member
                if not member.group_made:
                    self._write_group(commands, written, partition)
                count = min(member.sizes.to_claim(self._session.count), member.page)
                written.append(write_claim(commands, partition, count, min_idle))
                if self._session.one_page:
                    return

    def _write_blocking_read(self, commands: CommandBuffer, written: list[PendingReply], wait: float) -> None:
        waiting = self._waiting()
        self._asked_rank = NO_RANK
        if not waiting:  # a lease has ended just now
            return
        if not self._at_once(waiting):
            self._turn += 1
            waiting = [waiting[self._turn % len(waiting)]]
            self._all_asked = False  # the others have to be asked after it
        member = waiting[0].member
        part = max(1, self._session.count // len(waiting))
        count = min(*(one.member.sizes.entries_for(part) for one in waiting), member.page)
        if self._session.leases is not None:  # only to be woken: what is read must be fenced
            after = {partition.member.stream: partition.last_id or "$" for partition in waiting}
            commands.xread(after, count=1, block=block_milliseconds(wait))
            self._all_asked = False
        else:
            streams = [partition.member.stream for partition in waiting]
            write_read(commands, member, count, wait, NEW, streams)
        written.append(BlockingReadReply(self._session, waiting, count, wait, more=count < part))
