"""Consuming a stream that is several keys: its partitions, on one server or on the nodes of a cluster.

For each node there is a lane: one connection, which asks for all partitions that the node has, in one write. A
partition whose slot has moved changes lanes; a lane whose connection broke ends, and its partitions find new ones. In
each round every partition of a lane is read, none of them for more than its part of a batch, so a full one does not
starve others. When nothing comes, a lane waits at the server (BLOCK): at all of its partitions on a plain server, where
one command can read them, and by turns in a cluster.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from redis.exceptions import AskError, ConnectionError, MovedError, RedisError, ResponseError

from ..errors import LeaseLostError
from ..protocol.interface import CommandBuffer, ErrorReply, EventBatch, ReplyReader
from ..scripts import OWN_PENDING, RELEASE_LEASE, RENEW_LEASE, TAKE_LEASE, Script
from .acknowledge import Acknowledgements
from .claim import cleanup
from .leases import Lease, Leases, answered, is_fenced
from .membership import GROUP, GROUP_LOST, Membership
from .recovery import FINAL, OUTAGES, Outage, Recovery, ServerNotReadyError, checked
from .replies import NUMBER, OK
from .scripting import ScriptRefusedError
from .steps import Deliver, Flow, Pause, Receive, Refresh, Send, Start, any_reply

__all__ = ["Crew", "Lane", "Partition"]

_SLICE = 1.0  # seconds that one read blocks at most, so that stop() is soon noticed
_FIRST_TURN = 0.005  # seconds to wait at one of several partitions; twice as long when nothing came
_LONGEST_TURN = 0.1
_REDIRECTIONS = 5  # in a row that are followed without a pause
_AGAIN = 0.02  # seconds


class NodeMap(Protocol):
    """What is to be known of a pool, of one server or of a cluster."""

    @property
    def generation(self) -> int: ...
    def place(self, key: str) -> str | None: ...
    def redirected(self, error: AskError, asked: str) -> str: ...


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
        last_id: of the last event that was read.
        asked_at: the node that has the key already, though not yet its slot.
        lease: on it, if only its owner may consume it.
    """

    def __init__(self, member: Membership, lease: Lease | None) -> None:
        self.member = member
        self.lease = lease
        self.handled: list[Any] = []
        self.read_once: list[Any] = []
        self.deleted: list[str] = []
        self.in_hand = 0
        self.unconfirmed = 0
        self.reading = False
        self.hot = False
        self.last_id = "$"
        self.asked_at: str | None = None
        self.failures = 0
        self.redirections = 0
        self.failing_since: float = 0.0

    @property
    def unsettled(self) -> bool:
        """Whether something of it was handled, and the server does not know yet."""
        return bool(self.handled or self.read_once or self.unconfirmed)

    @property
    def is_mine(self) -> bool:
        """Whether this consumer may read it."""
        return self.lease is None or (self.lease.valid and not self.lease.leaving)

    def put_back(self, events: Sequence[Any], *, pending: bool) -> None:
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


class Found(NamedTuple):
    """What was read.

    Attributes:
        pending: false for events that were read at most once.
    """

    partition: Partition
    events: list[Any]
    pending: bool

    def put_back(self) -> None:
        """Nobody was given it."""
        self.partition.put_back(self.events, pending=self.pending)


