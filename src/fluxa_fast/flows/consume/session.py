"""Consuming a stream that is several keys: its partitions, on one server or on the nodes of a cluster.

For each node there is a lane: one connection, which asks for all partitions that the node has, in one write. A
partition whose slot has moved changes lanes; a lane whose connection broke ends, and its partitions find new ones. In
each round every partition of a lane is read, none of them for more than its part of a batch, so a full one does not
starve others. When nothing comes, a lane waits at the server (BLOCK): at all of its partitions on a plain server, where
one command can read them, and by turns in a cluster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import AskError, ConnectionError, MovedError, RedisError

from ..retry import FINAL, Outage, Recovery
from ..steps import Flow, Pause, Refresh, Start
from ..topology import NodeMap
from .claim import cleanup
from .group_member import GroupMember, StopFlag
from .leases import Leases
from .node_reader import Lane
from .partition_state import Partition

__all__ = ["Crew"]

_REDIRECTIONS = 5  # in a row that are followed without a pause


class Crew:
    """The partitions of one consumer, and the lanes that read them.

    Attributes:
        count: events in one batch at most.
        handled: events so far, in this call.
        error: what ends the call.
        turn: counts the calls.
        interrupted: little time is left to settle what was handled: nothing is waited for any more.
    """

    def __init__(self, nodes: NodeMap, members: Sequence[GroupMember], leases: Leases | None) -> None:
        self.nodes = nodes
        self.leases = leases
        of = leases.all if leases is not None else [None] * len(members)
        self.partitions: list[Partition] = [Partition(member, lease) for member, lease in zip(members, of, strict=True)]
        self.by_key: dict[str, Partition] = {partition.member.stream: partition for partition in self.partitions}
        self.recovery: Recovery = members[0].recovery
        self.stopping: StopFlag = members[0].stopping
        self.at_most_once: bool = members[0].at_most_once
        self.outage: Outage = Outage(f"consumer {members[0].name} of {members[0].stream} and other partitions")
        self.lanes: dict[tuple[str, str], Lane] = {}
        self.count: int = 1
        self.once: bool = False
        self.handled: int = 0
        self.error: BaseException | None = None
        self.interrupted: bool = False
        self.turn: int = 0
        self._idle = math.inf
        self._end = math.inf

    def begin(self, count: int, idle: float, *, once: bool) -> Flow[None]:
        """Begin a call. Returns its first flow, which starts the others.

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
        self.turn += 1
        self.interrupted = False
        for partition in self.partitions:
            partition.begin()
        self._idle = idle
        self._end = time.monotonic() + idle
        return self.house(self.partitions, None)

    def interrupt(self, error: BaseException) -> None:
        """End the call with that error at once: Ctrl-C, for one."""
        self.fail(error)
        self.interrupted = True

    def farewells(self, recovery: Recovery | None = None) -> list[tuple[str, Flow[int]]]:
        """What is to be run when the consumer leaves: for each a key, and a flow that tells how many are pending."""
        leases = self.leases
        if leases is None:
            return [(one.member.stream, cleanup(one.member, recovery)) for one in self.partitions]
        flows = [
            (one.member.stream, leases.release(one.member, one.lease, recovery)) for one in self.partitions if one.lease
        ]
        return [*flows, (self.partitions[0].member.stream, leases.leave(recovery))]

    def fail(self, error: BaseException) -> None:
        """End the call with that error, unless there is one already."""
        if self.error is None:
            self.error = error

    def found(self) -> None:
        """There were events: nobody is idle."""
        self._end = time.monotonic() + self._idle

    def may_deliver(self, events: Sequence[Any]) -> bool:
        """Whether a batch that had to wait is in time: the call goes on, and the leases still hold."""
        if self.error is not None or (self.stopping.is_set() and not self.at_most_once):
            return False
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
        if self.interrupted and error is not None:
            return
        if error is None and any(self.nodes.place(one.member.stream) is None for one in homeless):
            try:
                yield Refresh(self.nodes.generation)  # nobody has asked yet
            except RedisError as failure:
                error = failure
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
                self.outage.entered(error, self.recovery)
            partition.failures += 1
        delay = self.recovery.delay(max(partition.failures for partition in partitions) - 1)
        if now + delay > min(partition.failing_since for partition in partitions) + self.recovery.deadline:
            raise error
        return 0.0 if self.error is not None else delay

    def recovered(self, partition: Partition) -> None:
        """A node has answered for a partition."""
        partition.redirections = 0
        if partition.failures:
            self.outage.resolved(partition.failures, over=True)
            partition.failures = 0
