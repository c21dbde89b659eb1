"""One connection to a node, and the partitions that are read over it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from ...shared.handlers import HandlerFailedError
from ..retry import OUTAGES, ServerNotReadyError, outage_of
from ..steps import Arrived, Deliver, Disconnect, Flow, Pause, Send, Start
from ..topology import next_node
from ..trimming import trim_now, trimming
from .handing_back import hand_back
from .in_flight import (
    AGAIN,
    DeliveryCounts,
    PendingReply,
    ReadReply,
)
from .node_writer import LONGEST_WAIT, NO_RANK
from .partition_state import Partition, ReadEvents
from .reading import write_read
from .reporting import BatchReporter
from .steady_rounds import SteadyRounds, with_early_replies

if TYPE_CHECKING:
    from .in_hand import Hand
    from .session import ConsumerSession

__all__ = ["NodeReader"]


class NodeReader(SteadyRounds):
    """Reads partitions over one connection, hands their events over, and acknowledges them.

    Attributes:
        inbox: partitions that it is to read as well.
    """

    def __init__(self, session: ConsumerSession, name: tuple[str, str]) -> None:
        super().__init__(session, name)
        self.inbox: list[Partition] = []
        self._leaving: list[tuple[Partition, Exception]] = []
        self._unproven = True  # partitions have come that the node has not answered for
        self._only_acknowledging = False  # no reply in flight brings events: the next read need not wait for them

    # ---- from the first round to the last ----

    def run(self) -> Flow[None]:
        """Read, hand over and acknowledge, until the session ends or no partition is left."""
        try:
            yield from self._run()
        except GeneratorExit:
            raise
        except BaseException as error:  # an interruption may come between any two lines
            self._session.fail(error)
        finally:
            if self._session.readers.get(self.name) is self:
                del self._session.readers[self.name]

    def _run(self) -> Flow[None]:
        session = self._session
        while True:
            if self.inbox:
                self._partitions += self.inbox
                self.inbox = []
                self._unproven = True
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
                session.fail(failure.error)
            except BaseException as failure:
                self._connection_lost()
                if (error := outage_of(failure)) is not None:
                    self._leaving += [(partition, error) for partition in self._partitions]
                    self._partitions = []
                else:  # Ctrl-C, for example: what was handled is acknowledged all the same
                    session.fail(failure)
                    if over:  # this was the attempt to settle: what is left is delivered again
                        return
                    yield Disconnect()
            if self._leaving:
                yield from self._assign_again()

    def _over(self) -> bool:
        session = self._session
        if session.ending:
            return True
        if session.min_idle is not None:
            return all(one.claim_cursor is None or not one.may_read for one in self._partitions)
        if not self._idle_rounds or any(one.replay_due and one.may_read for one in self._partitions):
            return session.has_enough or (session.filter is not None and session.ran_out)
        return session.time_left <= 0

    def _assign_again(self) -> Flow[None]:
        """Give up partitions that were redirected, or that the node can't serve now; each kind of error by itself."""
        by_kind: dict[type[Exception], list[tuple[Partition, Exception]]] = {}
        for partition, error in self._leaving:
            partition.moved(next_node(self._session.nodes, error, self.name[0]).ask_redirect)
            by_kind.setdefault(type(error), []).append((partition, error))
        self._leaving = []
        if not self._partitions:  # another server may be the master by now
            yield Disconnect()
        for leaving in by_kind.values():
            yield Start(None, self._session.assign([partition for partition, _ in leaving], leaving[0][1]))

    def _connection_lost(self) -> None:
        """No more replies come over this connection."""
        self._ahead = self._only_acknowledging = False
        self._early.clear()
        while self._in_flight:
            self._in_flight.popleft().lost()

    # ---- rounds ----

    def _round(self) -> Flow[None]:
        session = self._session
        found: Sequence[ReadEvents] = self._in_reserve() if session.state.has_reserve else ()
        if not found:
            if self._idle_rounds and session.state.keeps and not self._in_flight:
                yield from self._trim_kept()
            if not self._in_flight or self._only_acknowledging:
                yield from self._write(self._wait_time())
            if not self._in_flight:  # there is nothing that may be read now
                self._idle_rounds += session.leases is None or session.leases.share is not None
                yield Pause(min(LONGEST_WAIT, max(AGAIN, session.time_left)))
                return
            ahead = self._ahead
            found = yield from self._receive()
            self._read_at = self._ahead_at if ahead else time.monotonic()
        if not found:
            return
        self._idle_rounds = 0
        if session.one_page:
            for partition in self._partitions:
                partition.claim_was_answered(None)
        for one in found:
            one.partition.deliver(len(one.events))
        if session.leases is not None:
            for one in found:
                one.partition.deliver_entries(found)
        failure: Exception | None = None
        try:
            if session.read_ahead and self._partitions and _any_full(found) and not (session.ending or self._reading):
                yield from self._write(None)  # so that the server reads while the handler works
                self._ahead = True
                self._ahead_at = time.monotonic()
        except OUTAGES as error:  # the events are here all the same
            self._connection_lost()
            failure = error
        except BaseException:
            for one in found:
                one.partition.delivered(len(one.events))
                one.requeue()
            raise
        if len(found) == 1 and len(found[0].events) <= session.count:
            yield from self._deliver(found)
        else:
            yield from self._deliver_in_batches(found)
        if failure is not None:
            raise failure
        if self._ahead and session.lone and session.leases is None and self._partitions:
            if self._may_be_steady(self._partitions[0]):
                yield from self._steady_rounds(self._partitions[0])
            elif not (yield Arrived()):
                yield from self._write(None, reads=False)  # so that the server deletes while the reply is on its way

    @property
    def _reading(self) -> bool:
        """Whether a read is in flight."""
        return any(one.reads for one in self._in_flight)

    def _trim_kept(self) -> Flow[None]:
        """Trim what is too old or too much: no publisher may be there to do it."""
        for partition in self._partitions:
            member = partition.member
            if member.retention is not None and member.kept_is_due():
                with trimming(member.retention, member.stream):
                    yield from trim_now(member.implementation, member.stream, member.retention)

    def _in_reserve(self) -> list[ReadEvents]:
        """Return what was read before, and not handed over: at most once, or the rest of a packed entry."""
        found: list[ReadEvents] = []
        for one in self._partitions:
            if one.prefetched:
                found.append(ReadEvents(one, one.pop_prefetched(), pending=False, new=False))
            elif one.left_over and one.may_read:
                self._read_at = one.left_over_at
                found += one.pop_left_over()
        return found

    def _deliver_in_batches(self, found: Sequence[ReadEvents]) -> Flow[None]:
        """Hand events over, in batches of the session's size."""
        if self._session.several:  # a batch has events of one stream, and the more important one goes first
            found = sorted(found, key=lambda one: one.partition.rank)
        batches = deque(_batches(found, self._session.count))
        before = self._session.handled
        try:
            while batches:
                yield from self._deliver(batches.popleft())
                if self._session.one_batch and self._session.handled > before:
                    self._leave_over(batches)
        finally:
            for part in [part for batch in batches for part in batch]:
                part.partition.delivered(len(part.events))
                part.requeue()

    def _leave_over(self, batches: deque[list[ReadEvents]]) -> None:
        """The call has handed its batch over: the next call begins with what is left of packed entries."""
        parts = [part for batch in batches for part in batch]
        if not any(part.partition.member.sizes.packed for part in parts):
            return
        for part in parts:
            part.partition.delivered(len(part.events))
            part.partition.leave_over(part, self._read_at)
        self._session.state.has_reserve = True
        batches.clear()

    def _deliver(self, batch: Sequence[ReadEvents]) -> Flow[None]:
        """Hand a batch over. The parts of it that come too late are delivered again later."""
        session = self._session
        mine: Sequence[ReadEvents] = ()
        given = 0  # events, to the handler
        taken = 0  # of these, by a call of the handler that goes on while this reader reads
        reporter: BatchReporter | None = None
        hand: Hand | None = None
        try:
            mine = [part for part in batch if self._may_deliver(part)]
            events = _events_of(mine) if session.filter is None else session.passing(mine)
            if events:
                given = len(events)
                session.events_found()
                if session.state.hooks is not None:
                    reporter = BatchReporter(session.state.hooks, session.state.name, mine, given)
                if session.in_hand is not None:
                    hand = session.in_hand.take(mine, self._read_at)
                outcome = yield Deliver(events, mine[0].pending, reporter, self._read_at + session.patience, hand)
                session.events_found()
                if outcome is Deliver.TAKEN:
                    taken = given
                    mine = [] if session.filter is None else _without(mine, events)
                elif outcome is not None:
                    self._not_handled(mine, outcome)
                    mine = ()
        except BaseException as error:
            if reporter is not None and not isinstance(error, GeneratorExit):
                reporter.failed(error)
            raise self._handler_failed(mine, error) from None
        finally:
            for part in batch:
                part.partition.delivered(len(part.events))
            if taken:
                batch[0].partition.deliver(taken)
            elif hand is not None:
                hand.put_down()
        if session.robbed and not taken:
            mine = [part._replace(events=[one for one in part.events if not one.taken_over]) for part in mine]
            given = min(given, sum([len(part.events) for part in mine]))
        if mine:
            session.were_handled(mine, given - taken)
            if reporter is not None and not taken:
                reporter.handled()

    def _may_deliver(self, part: ReadEvents) -> bool:
        lease = part.partition.lease
        stopped = part.pending and self._session.stopping.ends_delivery
        if not stopped and (lease is None or lease.valid):
            return True
        part.requeue()
        return False

    def _wind_up(self) -> Flow[None]:
        """Take the replies that are in flight, and acknowledge what was handled. What was not, hand back."""
        while self._in_flight:
            found = yield from self._receive()
            if self._session.drains:
                for one in found:
                    one.partition.deliver(len(one.events))
                yield from self._deliver_in_batches(found)
            else:
                for one in found:
                    one.requeue()
        if self._session.error is None and self._session.state.at_most_once and not self._keeps_reserve():
            prefetched = self._in_reserve()
            for one in prefetched:  # they would be lost
                one.partition.deliver(len(one.events))
            yield from self._deliver_in_batches(prefetched)
        while any(one.unsaid or (one.member.held.untidy and self._has_time_to_tidy(one)) for one in self._partitions):
            yield from self._write(None, reads=False)
            yield from self._receive()
        if self._session.hands_back:
            yield from self._hand_back()
        self._partitions = []

    def _keeps_reserve(self) -> bool:
        """Whether what was not handed over is for the next call: entries may have more events than one batch."""
        return self._session.one_batch and any(one.member.sizes.packed for one in self._partitions)

    def _hand_back(self) -> Flow[None]:
        """Hand back what was read and not handled, if the consumer was stopped."""
        session = self._session
        while session.stopping.is_set() and session.error is None and any(one.in_handler for one in self._partitions):
            yield Pause(AGAIN)  # for handlers that run at the same time
        if session.stopping.is_set() and session.error is None:
            for one in self._partitions:
                if one.left_over:
                    one.replay()
            yield from hand_back([one for one in self._partitions if one.replay_due])

    # ---- receiving ----

    def _receive(self) -> Flow[list[ReadEvents]]:
        """Take the replies that are in flight. Returns what was read.

        Of one partition, acknowledgements that went out behind the read are confirmed later: the server deletes while
        the handler works.
        """
        found: list[ReadEvents] = []
        ahead, self._ahead = self._ahead, False
        self._only_acknowledging = False
        alone = self._session.lone and self._session.leases is None
        reads = inconclusive = leases = counted = False
        try:
            while self._in_flight:
                reply = self._in_flight[0]
                try:
                    receiving = reply.receive()
                    events = yield from (with_early_replies(receiving, self._early) if self._early else receiving)
                except ServerNotReadyError as error:
                    self._give_up(reply, error.error)
                except ResponseError as error:  # the server will not do it
                    reply.refused()
                    self._session.fail(reply.partition.member.located(error))
                else:
                    if events:
                        found += events
                        if not events[0].new:
                            counted = True
                            yield from self._ask_for_counts(events[0])
                self._in_flight.popleft()
                if reply.reads:
                    reads = True
                    inconclusive = inconclusive or reply.inconclusive
                    if reply.pages and self._session.lone and (missing := self._missing(found)) > 0:
                        yield from self._read_next_page(reply, missing)
                    elif found and alone and not counted:
                        self._only_acknowledging = bool(self._in_flight) and not self._reading
                        break
                elif reply.moves_leases:
                    leases = True
        except BaseException:
            for one in found:
                one.requeue()
            raise
        if self._unproven:
            self._prove()
        if counted:  # another consumer may have claimed some
            found = [one for one in found if one.events]
        if leases:  # perhaps other partitions are this consumer's now
            self._idle_rounds = min(self._idle_rounds, 1)
            self._all_asked = False
        elif reads and not (found or inconclusive or ahead) and (self._all_asked or not self._session.strict):
            self._idle_rounds += 1
        if self._session.strict and (self._all_asked or found or inconclusive):
            self._asked_rank = NO_RANK
        return found

    def _ask_for_counts(self, read: ReadEvents) -> Flow[None]:
        """These events come again: ask how often they were delivered."""
        commands = read.partition.member.commands()
        counts = DeliveryCounts(read.partition, read.events)
        counts.write(commands)
        self._in_flight.append(counts)
        yield Send(commands, True)

    def _give_up(self, reply: PendingReply, error: Exception) -> None:
        """The node can't serve the partitions of a reply now."""
        reply.lost()
        for partition in reply.partitions:
            if partition in self._partitions:
                self._partitions.remove(partition)
                self._leaving.append((partition, error))

    def _prove(self) -> None:
        """The node has answered for all partitions that are still here."""
        self._unproven = False
        for partition in self._partitions:
            partition.backoff.end(over=True)

    def _missing(self, found: Sequence[ReadEvents]) -> int:
        """Return how many more events a batch may have."""
        return self._session.count - sum([len(one.events) for one in found])

    def _read_next_page(self, reply: PendingReply, missing: int) -> Flow[None]:
        """Ask for the next page of a batch: a read of all of it would hold up the event loop."""
        member = reply.partition.member
        commands = member.commands()
        count = min(member.sizes.entries_for(missing), member.page)
        write_read(commands, member, count, None, reply.next_page)
        behind = bool(self._in_flight)
        self._in_flight.append(ReadReply(reply.partition, count, reply.next_page, more=count < missing))
        yield Send(commands, behind)


