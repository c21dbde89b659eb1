"""Reading through a group: `consume`, and the pipelined pump behind `run` and `batches`.

A consumer's own pending entries come first. Whatever ends a handler early (an exception, a loop that is left) makes the
consumer read its pending entries again the next time, so that nothing it was given is forgotten.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ...errors import FluxaError
from ...protocol.interface import CommandBuffer, ErrorReply, EventBatch, ReplyReader
from ..retry import OUTAGES, Recovery
from ..steps import Arrived, Ask, Deliver, Flow, Receive, Send, Take
from .acknowledge import Acknowledgements, acknowledge, forget_deleted, joined
from .group_member import GROUP, GroupMember

__all__ = ["SLICE", "blocking", "consume", "events_reply", "handle", "next_batch", "pump", "write_read"]

SLICE = 1.0  # seconds that one read blocks at most, so that stop() is soon noticed


def consume(member: GroupMember, count: int, block: float | None) -> Flow[int]:
    """Hand over at most `count` pending entries of this consumer, and if none are left, at most `count` new ones.

    Returns when the events are acknowledged: how many there were.
    """
    handled = 0
    while not member.stopping.is_set():
        handled += yield from handle(member, member.take_in_hand(), pending=False)
        if member.replaying:
            events = yield from _replay(member, count)
            handled += yield from handle(member, events)
            if len(events) >= count:  # then there may be more, and they go before what is new
                events = yield from _replay(member, count)
                handled += yield from handle(member, events)
            if member.replaying or member.stopping.is_set():
                return handled
        events = yield from _read_new(member, count, None if handled else block)
        if not member.replaying:  # else a connection broke, and what it had read is pending: that goes first
            return handled + (yield from handle(member, events, pending=not member.at_most_once))
    return handled


def next_batch(member: GroupMember, count: int) -> Flow[list[Any]]:
    """The next events: what is pending for this consumer, or else new ones, which are waited for until `stop()`.

    None at all if stopped, or if the connection broke meanwhile: then ask again.
    """
    if member.in_hand:
        return member.take_in_hand()
    if member.replaying:
        return (yield from _replay(member, count))
    return (yield from _read_new(member, count, math.inf))


def handle(member: GroupMember, events: Sequence[Any], *, pending: bool = True) -> Flow[int]:
    """Hand events over, then acknowledge them. Returns how many there were; none, if `stop()` came before.

    `pending` is false for events that were read at most once: they are handed over all the same, or they would be lost.
    """
    if not events:
        return 0
    if pending and member.stopping.is_set():
        member.replaying = True
        return 0
    yield from _deliver(member, events)
    yield from acknowledge(member, events, pending=pending)
    return len(events)


def _deliver(member: GroupMember, events: Sequence[Any]) -> Flow[None]:
    handled = False
    try:
        yield Deliver(list(events))  # a copy: what a handler does to its list changes nothing that is acknowledged
        handled = True
    finally:
        if not handled:
            member.replaying = True


# ---- reading ------------------------------------------------------------------------------------------


def _replay(member: GroupMember, count: int) -> Flow[list[Any]]:
    """The next entries that are pending for this consumer; none ends the replay. Deleted ones are passed over."""
    while True:
        batch: EventBatch | None = yield from member.in_group(partial(_read, member, count, None, "0"))
        if batch is None:  # stopped during an outage
            return []
        yield from forget_deleted(member, batch.deleted)
        if len(batch.events) + len(batch.deleted) < count:
            member.replaying = False
        if batch.events or not batch.deleted:
            return batch.events


def _read_new(member: GroupMember, count: int, block: float | None) -> Flow[list[Any]]:
    """New entries, waited for during `block` seconds or until `stop()`."""
    end = time.monotonic() + (block or 0.0)
    while True:
        left = end - time.monotonic()
        waiting = min(left, SLICE) if left > 0 else None
        batch: EventBatch | None = yield from member.in_group(partial(_read_once, member, count, waiting))
        if batch is None:
            return []
        if batch.events or member.replaying:
            return batch.events
        if time.monotonic() >= member.trim_at:
            yield from acknowledge(member, [], pending=False)
        if time.monotonic() >= end or member.stopping.is_set():
            return batch.events


def _read_once(member: GroupMember, count: int, block: float | None) -> Flow[Any]:
    """New entries; none at a second try, because what the first one may have read is pending now and goes before."""
    if member.replaying:
        return (yield from _reachable(member))
    return (yield from _read(member, count, block, ">"))


def _reachable(member: GroupMember) -> Flow[Any]:
    """An empty batch once the server answers, or its error."""
    reply = yield from _read(member, 1, None, "0")
    return reply if isinstance(reply, ErrorReply) else EventBatch()


def _read(member: GroupMember, count: int, block: float | None, after: str) -> Flow[Any]:
    """``XREADGROUP GROUP group consumer COUNT n [BLOCK ms] STREAMS stream after``, for each page"""
    pages = _Pages(member, count)
    with pages:
        more = True
        while more:
            commands = member.commands()
            write_read(commands, member, pages.size, block, after)
            more = pages.add((yield Ask(commands, events_reply(member), block or 0.0)))
            if more:
                block, after = None, pages.last_id if after != ">" else after
    return pages.batch


class _Pages:
    """A batch that is read page by page. A context: what ends it early loses nothing that was read at most once.

    Attributes:
        batch: what was read so far; or the error that the server answered in its place.
        size: events to read next.
    """

    __slots__ = ("_member", "_missing", "batch", "size")

    def __init__(self, member: GroupMember, count: int) -> None:
        self._member = member
        self._missing = count
        self.batch: Any = None
        self.size = min(count, member.page)

    def add(self, reply: Any) -> bool:
        """Take a page. True if there may be another one."""
        if not isinstance(reply, EventBatch):
            if self.batch is None:  # an error behind events comes again at the next read
                self.batch = reply
            return False
        if self.batch is None:
            self.batch = reply
        else:
            self.batch.events += reply.events
            self.batch.deleted += reply.deleted
        found = len(reply.events) + len(reply.deleted)
        self._missing -= found
        full = found >= self.size
        self.size = min(self._missing, self._member.page)
        return full and self.size > 0

    @property
    def last_id(self) -> str:
        """The highest ID so far."""
        ids: list[str] = [event.id for event in self.batch.events[-1:]] + self.batch.deleted[-1:]
        return max(ids, key=lambda id: [int(number) for number in id.split("-")])

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._member.at_most_once and isinstance(self.batch, EventBatch):
            self._member.in_hand += self.batch.events


def write_read(
    commands: CommandBuffer,
    member: GroupMember,
    count: int,
    block: float | None,
    after: str = ">",
    streams: Sequence[str] = (),
) -> None:
    """Append a read as that member: of its stream, or of several where it has the same name."""
    noack = member.at_most_once and after == ">"
    of = dict.fromkeys(streams or (member.stream,), after)
    commands.xreadgroup(GROUP, member.name, of, count=count, block=blocking(block), noack=noack)


def blocking(seconds: float | None) -> int | None:
    """As BLOCK takes it: milliseconds. 0 would wait for ever."""
    return None if seconds is None else max(1, math.ceil(seconds * 1000))


def events_reply(member: GroupMember) -> Take:
    """How to read the reply."""

    def take(reader: ReplyReader) -> Any:
        return reader.read_streams(member.acknowledge)

    return take


# ---- pipelined ----------------------------------------------------------------------------------------


_READ = object()  # stands for the reply to a read


class _Pump:
    """The state between two batches.

    Attributes:
        delivering: the handler has a batch.
        handled: events that were handled and whose acknowledgement was not sent yet.
        under_way: what the server has yet to answer, in that order: acknowledgements, and at most one read.
    """

    __slots__ = ("count", "delivering", "handled", "member", "under_way")

    def __init__(self, member: GroupMember, count: int) -> None:
        self.member = member
        self.count = count
        self.delivering = False
        self.handled: list[Any] = []
        self.under_way: deque[Any] = deque()

    @property
    def ahead(self) -> bool:
        """Whether a read was sent whose reply is to come."""
        return _READ in self.under_way

    def send(self, *, read: bool, block: float | None = None, count: int = 0) -> Flow[None]:
        """One write: acknowledge what was handled, and read on if wanted: `count` events, or a batch's first page."""
        commands = self.member.commands()
        acknowledgements = Acknowledgements(self.member, self.handled, pending=not self.member.at_most_once)
        yield from acknowledgements.write(commands)
        if read:
            write_read(commands, self.member, count or min(self.count, self.member.page), block)
        if not commands.command_count:
            return
        behind = bool(self.under_way)
        self.under_way += (acknowledgements, _READ) if read else (acknowledgements,)
        self.handled = []
        try:
            yield Send(commands, behind)
        except BaseException:
            self.lost()
            raise

    def send_ahead(self, *, read: bool) -> Flow[None]:
        """As `send`; an outage is left for `next` to recover from."""
        try:
            yield from self.send(read=read)
        except OUTAGES:
            return

    def receive(self, block: float | None) -> Flow[Any]:
        """The reply to the read, and before it those to the acknowledgements that were sent before it."""
        try:
            while self.under_way[0] is not _READ:
                yield from self.receive_acknowledgement()
            reply = yield Receive(events_reply(self.member), block or 0.0)
            self.under_way.popleft()
            if isinstance(reply, ErrorReply):  # what follows from it begins with other commands
                while self.under_way:
                    yield from self.receive_acknowledgement()
        except BaseException:
            self.lost()
            raise
        return reply

    def receive_acknowledgement(self) -> Flow[None]:
        again = yield from self.under_way[0].receive()
        self.under_way.popleft()
        self.handled = joined(again, self.handled)

    def next(self, block: float | None) -> Flow[Any]:
        """The reply to the read that was sent ahead, or else to a new one; as `_read_once` at a second try."""
        if self.member.replaying:
            return (yield from _reachable(self.member))
        pages = _Pages(self.member, self.count)
        with pages:
            if not self.ahead:
                yield from self.send(read=True, block=block)
            more = pages.add((yield from self.receive(block)))
            while more:
                yield from self.send(read=True, count=pages.size)
                more = pages.add((yield from self.receive(None)))
        return pages.batch

    def lost(self) -> None:
        """What was under way may or may not have reached the server: acknowledge it again, read it again."""
        sent = [event for part in self.under_way if part is not _READ for event in part.events]
        self.handled = joined(sent, self.handled)
        self.under_way.clear()
        self.member.replaying = True

    def requeue(self, events: list[Any]) -> None:
        """These events were read, and not handed over."""
        if self.member.at_most_once:
            self.member.in_hand += events
        elif events:
            self.member.replaying = True

    def settle(self, recovery: Recovery) -> Flow[None]:
        """Take the replies that are under way, and acknowledge what was handled."""
        try:
            if self.ahead:
                reply = yield from self.receive(None)
                if isinstance(reply, EventBatch):
                    self.requeue(reply.events)
            while self.under_way:
                yield from self.receive_acknowledgement()
        except ResponseError as error:
            self.lost()
            raise self.member.located(error) from None
        except BaseException as error:
            self.lost()
            if not isinstance(error, OUTAGES):
                raise
        yield from acknowledge(self.member, self.handled, recovery, pending=not self.member.at_most_once)
        self.handled = []