class Crew:
    """The partitions of one consumer, and the lanes that read them.

    Attributes:
        count: events in one batch at most.
        handled: events so far, in this call.
        error: what ends the call.
    """

    def __init__(self, nodes: NodeMap, members: Sequence[Membership], leases: Leases | None) -> None:
        self.nodes = nodes
        self.leases = leases
        of = leases.all if leases is not None else [None] * len(members)
        self.partitions: list[Partition] = [Partition(member, lease) for member, lease in zip(members, of, strict=True)]
        self.by_key: dict[str, Partition] = {partition.member.stream: partition for partition in self.partitions}
        self.recovery: Recovery = members[0].recovery
        self.stopping: threading.Event = members[0].stopping
        self.outage: Outage = Outage(f"consumer {members[0].name} of {members[0].stream} and other partitions")
        self.lanes: dict[tuple[str, str], Lane] = {}
        self.count: int = 1
        self.once: bool = False
        self.handled: int = 0
        self.error: BaseException | None = None
        self._idle = math.inf
        self._end = math.inf

    def begin(self, count: int, idle: float, *, once: bool) -> Flow[None]:
        """The first flow of a call; it starts the others. Nothing of the crew changes before it runs.

        Args:
            count: events in one batch at most.
            idle: seconds without an event after which the call ends.
            once: it ends as well when something was handled.
        """
        self.count = count
        self.once = once
        self.handled = 0
        self.error = None
        self.lanes = {}
        self._idle = idle
        self._end = time.monotonic() + idle
        yield from self.house(self.partitions, None)

    def farewells(self) -> list[tuple[str, Flow[int]]]:
        """What is to be run when the consumer leaves: for each a key, and a flow that tells how many are pending."""
        leases = self.leases
        if leases is None:
            return [(one.member.stream, cleanup(one.member)) for one in self.partitions]
        flows = [(one.member.stream, leases.release(one.member, one.lease)) for one in self.partitions if one.lease]
        return [*flows, (self.partitions[0].member.stream, leases.leave())]

    def fail(self, error: BaseException) -> None:
        """End the call with that error, unless there is one already."""
        if self.error is None:
            self.error = error

    def found(self) -> None:
        """There were events: nobody is idle."""
        self._end = time.monotonic() + self._idle

    def may_deliver(self, events: Sequence[Any]) -> bool:
        """Whether the leases still hold, after a batch had to wait for its turn."""
        return self.leases is None or all(
            lease.valid
            for stream in {event.stream for event in events}
            if (lease := self.by_key[stream].lease) is not None
        )

    @property
    def ending(self) -> bool:
        """Whether lanes are to settle what was handled, and to end."""
        return self.error is not None or self.stopping.is_set()

    @property
    def time_left(self) -> float:
        """Seconds for which to wait for events."""
        return 0.0 if self.once and self.handled else self._end - time.monotonic()

    # ---- who reads what ----

    def house(self, partitions: Sequence[Partition], error: Exception | None) -> Flow[None]:
        """Find lanes for partitions. `error`: why they have none."""
        try:
            yield from self._house(partitions, error)
        except BaseException as failure:
            self.fail(failure)

    def _house(self, partitions: Sequence[Partition], error: Exception | None) -> Flow[None]:
        homeless = list(partitions)
        while homeless:
            generation = self.nodes.generation
            if error is not None:
                if (pause := self._pause(homeless, error)) > 0:
                    yield Pause(pause)
                try:
                    if not isinstance(error, AskError) or isinstance(error, MovedError):
                        yield Refresh(generation)
                except RedisError as failure:
                    error = failure
                    continue
            error = ConnectionError("no node of the cluster has the slot")
            without = []
            new: list[Lane] = []
            for partition in homeless:
                if self.ending and not partition.unsettled:
                    continue
                node = partition.asked_at or self.nodes.place(partition.member.stream)
                if node is None:
                    without.append(partition)
                    continue
                name = (node, partition.member.stream if partition.asked_at else "")
                if name not in self.lanes:
                    self.lanes[name] = Lane(self, name)
                    new.append(self.lanes[name])
                self.lanes[name].inbox.append(partition)
            for lane in new:
                yield Start(lane.name, lane.run())
            homeless = without

    def _pause(self, partitions: Sequence[Partition], error: Exception) -> float:
        """Seconds to wait before the next try.

        Raises:
            redis.RedisError: the outage, if it has lasted for too long.
        """
        if isinstance(error, AskError):
            for partition in partitions:
                partition.redirections += 1
            if all(partition.redirections <= _REDIRECTIONS for partition in partitions):
                return 0.0
        now = time.monotonic()
        if isinstance(error, FINAL) or (self.error is not None and any(one.failures for one in partitions)):
            raise error  # waiting would not cure it; or the call has failed, and this was the second try to settle
        for partition in partitions:
            if not partition.failures:
                partition.failing_since = now
                self.outage.met(error, self.recovery)
            partition.failures += 1
        delay = self.recovery.delay(max(partition.failures for partition in partitions) - 1)
        if now + delay > min(partition.failing_since for partition in partitions) + self.recovery.deadline:
            raise error
        return 0.0 if self.error is not None else delay

    def recovered(self, partition: Partition) -> None:
        """A node has answered for a partition."""
        partition.redirections = 0
        if partition.failures:
            self.outage.left(partition.failures, over=True)
            partition.failures = 0


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
        self._under_way: deque[_Expected] = deque()
        self._leaving: list[tuple[Partition, Exception]] = []
        self._empty = 0  # rounds in a row that brought nothing
        self._polled = False  # in the last of them all partitions were asked
        self._turn = 0

    # ---- the lane's life ----

    def run(self) -> Flow[None]:
        """Read, hand over, acknowledge, until the call ends or no partition is left."""
        try:
            yield from self._run()
        except Exception as error:
            self._crew.fail(error)
        finally:
            self._crew.lanes.pop(self.name, None)

    def _run(self) -> Flow[None]:
        crew = self._crew
        while True:
            self._partitions += self.inbox
            self.inbox = []
            if not self._partitions:
                return
            try:
                if self._over():
                    yield from self._wind_up()
                else:
                    yield from self._round()
            except GeneratorExit:
                self._broken()
                raise
            except _HandlerFailedError as failure:
                crew.fail(failure.error)
            except OUTAGES as failure:
                error = failure.error if isinstance(failure, ServerNotReadyError) else failure
                self._broken()
                self._leaving += [(partition, error) for partition in self._partitions]
                self._partitions = []
            except BaseException as failure:  # Ctrl-C, for one: what was handled is acknowledged all the same
                crew.fail(failure)
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
        while self._leaving:
            error = self._leaving[0][1]
            leaving = [partition for partition, why in self._leaving if type(why) is type(error)]
            for partition, why in self._leaving:
                if type(why) is type(error):
                    partition.asked_at = None
                    if isinstance(why, AskError):
                        target = self._crew.nodes.redirected(why, self.name[0])
                        partition.asked_at = None if isinstance(why, MovedError) else target
            self._leaving = [(partition, why) for partition, why in self._leaving if type(why) is not type(error)]
            yield Start(None, self._crew.house(leaving, error))

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
                yield Pause(min(_LONGEST_TURN, max(_AGAIN, self._crew.time_left)))
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
                one.put_back()
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
                        part.put_back()
                    mine = []
                handled = True
            except BaseException as error:
                for part in mine:
                    part.partition.member.replaying = True
                if isinstance(error, GeneratorExit):
                    raise
                raise _HandlerFailedError(error) from None
            finally:
                for part in piece:
                    part.partition.in_hand -= len(part.events)
                for part in () if handled else [part for left in pieces for part in left]:
                    part.partition.in_hand -= len(part.events)
                    part.put_back()
            for part in mine:
                self._crew.handled += len(part.events)
                done = part.partition.handled if part.pending else part.partition.read_once
                done += part.events

    def _may_deliver(self, part: Found) -> bool:
        lease = part.partition.lease
        if lease is None or lease.valid:
            return True
        part.put_back()
        return False

    def _wind_up(self) -> Flow[None]:
        """Take the replies that are under way, and acknowledge what was handled."""
        if self._under_way:
            for one in (yield from self._receive()):
                one.put_back()
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
        longest = _SLICE if self._at_once(waiting) else min(_LONGEST_TURN, _FIRST_TURN * 2 ** min(self._empty, 10))
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
        expected: list[_Expected] = []
        for partition in self._partitions:
            yield from self._write_acknowledgements(commands, expected, partition)
        if self._crew.leases is not None and reads:
            self._write_leases(self._crew.leases, commands, expected)
        if wait is not None:
            self._write_waiting(commands, expected, wait)
        elif reads:
            self._write_reads(commands, expected)
        if not commands.commands:
            return
        behind = bool(self._under_way)
        self._under_way += expected
        yield Send(commands, behind)

    def _write_acknowledgements(
        self, commands: CommandBuffer, expected: list[_Expected], partition: Partition
    ) -> Flow[None]:
        for pending, events in ((True, partition.handled), (False, partition.read_once)):
            if events:
                acknowledgements = Acknowledgements(partition.member, events, pending=pending)
                yield from acknowledgements.write(commands)
                expected.append(_Acknowledged(partition, acknowledgements, pending=pending))
        partition.handled = []
        partition.read_once = []
        if partition.deleted:
            commands.xack(partition.member.stream, GROUP, partition.deleted)
            expected.append(_Forgotten(partition))
            partition.member.deleted += len(partition.deleted)
            partition.deleted = []

    def _write_leases(self, leases: Leases, commands: CommandBuffer, expected: list[_Expected]) -> None:
        now = time.monotonic()
        wanted = leases.wanted()
        for partition in self._partitions:
            lease = partition.lease
            assert lease is not None
            if leases.roster_is_due(partition.member, now):
                leases.write_roster(commands, partition.member)
                expected.append(_Roster(partition, leases))
            if lease.asked:
                continue
            if lease.owned and now >= lease.valid_until:
                partition.lost(0.0)
            if lease.owned and wanted < 0 and not lease.leaving:
                lease.leaving = True
                wanted += 1
            if lease.leaving and not (partition.in_hand or partition.unsettled or partition.reading):
                leases.write(commands, partition.member, lease, RELEASE_LEASE)
                expected.append(_Leased(partition, leases, RELEASE_LEASE, now))
                continue
            if lease.owned and now >= lease.renew_at:
                leases.write(commands, partition.member, lease, RENEW_LEASE)
                expected.append(_Leased(partition, leases, RENEW_LEASE, now))
            elif not lease.owned and wanted > 0 and now >= lease.try_at:
                wanted -= 1
                leases.write(commands, partition.member, lease, TAKE_LEASE)
                expected.append(_Leased(partition, leases, TAKE_LEASE, now))

    def _write_reads(self, commands: CommandBuffer, expected: list[_Expected]) -> None:
        readable = [partition for partition in self._partitions if partition.is_mine and not partition.reading]
        hot = sum(partition.hot for partition in readable)
        for partition in readable:
            member = partition.member
            if member.replaying and (partition.in_hand or partition.unsettled):
                continue  # what is in hand would come again
            if not member.group_made:
                commands.xgroup_create(member.stream, GROUP, "0")
                expected.append(_GroupMade(partition))
            share = max(1, self._crew.count // (hot if partition.hot else len(readable)))
            count = min(share, member.page)
            after = "0" if member.replaying else ">"
            noack = member.at_most_once and after == ">"
            commands.xreadgroup(GROUP, member.name, {member.stream: after}, count=count, block=None, noack=noack)
            partition.reading = True
            read = _Read(partition, count, after)
            expected.append(read)
            if partition.lease is not None:
                fence = partition.lease.fence
                script = member.scripting.call(OWN_PENDING)
                commands.command(*script, 2, member.stream, fence.lease, fence.owner, GROUP, member.name)
                expected.append(_Fenced(partition, read, partition.in_hand))
        self._polled = True

    def _write_waiting(self, commands: CommandBuffer, expected: list[_Expected], wait: float) -> None:
        waiting = self._waiting()
        if not waiting:  # a lease has ended just now
            return
        if not self._at_once(waiting):
            self._turn += 1
            waiting = [waiting[self._turn % len(waiting)]]
            self._polled = False  # the others have to be asked after it
        milliseconds = max(1, math.ceil(wait * 1000))
        member = waiting[0].member
        if self._crew.leases is not None:  # only to be woken: what is read must be fenced
            after = {partition.member.stream: partition.last_id for partition in waiting}
            commands.xread(after, count=1, block=milliseconds)
        else:
            after = {partition.member.stream: ">" for partition in waiting}
            count = min(max(1, self._crew.count // len(waiting)), member.page)
            commands.xreadgroup(GROUP, member.name, after, count=count, block=milliseconds, noack=member.at_most_once)
        expected.append(_Waited(self._crew, waiting, wait))

    # ---- receiving ----

    def _receive(self) -> Flow[list[Found]]:
        """Take all replies that are under way. Returns what was read."""
        found: list[Found] = []
        kinds = {type(expected) for expected in self._under_way}
        replaying = any(isinstance(expected, _Read) and expected.after == "0" for expected in self._under_way)
        try:
            while self._under_way:
                expected = self._under_way[0]
                try:
                    found += yield from expected.receive()
                except ServerNotReadyError as error:
                    expected.lost()
                    for partition in expected.partitions:
                        self._lose(partition, error.error)
                except ResponseError as error:
                    expected.lost()
                    self._crew.fail(error)
                else:
                    for partition in expected.partitions:
                        self._crew.recovered(partition)
                self._under_way.popleft()
        except BaseException:
            for one in found:
                one.put_back()
            raise
        if kinds & {_Leased, _Roster}:  # who owns what has changed, perhaps
            self._empty = min(self._empty, 1)
            self._polled = False
        elif not found and kinds & {_Read, _Waited} and not replaying:
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
    return piece[0].events if len(piece) == 1 else [event for part in piece for event in part.events]


class _HandlerFailedError(Exception):
    """Tells what a handler raised from what a connection raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


# ---- what is under way --------------------------------------------------------------------------------


class _Expected:
    """A reply that is to come, or several.

    Attributes:
        partitions: that it is about.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.partitions: Sequence[Partition] = (partition,)

    def receive(self) -> Flow[Sequence[Found]]:
        """Take it. What the server says that passes is raised; what was read is returned."""
        raise NotImplementedError

    def lost(self) -> None:
        """It will not come, or it is an error."""


class _Acknowledged(_Expected):
    def __init__(self, partition: Partition, acknowledgements: Acknowledgements, *, pending: bool) -> None:
        super().__init__(partition)
        self._acknowledgements = acknowledgements
        self._pending = pending
        partition.unconfirmed += 1

    def _again(self, events: list[Any]) -> None:
        partition = self.partition
        partition.unconfirmed -= 1
        if self._pending:
            partition.handled = events + partition.handled
        else:
            partition.read_once = events + partition.read_once

    def receive(self) -> Flow[Sequence[Found]]:
        try:
            again = yield from self._acknowledgements.receive()
        except LeaseLostError:
            self.partition.unconfirmed -= 1
            self.partition.lost(_AGAIN)
        else:
            self._again(again)
        return ()

    def lost(self) -> None:
        self._again(list(self._acknowledgements.events))


class _Forgotten(_Expected):
    def receive(self) -> Flow[Sequence[Found]]:
        checked((yield Receive(NUMBER)))
        return ()


class _GroupMade(_Expected):
    def receive(self) -> Flow[Sequence[Found]]:
        reply = yield Receive(OK)
        if not (isinstance(reply, ErrorReply) and reply.code == "BUSYGROUP"):
            checked(reply)
        self.partition.member.group_made = True
        return ()


class _Read(_Expected):
    def __init__(self, partition: Partition, count: int, after: str) -> None:
        super().__init__(partition)
        self._count = count
        self.after = after
        self.events: list[Any] = []

    def receive(self) -> Flow[Sequence[Found]]:
        member = self.partition.member

        def take(reader: ReplyReader) -> Any:
            return reader.read_streams(member.acknowledge)

        reply = yield Receive(take)
        self.partition.reading = False
        if isinstance(reply, ErrorReply) and reply.code in GROUP_LOST:
            member.group_made = False
            return ()
        batch: EventBatch = checked(reply)
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


class _Fenced(_Expected):
    """Whether a read was the owner's, and the only one: then what is pending is what was read, and nothing else."""

    def __init__(self, partition: Partition, read: _Read, in_hand: int) -> None:
        super().__init__(partition)
        self._read = read
        self._in_hand = in_hand

    def receive(self) -> Flow[Sequence[Found]]:
        partition, events = self.partition, self._read.events
        reply = yield Receive(any_reply)
        if is_fenced(reply):
            partition.lost(_AGAIN)
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
        partition.last_id = events[-1].id
        return (Found(partition, events, self._read.after == "0" or not partition.member.at_most_once),)

    def lost(self) -> None:
        self.partition.member.replaying = True


class _Waited(_Expected):
    def __init__(self, crew: Crew, waiting: Sequence[Partition], wait: float) -> None:
        super().__init__(waiting[0])
        self.partitions = waiting
        self._crew = crew
        self._wait = wait

    def receive(self) -> Flow[Sequence[Found]]:
        acknowledge = self.partition.member.acknowledge  # all have the same

        def take(reader: ReplyReader) -> Any:
            return reader.read_streams(acknowledge)

        reply = yield Receive(take, self._wait)
        if isinstance(reply, ErrorReply) and reply.code in GROUP_LOST:
            for partition in self.partitions:
                partition.member.group_made = False
            return ()
        batch: EventBatch = checked(reply)
        if self._crew.leases is not None:
            return ()
        found: dict[str, list[Any]] = {}
        for event in batch.events:
            found.setdefault(event.stream, []).append(event)
        partitions = {stream: self._crew.by_key[stream] for stream in found}
        return [
            Found(partition, found[stream], not partition.member.at_most_once)
            for stream, partition in partitions.items()
        ]

    def lost(self) -> None:
        for partition in self.partitions:
            partition.member.replaying = True


class _Roster(_Expected):
    def __init__(self, partition: Partition, leases: Leases) -> None:
        super().__init__(partition)
        self._leases = leases

    def receive(self) -> Flow[Sequence[Found]]:
        self._leases.take_roster(self.partition.member, (yield Receive(any_reply)))
        return ()


class _Leased(_Expected):
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
            partition.lost(_AGAIN)
            return ()
        try:
            done = answered(partition.member, self._script, reply)
        except ScriptRefusedError:
            return ()
        if self._script is RELEASE_LEASE:
            lease.gone(2 * leases.interval)
        elif not done:
            lease.try_at = time.monotonic() + leases.interval
        else:
            if not lease.owned:
                partition.member.replaying = True  # what was pending for the owner before goes first
            lease.granted(self._sent_at, leases.seconds)
        return ()

    def lost(self) -> None:
        assert self.partition.lease is not None
        self.partition.lease.asked = False
