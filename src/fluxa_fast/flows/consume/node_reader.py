"""One connection to a node, and the partitions that are read over it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import AskError, MovedError, ResponseError

from ...protocol.interface import CommandBuffer
from ...scripts import OWN_PENDING, RELEASE_LEASE, RENEW_LEASE, TAKE_LEASE
from ...shared.handlers import HandlerFailedError
from ..retry import OUTAGES, ServerNotReadyError
from ..steps import Deliver, Disconnect, Flow, Pause, Send, Start
from .acknowledge import Acknowledgements, joined
from .group_member import GROUP
from .in_flight import (
    AGAIN,
    Acknowledged,
    Expected,
    Fenced,
    Forgotten,
    GroupMade,
    LastDelivered,
    Leased,
    Read,
    Roster,
    Waited,
)
from .leases import Leases
from .partition_state import Found, Partition
from .reading import SLICE, blocking, write_read

if TYPE_CHECKING:
    from .session import Crew

__all__ = ["Lane"]

_FIRST_TURN = 0.005  # seconds to wait at one of several partitions; twice as long when nothing came
_LONGEST_TURN = 0.1


class Lane:
    """One connection, and the partitions that are read over it.

    Attributes:
        name: the node; and the key that it is asked for though it has not got its slot yet.
        inbox: partitions that are to be read as well.
    """

    def __init__(self, crew: Crew, name: tuple[str, str]) -> None:
        self.inbox: list[Partition] = []
        self._crew = crew
        self.name = name
        self._partitions: list[Partition] = []
        self._under_way: deque[Expected] = deque()
        self._leaving: list[tuple[Partition, Exception]] = []
        self._empty = 0  # rounds in a row that brought nothing
        self._polled = False  # in the last of them all partitions were asked
        self._turn = 0

    # ---- the lane's life ----

    def run(self) -> Flow[None]:
        """Read, hand over, acknowledge, until the call ends or no partition is left."""
        try:
            yield from self._run()
        except GeneratorExit:
            raise
        except BaseException as error:  # an interruption may come between any two lines
            self._crew.fail(error)
        finally:
            if self._crew.lanes.get(self.name) is self:
                del self._crew.lanes[self.name]

    def _run(self) -> Flow[None]:
        crew = self._crew
        while True:
            self._partitions += self.inbox
            self.inbox = []
            if not self._partitions:
                return
            over = self._over()
            try:
                if over:
                    yield from self._wind_up()
                else:
                    yield from self._round()
            except GeneratorExit:
                raise
            except HandlerFailedError as failure:
                crew.fail(failure.error)
            except OUTAGES as failure:
                error = failure.error if isinstance(failure, ServerNotReadyError) else failure
                self._broken()
                self._leaving += [(partition, error) for partition in self._partitions]
                self._partitions = []
            except BaseException as failure:  # Ctrl-C, for one: what was handled is acknowledged all the same
                crew.fail(failure)
                self._broken()
                if over:  # that was the try to settle: what is left is delivered again
                    return
                yield Disconnect()
            yield from self._rehouse()

    def _over(self) -> bool:
        crew = self._crew
        if crew.ending:
            return True
        if self._empty == 0 or any(partition.member.replaying and partition.is_mine for partition in self._partitions):
            return crew.once and crew.handled >= crew.count
        return crew.time_left <= 0

    def _rehouse(self) -> Flow[None]:
        """Send away those that were redirected, or that the node can't serve now; each kind of error by itself."""
        by_kind: dict[type[Exception], list[tuple[Partition, Exception]]] = {}
        for partition, error in self._leaving:
            partition.asked_at = self._asked_at(error)
            by_kind.setdefault(type(error), []).append((partition, error))
        self._leaving = []
        for leaving in by_kind.values():
            yield Start(None, self._crew.house([partition for partition, _ in leaving], leaving[0][1]))

    def _asked_at(self, error: Exception) -> str | None:
        """The node that has a key already, if that is what the error says."""
        if not isinstance(error, AskError):
            return None
        target = self._crew.nodes.redirected(error, self.name[0])
        return None if isinstance(error, MovedError) else target

    def _lose(self, partition: Partition, error: Exception) -> None:
        if partition in self._partitions:
            self._partitions.remove(partition)
            self._leaving.append((partition, error))

    def _broken(self) -> None:
        """Nothing more comes over this connection."""
        while self._under_way:
            self._under_way.popleft().lost()

    # ---- rounds ----

    def _round(self) -> Flow[None]:
        found = self._left_over()
        if not found:
            if not self._under_way:
                yield from self._write(self._wait_time())
            if not self._under_way:
                self._empty += self._crew.leases is None or self._crew.leases.share is not None
                yield Pause(min(_LONGEST_TURN, max(AGAIN, self._crew.time_left)))
                return
            found = yield from self._receive()
        if not found:
            return
        self._empty = 0
        self._crew.found()
        for one in found:
            one.partition.in_hand += len(one.events)
        try:
            if not self._crew.once and any(one.partition.hot for one in found):
                yield from self._write(None)  # so that the server reads while the handler works
        except BaseException:
            for one in found:
                one.partition.in_hand -= len(one.events)
                one.requeue()
            raise
        yield from self._deliver(found)

    def _left_over(self) -> list[Found]:
        """What was read at most once, and nobody was given."""
        return [
            Found(partition, partition.member.take_in_hand(), pending=False)
            for partition in self._partitions
            if partition.member.in_hand
        ]

    def _deliver(self, found: Sequence[Found]) -> Flow[None]:
        pieces = deque(_pieces(found, self._crew.count))
        while pieces:
            piece = pieces.popleft()
            handled = False
            mine: list[Found] = []
            try:
                mine = [part for part in piece if self._may_deliver(part)]
                if mine and (yield Deliver(_joined(mine))) is False:
                    for part in mine:
                        part.requeue()
                    mine = []
                handled = True
            except BaseException as error:
                for part in mine:
                    part.partition.member.replaying = True
                if isinstance(error, GeneratorExit):
                    raise
                raise HandlerFailedError(error) from None
            finally:
                for part in piece:
                    part.partition.in_hand -= len(part.events)
                for part in () if handled else [part for left in pieces for part in left]:
                    part.partition.in_hand -= len(part.events)
                    part.requeue()
            for part in mine:
                self._crew.handled += len(part.events)
                one = part.partition
                if part.pending:
                    one.handled = joined(one.handled, part.events)
                else:
                    one.read_once = joined(one.read_once, part.events)

    def _may_deliver(self, part: Found) -> bool:
        lease = part.partition.lease
        stopped = part.pending and self._crew.stopping.is_set()
        if not stopped and (lease is None or lease.valid):
            return True
        part.requeue()
        return False

    def _wind_up(self) -> Flow[None]:
        """Take the replies that are under way, and acknowledge what was handled."""
        if self._under_way:
            for one in (yield from self._receive()):
                one.requeue()
        while any(partition.handled or partition.read_once for partition in self._partitions):
            yield from self._write(None, reads=False)
            yield from self._receive()
        self._partitions = []

    # ---- writing ----

    def _wait_time(self) -> float | None:
        """Seconds to wait at the server; None: just ask."""
        waiting = self._waiting()
        left = self._crew.time_left
        if not self._empty or not waiting or left <= 0 or not self._polled:
            return None
        if any(one.member.replaying or not one.member.group_made or one.member.in_hand for one in waiting):
            return None
        longest = SLICE if self._at_once(waiting) else min(_LONGEST_TURN, _FIRST_TURN * 2 ** min(self._empty, 10))
        if self._crew.leases is not None:
            longest = min(longest, self._crew.leases.interval)
        return min(left, longest)

    def _waiting(self) -> list[Partition]:
        return [partition for partition in self._partitions if partition.is_mine]

    def _at_once(self, waiting: Sequence[Partition]) -> bool:
        """Whether one command can wait at all of them."""
        return len(waiting) == 1 or not self.name[0]

    def _write(self, wait: float | None, *, reads: bool = True) -> Flow[None]:
        """One write for all partitions of the node."""
        commands = self._partitions[0].member.commands()
        expected: list[Expected] = []
        for partition in self._partitions:
            yield from self._write_acknowledgements(commands, expected, partition)
        if self._crew.leases is not None and reads:
            self._write_leases(self._crew.leases, commands, expected)
        if wait is not None:
            self._write_waiting(commands, expected, wait)
        elif reads:
            self._write_reads(commands, expected)
        behind = bool(self._under_way)
        self._under_way += expected
        if commands.command_count:
            yield Send(commands, behind)

    def _write_acknowledgements(
        self, commands: CommandBuffer, expected: list[Expected], partition: Partition
    ) -> Flow[None]:
        for pending, events in ((True, partition.handled), (False, partition.read_once)):
            if events:
                yield from self._write_acknowledgement(commands, expected, partition, events, pending=pending)
        if partition.is_mine and not partition.read_once and time.monotonic() >= partition.member.trim_at:
            yield from self._write_acknowledgement(commands, expected, partition, [], pending=False)
        partition.handled = []
        partition.read_once = []
        if partition.deleted:
            commands.xack(partition.member.stream, GROUP, partition.deleted)
            expected.append(Forgotten(partition))
            partition.member.deleted += len(partition.deleted)
            partition.deleted = []

    def _write_acknowledgement(
        self,
        commands: CommandBuffer,
        expected: list[Expected],
        partition: Partition,
        events: list[Any],
        *,
        pending: bool,
    ) -> Flow[None]:
        acknowledgements = Acknowledgements(partition.member, events, pending=pending)
        before = commands.command_count
        yield from acknowledgements.write(commands)
        if commands.command_count > before or events:
            expected.append(Acknowledged(partition, acknowledgements, pending=pending))

    def _write_leases(self, leases: Leases, commands: CommandBuffer, expected: list[Expected]) -> None:
        now = time.monotonic()
        wanted = leases.wanted()
        for partition in self._partitions:
            lease = partition.lease
            assert lease is not None
            if leases.roster_is_due(partition.member, now):
                leases.write_roster(commands, partition.member)
                expected.append(Roster(partition, leases))
            if lease.asked:
                continue
            if lease.owned and now >= lease.valid_until:
                partition.lost(0.0)
            if lease.owned and wanted < 0 and not lease.leaving:
                lease.leaving = True
                wanted += 1
            if lease.leaving and not (partition.in_hand or partition.unsettled or partition.reading):
                leases.write(commands, partition.member, lease, RELEASE_LEASE)
                expected.append(Leased(partition, leases, RELEASE_LEASE, now))
                continue
            if lease.owned and now >= lease.renew_at:
                leases.write(commands, partition.member, lease, RENEW_LEASE)
                expected.append(Leased(partition, leases, RENEW_LEASE, now))
            elif not lease.owned and wanted > 0 and now >= lease.try_at:
                wanted -= 1
                leases.write(commands, partition.member, lease, TAKE_LEASE)
                expected.append(Leased(partition, leases, TAKE_LEASE, now))

    def _write_reads(self, commands: CommandBuffer, expected: list[Expected]) -> None:
        readable = [partition for partition in self._partitions if partition.is_mine and not partition.reading]
        hot = sum(partition.hot for partition in readable)
        for partition in readable:
            member = partition.member
            if member.replaying and (partition.in_hand or partition.unsettled):
                continue  # what is in hand would come again
            if not member.group_made:
                commands.xgroup_create(member.stream, GROUP, "0")
                expected.append(GroupMade(partition))
            if partition.lease is not None and partition.last_id is None:
                commands.xinfo_groups(member.stream)
                expected.append(LastDelivered(partition))
            share = max(1, self._crew.count // (hot if partition.hot else len(readable)))
            count = min(share, member.page)
            after = "0" if member.replaying else ">"
            write_read(commands, member, count, None, after)
            partition.reading = True
            read = Read(partition, count, after)
            expected.append(read)
            if partition.lease is not None:
                commands.command(*member.scripting.call(OWN_PENDING), *member.keys, GROUP, member.name)
                expected.append(Fenced(partition, read, partition.in_hand))
        self._polled = True

    def _write_waiting(self, commands: CommandBuffer, expected: list[Expected], wait: float) -> None:
        waiting = self._waiting()
        if not waiting:  # a lease has ended just now
            return
        if not self._at_once(waiting):
            self._turn += 1
            waiting = [waiting[self._turn % len(waiting)]]
            self._polled = False  # the others have to be asked after it
        if self._crew.leases is not None:  # only to be woken: what is read must be fenced
            after = {partition.member.stream: partition.last_id or "$" for partition in waiting}
            commands.xread(after, count=1, block=blocking(wait))
            self._polled = False
        else:
            member = waiting[0].member
            count = min(max(1, self._crew.count // len(waiting)), member.page)
            write_read(commands, member, count, wait, streams=[partition.member.stream for partition in waiting])
        expected.append(Waited(self._crew, waiting, wait))

    # ---- receiving ----

    def _receive(self) -> Flow[list[Found]]:
        """Take all replies that are under way. Returns what was read."""
        found: list[Found] = []
        kinds = {type(expected) for expected in self._under_way}
        replaying = any(isinstance(expected, Read) and expected.after == "0" for expected in self._under_way)
        try:
            while self._under_way:
                expected = self._under_way[0]
                try:
                    found += yield from expected.receive()
                except ServerNotReadyError as error:
                    expected.lost()
                    for partition in expected.partitions:
                        self._lose(partition, error.error)
                except ResponseError as error:  # the server will not do it
                    expected.refused()
                    self._crew.fail(expected.partition.member.located(error))
                else:
                    for partition in expected.partitions:
                        if partition in self._partitions:  # else another of its replies has told of an outage
                            self._crew.recovered(partition)
                self._under_way.popleft()
        except BaseException:
            for one in found:
                one.requeue()
            raise
        if kinds & {Leased, Roster}:  # who owns what has changed, perhaps
            self._empty = min(self._empty, 1)
            self._polled = False
        elif not found and kinds & {Read, Waited} and not replaying:
            self._empty += 1
        return found


def _pieces(found: Sequence[Found], count: int) -> Iterator[list[Found]]:
    """Batches of at most `count` events; small ones of several partitions are put together."""
    piece: list[Found] = []
    room = count
    for one in found:
        at = 0
        while at < len(one.events):
            part = one._replace(events=one.events[at : at + room])
            piece.append(part)
            at += len(part.events)
            room -= len(part.events)
            if not room:
                yield piece
                piece, room = [], count
    if piece:
        yield piece


def _joined(piece: Sequence[Found]) -> list[Any]:
    """A list of its own: what a handler does to it changes nothing that is acknowledged."""
    return [event for part in piece for event in part.events]