def pump(member: GroupMember, count: int, idle: float) -> Flow[None]:
    """Hand over batch after batch until `stop()`, or until nothing came for `idle` seconds.

    Behind a full batch the next read is sent before the handler is called, so that the server reads while the handler
    works. If it is still reading when the handler returns, the acknowledgement is sent at once, so that the server
    deletes while the reply is decoded; in all other cases it travels in one write with the next read. A read that is
    sent ahead does not BLOCK: a blocked connection would hold back the acknowledgement of the batch that is being
    handled.
    """
    state = _Pump(member, count)
    try:
        yield from _pump(state, idle)
    except GeneratorExit:
        raise
    except BaseException:
        member.replaying = True
        if state.under_way and not state.delivering:
            state.lost()  # an interruption may have come between any two lines: the replies are not waited for
        try:
            yield from state.settle(Recovery(deadline=0))
        except (RedisError, FluxaError, *OUTAGES):
            pass  # the first failure counts; what is not settled will be delivered again
        raise


def _pump(state: _Pump, idle: float) -> Flow[None]:
    member = state.member
    yield from handle(member, member.take_in_hand(), pending=False)
    end = time.monotonic() + idle
    while not member.stopping.is_set():
        if member.replaying:
            # What was handled must be acknowledged before the pending entries are read, or it would come again.
            yield from state.settle(member.recovery)
            yield from handle(member, member.take_in_hand(), pending=False)
            yield from handle(member, (yield from _replay(member, state.count)))
            end = time.monotonic() + idle
            continue
        left = end - time.monotonic()
        block = min(left, SLICE) if left > 0 else None
        ahead = state.ahead
        batch: EventBatch | None = yield from member.in_group(partial(state.next, block))
        if batch is None:
            break
        if member.replaying:
            continue
        if batch.events:
            if member.stopping.is_set():
                state.requeue(batch.events)
                break
            if len(batch.events) >= state.count:
                yield from state.send_ahead(read=True)
            state.delivering = True
            yield from _deliver(member, batch.events)
            state.handled = joined(state.handled, batch.events) if state.handled else batch.events
            state.delivering = False
            if state.ahead and not (yield Arrived()):
                yield from state.send_ahead(read=False)
            end = time.monotonic() + idle
        elif not ahead:
            if time.monotonic() >= member.trim_at:
                yield from acknowledge(member, [], pending=False)
            if time.monotonic() >= end:
                break
    yield from state.settle(member.recovery)
    yield from handle(member, member.take_in_hand(), pending=False)
