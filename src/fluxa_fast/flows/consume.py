"""Reading through a group: `consume`, and the pipelined pump behind `run` and `batches`.

A consumer's own pending entries come first. Whatever ends a handler early (an exception, a loop that is left) makes the
consumer read its pending entries again the next time, so that nothing it was given is forgotten.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from ..protocol.interface import CommandBuffer, ErrorReply, EventBatch, ReplyReader
from .acknowledge import Acknowledgements, acknowledge, forget_deleted
from .membership import GROUP, Membership
from .recovery import OUTAGES, Recovery
from .steps import Deliver, Flow, Receive, Send, Take

__all__ = ["consume", "handle", "pump"]

_SLICE = 1.0  # seconds that one read blocks at most, so that stop() is soon noticed


def consume(member: Membership, count: int, block: float | None) -> Flow[int]:
    """Hand over at most `count` pending entries of this consumer, and if none are left, at most `count` new ones.

    Returns when the events are acknowledged: how many there were.
    """
    try:
        return (yield from _consume(member, count, block))
    finally:
        member.stopping.clear()


def _consume(member: Membership, count: int, block: float | None) -> Flow[int]:
    handled = yield from handle_once(member, member.take_in_hand())
    while True:
        if member.replaying:
            events = yield from _replay(member, count)
            handled += yield from handle(member, events)
            if len(events) >= count:  # then there may be more, and they go before what is new
                events = yield from _replay(member, count)
                handled += yield from handle(member, events)
            if member.replaying:
                return handled
        events = yield from _read_new(member, count, None if handled else block)
        if not member.replaying:  # else a connection broke, and what it had read is pending: that goes first
            handle_new = handle_once if member.at_most_once else handle
            return handled + (yield from handle_new(member, events))


def handle(member: Membership, events: Sequence[Any]) -> Flow[int]:
    """Hand events over, then acknowledge them. Returns how many there were."""
    if events:
        yield from _deliver(member, events)
        yield from acknowledge(member, events)
    return len(events)


def handle_once(member: Membership, events: Sequence[Any]) -> Flow[int]:
    """Hand over events that were read at most once, then trim them. Returns how many there were."""
    if events:
        yield from _deliver(member, events)
        yield from acknowledge(member, events, pending=False)
    return len(events)


def _deliver(member: Membership, events: Sequence[Any]) -> Flow[None]:
    handled = False
    try:
        yield Deliver(events)
        handled = True
    finally:
        if not handled:
            member.replaying = True


# ---- reading ------------------------------------------------------------------------------------------


def _replay(member: Membership, count: int) -> Flow[list[Any]]:
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


def _read_new(member: Membership, count: int, block: float | None) -> Flow[list[Any]]:
    """New entries, waited for during `block` seconds or until `stop()`."""
    end = time.monotonic() + (block or 0.0)
    while True:
        left = end - time.monotonic()
        waiting = min(left, _SLICE) if left > 0 else None
        batch: EventBatch | None = yield from member.in_group(partial(_read_once, member, count, waiting))
        if batch is None:
            return []
        if batch.events or member.replaying or time.monotonic() >= end or member.stopping.is_set():
            return batch.events


def _read_once(member: Membership, count: int, block: float | None) -> Flow[Any]:
    """New entries; none at a second try, because what the first one may have read is pending now and goes before."""
    if member.replaying:
        return (yield from _reachable(member))
    return (yield from _read(member, count, block, ">"))


def _reachable(member: Membership) -> Flow[Any]:
    """An empty batch once the server answers, or its error."""
    reply = yield from _read(member, 1, None, "0")
    return reply if isinstance(reply, ErrorReply) else EventBatch()


def _read(member: Membership, count: int, block: float | None, after: str) -> Flow[Any]:
    """``XREADGROUP GROUP group consumer COUNT n [BLOCK ms] STREAMS stream after``"""
    commands = member.commands()
    _write_read(commands, member, count, block, after)
    yield Send(commands)
    return (yield Receive(_taking(member), block or 0.0))


def _write_read(commands: CommandBuffer, member: Membership, count: int, block: float | None, after: str = ">") -> None:
    milliseconds = None if block is None else max(1, math.ceil(block * 1000))  # 0 would wait for ever
    noack = member.at_most_once and after == ">"
    commands.xreadgroup(GROUP, member.name, {member.stream: after}, count=count, block=milliseconds, noack=noack)


def _taking(member: Membership) -> Take:
    def take(reader: ReplyReader) -> Any:
        return reader.read_streams(member.acknowledge)

    return take


# ---- pipelined ----------------------------------------------------------------------------------------


class _Pump:
    """The state between two batches.

    Attributes:
        handled: events that were handled and whose acknowledgement was not sent yet.
        sent: the acknowledgement that is under way.
        ahead: whether a read was sent, and its reply is to come.
    """

    __slots__ = ("ahead", "count", "handled", "member", "sent")

    def __init__(self, member: Membership, count: int) -> None:
        self.member = member
        self.count = count
        self.handled: list[Any] = []
        self.sent = self.acknowledgements()
        self.ahead = False

    def acknowledgements(self, events: Sequence[Any] = ()) -> Acknowledgements:
        return Acknowledgements(self.member, events, pending=not self.member.at_most_once)

    def send(self, block: float | None) -> Flow[None]:
        """One write: acknowledge what was handled, and read on."""
        commands = self.member.commands()
        self.sent = self.acknowledgements(self.handled)
        self.handled = []
        self.sent.write(commands)
        _write_read(commands, self.member, self.count, block)
        try:
            yield Send(commands)
        except BaseException:
            self.lost()
            raise
        self.ahead = True

    def send_ahead(self) -> Flow[None]:
        """The next read, so that the server works while the handler does."""
        try:
            yield from self.send(None)
        except OUTAGES:
            return  # `next` recovers

    def receive(self, block: float | None) -> Flow[Any]:
        """The replies to what was sent: of the acknowledgement, then of the read."""
        self.ahead = False
        try:
            again = yield from self.sent.receive()
            self.sent = self.acknowledgements()
            self.handled = again + self.handled
            return (yield Receive(_taking(self.member), block or 0.0))
        except BaseException:
            self.lost()
            raise

    def next(self, block: float | None) -> Flow[Any]:
        """The reply to the read that was sent ahead, or else to a new one; as `_read_once` at a second try."""
        if self.member.replaying:
            return (yield from _reachable(self.member))
        if self.ahead:
            return (yield from self.receive(None))
        yield from self.send(block)
        return (yield from self.receive(block))

    def lost(self) -> None:
        """What was under way may or may not have reached the server: acknowledge it again, read it again."""
        self.handled = [*self.sent.events, *self.handled]
        self.sent = self.acknowledgements()
        self.ahead = False
        self.member.replaying = True

    def settle(self, recovery: Recovery) -> Flow[None]:
        """Take the replies that are under way, and acknowledge what was handled."""
        if self.ahead:
            try:
                reply = yield from self.receive(None)
            except OUTAGES:
                reply = None
            if isinstance(reply, EventBatch) and reply.events:  # read, and not handled
                self.member.replaying = True
                if self.member.at_most_once:
                    self.member.in_hand = reply.events
        yield from acknowledge(self.member, self.handled, recovery, pending=not self.member.at_most_once)
        self.handled = []


def pump(member: Membership, count: int, idle: float) -> Flow[None]:
    """Hand over batch after batch until `stop()`, or until nothing came for `idle` seconds.

    The acknowledgement of a batch travels in the same write as a later read, so that the server works while the
    handler does. A read is sent ahead only behind a full batch, and without BLOCK: a blocked connection would hold
    back the acknowledgement of the batch that is being handled.
    """
    state = _Pump(member, count)
    try:
        yield from _pump(state, idle)
    except GeneratorExit:
        member.replaying = True
        raise
    except BaseException:
        try:
            yield from state.settle(Recovery(deadline=0))
        except (RedisError, *OUTAGES):
            member.replaying = True  # the first failure counts; what is not settled will be delivered again
        raise
    finally:
        member.stopping.clear()


def _pump(state: _Pump, idle: float) -> Flow[None]:
    member = state.member
    yield from handle_once(member, member.take_in_hand())
    end = time.monotonic() + idle
    while not member.stopping.is_set():
        if member.replaying:
            # What was handled must be acknowledged before the pending entries are read, or it would come again.
            yield from state.settle(member.recovery)
            yield from handle(member, (yield from _replay(member, state.count)))
            end = time.monotonic() + idle
            continue
        left = end - time.monotonic()
        block = min(left, _SLICE) if left > 0 else None
        ahead = state.ahead
        batch: EventBatch | None = yield from member.in_group(partial(state.next, block))
        if batch is None:
            break
        if member.replaying:
            continue
        if batch.events:
            if len(batch.events) >= state.count:
                yield from state.send_ahead()
            yield from _deliver(member, batch.events)
            state.handled += batch.events
            end = time.monotonic() + idle
        elif not ahead and time.monotonic() >= end:
            break
    yield from state.settle(member.recovery)
    yield from handle_once(member, member.take_in_hand())