def _any_full(found: Sequence[ReadEvents]) -> bool:
    return found[0].partition.full if len(found) == 1 else any(one.partition.full for one in found)


def _events_of(parts: Sequence[ReadEvents]) -> list[Any]:
    """Return a list of its own: what a handler does to it changes nothing that is acknowledged."""
    return list(parts[0].events) if len(parts) == 1 else [event for part in parts for event in part.events]


def _without(parts: Sequence[ReadEvents], events: Sequence[Any]) -> list[ReadEvents]:
    """Return the parts with all other events than these."""
    gone = set(map(id, events))
    return [part._replace(events=[event for event in part.events if id(event) not in gone]) for part in parts]


def _batches(found: Sequence[ReadEvents], count: int) -> list[list[ReadEvents]]:
    """Return batches of at most `count` events; small parts of several partitions of a stream are put together."""
    batches: list[list[ReadEvents]] = []
    batch: list[ReadEvents] = []
    room = count
    for one in found:
        at = 0
        if batch and (batch[0].partition.rank != one.partition.rank or batch[0].pending != one.pending):
            batches.append(batch)
            batch, room = [], count
        member = one.partition.member
        while at < len(one.events):
            end = at + room
            if member.sizes.packed:  # entries are cut only if they have more events than a batch
                end = member.implementation.entry_begin(one.events, end, count)
            if end > at:
                part = one._replace(events=one.events[at:end])
                batch.append(part)
                room -= len(part.events)
            if not room or end < len(one.events):
                batches.append(batch)
                batch, room = [], count
            at = end
    return [*batches, batch] if batch else batches
