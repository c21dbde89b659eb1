"""A consumer, and its sessions: one engine for streams with partitions and without, on one server or on a cluster.

A session is one call of a consumer: `run`, `consume`, `auto_claim`, or a loop over `batches`. For each node it has a
node reader (`node_reader.py`): one connection, which asks for all partitions that the node has in one write. In each
round a reader reads every partition, none of them for more than its part of a batch, so a full one does not starve the
others. A partition whose slot has moved changes readers. A reader whose connection broke ends, and the session assigns
its partitions again. A stream without partitions is one partition, without a lease.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError, MovedError, RedisError

from ...filters import Filter
from ...hooks import Hooks
from ..retry import Outage, Recovery, shared_delay
from ..scripting import Scripting
from ..server_errors import Verdict, verdict_of
from ..steps import Deliver, Flow, Pause, Refresh, Start
from ..topology import NodeMap
from .asking import Asking
from .group_member import GroupMember, StopFlag
from .in_hand import NO_CLAIMS, Claims, InHand, followed, refresh
from .leases import Leases
from .leaving import leave_group
from .node_reader import NodeReader
from .options import ConsumerOptions
from .partition_state import Partition, ReadEvents

__all__ = ["ConsumerSession", "ConsumerState", "LoopLeftError"]


_PATIENCE = 1.0  # seconds


class LoopLeftError(BaseException):
    """Ends a session whose loop over `batches` was left."""


class ConsumerState:
    """What a consumer keeps from one session to the next.

    Attributes:
        name: of the consumer.
        filter: which events it is given; None: all.
        several: whether it reads several streams.
        strict: whether a stream is read only if those before it have no events.
        hands_back: whether it hands back what it has read and not handled when it stops; and takes what others have.
        asking: what is known of the scripts that take it.
        keeps: whether one of the streams keeps what was acknowledged.
        hooks: that are told what it does; None: there are none.
        nodes: where the partitions are.
        partitions: all of them.
        by_stream: the same, by the Redis key of each.
        leases: on the partitions, if only their owner may consume them.
        sessions: how many have begun.
        has_reserve: whether something may have been read and not handed over, that the next call begins with.
    """

    def __init__(
        self, options: ConsumerOptions, nodes: NodeMap, streams: Sequence[Sequence[GroupMember]], leases: Leases | None
    ) -> None:
        ranked = [(rank, member) for rank, members in enumerate(streams) for member in members]
        members = [member for _, member in ranked]
        self.name: str = options.name
        self.filter: Filter | None = options.filter
        self.several: bool = len(streams) > 1
        self.strict: bool = options.strict and self.several
        self.hands_back: bool = options.hands_back
        self.asking: Scripting = Scripting()
        self.keeps: bool = any(member.keeps for member in members)
        self.hooks: Hooks | None = members[0].hooks
        self.nodes = nodes
        self.leases = leases
        of = leases.all if leases is not None else [None] * len(members)
        self.sessions: int = 0
        self.stopping: StopFlag = members[0].stopping
        self.at_most_once: bool = members[0].at_most_once
        self.has_reserve: bool = self.at_most_once
        first = members[0]
        outage = first.outage
        if len(members) > 1:
            outage = Outage(f"consumer {first.name} of {first.stream} and other partitions", first.hooks)
        self.partitions: list[Partition] = [
            Partition(member, lease, outage, rank) for (rank, member), lease in zip(ranked, of, strict=True)
        ]
        self.by_stream: dict[str, Partition] = {partition.member.stream: partition for partition in self.partitions}

    def replay(self) -> None:
        """A session has ended early: events may be pending that the handler has not had."""
        for partition in self.partitions:
            partition.replay()

    def clear_stop(self) -> None:
        """The session that `stop` was to end has ended."""
        self.stopping.clear()

    @property
    def deleted(self) -> int:
        """How many pending entries were not in the stream any more, so far."""
        return sum(partition.member.deleted for partition in self.partitions)

    def leave_flows(self, recovery: Recovery | None = None) -> list[tuple[str, Flow[int]]]:
        """Return what is to be run when the consumer leaves.

        For each the Redis key that it is about, and a flow that returns how many entries are pending.
        """
        leases = self.leases
        if leases is None:
            return [(one.member.stream, leave_group(one, recovery)) for one in self.partitions]
        flows = [(one.member.stream, leases.release(one, recovery)) for one in self.partitions]
        return [*flows, (self.partitions[0].member.stream, leases.leave_roster(recovery))]


class ConsumerSession:
    """One call of a consumer: its node readers, and what ends it.

    Args:
        state: of the consumer.
        count: how many events one batch has at most.
        idle: seconds without an event after which the session ends.
        once: whether it ends as well when something was handled.
        min_idle: seconds since the last delivery, at least, of the events that are taken over from other consumers;
            None: the session reads.
        one_page: it takes over one batch, and ends.
        claims: what a session that reads takes over as well, and keeps from other consumers.

    Attributes:
        one_batch: whether it hands over one batch of what it has read, and leaves the rest to the next call.
        handled: how many events were handled so far.
        error: what ends the session.
        interrupted: whether little time is left to settle what was handled: nothing is waited for any more.
        lone: whether it has one partition: then its flows run one after the other.
        filter, several, strict: what the attributes of the state with these names say.
        deletes_at_once: whether what was acknowledged has to be gone at once; else when what lies in front is handled.
        hands_back: whether it hands back what it has read and not handled, when `stop` ends it.
        claim_idle: seconds after which it takes over what others have left, as it reads; None: it does not.
        read_ahead: whether the next batch may be read while the handler works.
        in_hand: what the handler has, if that is kept from other consumers; else None.
        patience: seconds after which what waits for the handler may have been taken over by another consumer.
        robbed: whether some was.
    """

    def __init__(
        self,
        state: ConsumerState,
        count: int,
        idle: float,
        *,
        once: bool = False,
        min_idle: float | None = None,
        one_page: bool = False,
        claims: Claims = NO_CLAIMS,
    ) -> None:
        self.state = state
        state.sessions += 1
        self._number = state.sessions
        self.nodes: NodeMap = state.nodes
        self.leases: Leases | None = state.leases
        self.filter: Filter | None = state.filter
        self.several: bool = state.several
        self.strict: bool = state.strict
        self.by_stream: dict[str, Partition] = state.by_stream
        self.stopping: StopFlag = state.stopping
        self.count = count
        self.once = once
        self.min_idle = min_idle
        self.one_page: bool = one_page
        self.one_batch: bool = once or one_page
        self.claim_idle: float | None = claims.idle
        self.handled: int = 0
        self.error: BaseException | None = None
        self.interrupted: bool = False
        self.deletes_at_once: bool = once or min_idle is not None
        self.read_ahead: bool = not self.deletes_at_once
        self.hands_back: bool = state.hands_back and self.read_ahead
        self.lone: bool = len(state.partitions) == 1
        self.readers: dict[tuple[str, str], NodeReader] = {}
        for partition in state.partitions:
            partition.begin_session(claims=min_idle is not None)
        self.in_hand: InHand | None = None if claims.idle is None else InHand(self, claims)
        self.patience: float = _PATIENCE if claims.idle is None else min(_PATIENCE, claims.idle / 3)
        self.robbed: bool = False
        self._new_handled = False
        self._batches = 0  # that the handler was given
        self._idle = idle
        self._end = time.monotonic() + idle

    @property
    def superseded(self) -> bool:
        """Whether a later session has begun: then nothing of this one may be settled any more."""
        return self.state.sessions != self._number

    def new_asking(self) -> Asking:
        """Return what asks one node whether there is something to take over."""
        first = self.state.partitions[0].member
        return Asking(first, self.state.asking, takes_back=self.hands_back, claim_idle=self.claim_idle)

    def begin(self) -> Flow[None]:
        """Return the session's first flow, which starts the others."""
        return self.assign(self.state.partitions, None)

    # ---- what was handled ----

    @property
    def has_enough(self) -> bool:
        """Whether it was to handle events once, and has.

        Of one partition, it hands over pending entries, and new events after these. Of several, a batch in all.
        """
        if not self.once:
            return False
        return self._new_handled or self._batches >= 2 if self.lone else self.handled >= self.count

    def were_handled(self, parts: Sequence[ReadEvents], given: int) -> None:
        """The handler is done with a batch: it is acknowledged with the next write.

        Args:
            parts: of the batch, with the events that were filtered out.
            given: how many events the handler was given.
        """
        self.handled += given
        if self.once and given:
            self._batches += 1
        for part in parts:
            if part.new and given:
                self._new_handled = True
            part.partition.handled(part.events, pending=part.pending)

    def passing(self, parts: Sequence[ReadEvents]) -> list[Any]:
        """Return those events of a batch that the handler is to be given, if there is a filter."""
        assert self.filter is not None
        matching = self.state.partitions[0].member.implementation.matching
        return [event for part in parts for event in matching(part.events, self.filter.tests)]

    # ---- how it ends ----

    def fail(self, error: BaseException) -> None:
        """End the session with that error, unless there is one already. An interruption is told in any case."""
        if self.error is None or (isinstance(self.error, LoopLeftError) and not isinstance(error, Exception)):
            self.error = error

    def interrupt(self, error: BaseException) -> None:
        """End the session with that error at once: Ctrl-C, for example."""
        self.fail(error)
        self.interrupted = True

    def end(self) -> None:
        """The session is over: it does not wait for an outage to pass any more."""
        for partition in self.state.partitions:
            partition.backoff.end(over=False)

    def raise_error(self) -> None:
        """Raise what has ended the session, unless it ended by itself, or because the loop over it was left."""
        error, self.error = self.error, None  # whose traceback has frames that know the session
        if error is not None and not isinstance(error, LoopLeftError):
            try:
                raise error
            finally:
                del error

    def leave_loop(self) -> None:
        """End the session, because the loop over its batches was left."""
        self.fail(LoopLeftError())

    def refreshing(self, step: Deliver) -> list[tuple[Flow[None], str]]:
        """What is to be done before the handler is given a batch that has waited: flows, and the Redis key of each."""
        if not step.pending or self.leases is not None:
            return []
        by_stream: dict[str, list[Any]] = {}
        for event in step.events:
            by_stream.setdefault(event.stream, []).append(event)
        flows = []
        for key, events in by_stream.items():
            member = self.by_stream[key].member
            flows.append((followed(member, partial(refresh, self, member, events)), key))
        return flows

    def events_found(self) -> None:
        """A read has brought events: the session is not idle."""
        if self._idle < math.inf:
            self._end = time.monotonic() + self._idle

    def may_deliver(self, events: Sequence[Any]) -> bool:
        """Whether a batch that had to wait is in time: the session goes on, and the leases still hold."""
        if self.error is not None or (self.stopping.ends_delivery and not self.state.at_most_once):
            return False
        return self.leases is None or all(
            lease.valid
            for stream in {event.stream for event in events}
            if (lease := self.by_stream[stream].lease) is not None
        )

    @property
    def ran_out(self) -> bool:
        """Whether its time is over, although a read has brought events: all of them were filtered out."""
        return self._idle > 0 and time.monotonic() >= self._end

    @property
    def ending(self) -> bool:
        """Whether node readers are to settle what was handled, and to end."""
        return self.error is not None or self.stopping.is_set()

    @property
    def drains(self) -> bool:
        """Whether it is to end, and hands over before what was read."""
        return self.error is None and self.stopping.is_set() and not self.stopping.ends_delivery

    @property
    def time_left(self) -> float:
        """Seconds for which to wait for events."""
        return 0.0 if self.once and self.handled else self._end - time.monotonic()

    # ---- which reader reads what ----

    def assign(self, partitions: Sequence[Partition], error: Exception | None) -> Flow[None]:
        """Assign partitions to node readers. `error`: why they have none."""
        try:
            yield from self._assign(partitions, error)
        except GeneratorExit:
            raise
        except BaseException as failure:
            self.fail(failure)

    def _assign(self, partitions: Sequence[Partition], error: Exception | None) -> Flow[None]:
        unassigned = list(partitions)
        if self.interrupted and error is not None:
            return
        if error is None and any(self.nodes.place(one.member.stream) is None for one in unassigned):
            try:
                yield Refresh(self.nodes.generation)  # this engine has not asked yet
            except RedisError as failure:
                error = failure
        while unassigned := [one for one in unassigned if one.unsettled or not self.ending]:
            generation = self.nodes.generation
            if error is not None:
                if (pause := self._pause(unassigned, error)) > 0:
                    yield Pause(pause)
                try:
                    if verdict_of(error) is not Verdict.REDIRECT or isinstance(error, MovedError):
                        yield Refresh(generation)
                except RedisError as failure:
                    error = failure
                    continue
            error = ConnectionError("no node of the cluster has the slot")
            without_node = []
            new: list[NodeReader] = []
            for partition in unassigned:
                node = partition.ask_redirect or self.nodes.place(partition.member.stream)
                if node is None:
                    without_node.append(partition)
                    continue
                name = (node, partition.member.stream if partition.ask_redirect else "")
                if name not in self.readers:
                    self.readers[name] = NodeReader(self, name)
                    new.append(self.readers[name])
                self.readers[name].inbox.append(partition)
            for reader in new:
                yield Start(reader.name, reader.run())
            unassigned = without_node

    def _pause(self, partitions: Sequence[Partition], error: Exception) -> float:
        """Return how many seconds to wait before the next attempt.

        Raises:
            redis.RedisError: the outage, if it has lasted for too long.
        """
        backoffs = [partition.backoff for partition in partitions]
        if self.error is not None and any(backoff.failures for backoff in backoffs):
            raise error  # the session has failed, and this was the second attempt to settle
        delay = shared_delay(backoffs, error)
        return 0.0 if self.error is not None else delay
