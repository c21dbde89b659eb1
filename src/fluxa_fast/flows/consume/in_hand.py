"""What a consumer has in hand, and how it keeps that while its handler works.

What a slow handler has, and what waits behind it, must not look as if the consumer had crashed. What has waited for a
second is made to count as delivered just now before the handler is given it. A session that claims has a heartbeat as
well. It does the same for what the handler has, and for what was read behind that, each time that a third of the claim
time is over. A handler that hangs is not helped for ever.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ...scripts import REFRESH
from ...shared.validation import Duration, seconds
from ..replies import IDS, PENDING_ENTRIES
from ..retry import Recovery, raise_for_error
from ..scripting import ScriptRefusedError
from ..steps import Flow, ask
from .partition_state import Partition, ReadEvents

if TYPE_CHECKING:
    from .group_member import GroupMember
    from .session import ConsumerSession

__all__ = ["NO_CLAIMS", "Claims", "Hand", "InHand", "followed", "refresh"]

log: logging.Logger = logging.getLogger("fluxa_fast")

_NOW = Recovery(deadline=0)
_PAGE = 500  # entries that one command is about
_SHORTEST = 0.1  # seconds of `claim_idle`
_HOLDS = 10  # times `claim_idle`, if `hold_for` is not given


@dataclass(frozen=True, slots=True)
class Claims:
    """What a session takes over from other consumers, and keeps from them.

    Attributes:
        idle: seconds after which it takes over what others have left; None: never.
        hold_for: seconds for which one call of its handler keeps what it has.
    """

    idle: float | None = None
    hold_for: float = math.inf

    @staticmethod
    def checked(claim_idle: Duration | None, hold_for: Duration | None) -> Claims:
        """Check what the caller has given.

        Raises:
            TypeError, ValueError: for an argument that can't be right; the error names it.
        """
        if claim_idle is None:
            if hold_for is not None:
                raise ValueError("hold_for= is for claim_idle=: without it, nothing is kept while the handler works")
            return NO_CLAIMS
        idle = seconds("claim_idle", claim_idle)
        if idle < _SHORTEST:
            raise ValueError(f"claim_idle is {_SHORTEST:g} s at least, not {idle:g}")
        hold = _HOLDS * idle if hold_for is None else seconds("hold_for", hold_for, infinite=True)
        if hold < idle:
            raise ValueError(f"hold_for is claim_idle ({idle:g} s) at least, not {hold:g}")
        return Claims(idle, hold)


NO_CLAIMS = Claims()


class Hand:
    """One batch that the handler has, or is about to be given.

    Attributes:
        parts: of the batch.
        read_at: when it was read (monotonic seconds).
        begun_at: when the handler was called (monotonic seconds); None: it waits for its turn.
        left: whether it is not kept any more, because the handler takes too long.
    """

    __slots__ = ("_hands", "begun_at", "left", "parts", "read_at")

    def __init__(self, hands: set[Hand], parts: Sequence[ReadEvents], read_at: float) -> None:
        self._hands = hands
        self.parts: Sequence[ReadEvents] = parts
        self.read_at: float = read_at
        self.begun_at: float | None = None
        self.left: bool = False

    def put_down(self) -> None:
        """The handler is done with it, or is not given it."""
        self._hands.discard(self)

    def begin(self) -> None:
        """The handler is called."""
        self.begun_at = time.monotonic()


class InHand:
    """What the handler of a session that claims has. The heartbeat looks at it from another thread.

    Args:
        session: whose handler it is.
        claims: of the session.

    Attributes:
        interval: seconds between two looks.
    """

    def __init__(self, session: ConsumerSession, claims: Claims) -> None:
        self._session = session
        assert claims.idle is not None
        self._third = claims.idle / 3
        self._hold_for = claims.hold_for
        self._hands: set[Hand] = set()
        self._failing = False
        shortest = self._third if session.leases is None else min(self._third, session.leases.seconds / 3)
        self.interval: float = shortest / 2

    def take(self, parts: Sequence[ReadEvents], read_at: float) -> Hand:
        """The handler is about to be given these parts."""
        hand = Hand(self._hands, parts, read_at)
        self._hands.add(hand)
        return hand

    def failed(self, error: Exception) -> None:
        """A beat has met an error. The next one tries again; the first error in a row is logged."""
        if not self._failing:
            self._failing = True
            log.warning("consumer %s can't keep what it has in hand: %s", self._session.state.name, error)

    def beats(self) -> Iterator[tuple[Flow[None], str]]:
        """What is to be done now: flows, and the Redis key of each."""
        now = time.monotonic()
        hands = self._hands.copy()
        for hand in hands:
            if not hand.left and hand.begun_at is not None and now > hand.begun_at + self._hold_for:
                hand.left = True
                log.warning(
                    "consumer %s: the handler has had a batch for %.0f s (hold_for): other consumers may take it over",
                    self._session.state.name,
                    now - hand.begun_at,
                )
        kept = [hand for hand in hands if not hand.left]
        old = any(now > hand.read_at + self._third for hand in kept)
        for one in self._session.state.partitions:
            if not (one.in_handler or one.read_sent):
                continue
            mine = _pending_parts(kept, one)
            if one.lease is not None and mine and one.lease.owned and now >= one.lease.renew_at:
                yield followed(one.member, partial(self._renew, one, mine)), one.member.stream
            if old:
                everything = [part.events for hand in hands for part in hand.parts if part.partition is one]
                yield followed(one.member, partial(self._keep, one, mine, everything)), one.member.stream
            if left := _pending_parts([hand for hand in hands if hand.left], one):
                yield followed(one.member, partial(self._look_at, one, left)), one.member.stream

    def _look_at(self, one: Partition, left: Sequence[list[Any]]) -> Flow[None]:
        """Mark what other consumers have taken over of that which is not kept any more."""
        for events in left:
            yield from refresh(self._session, one.member, events, _pending)

    def _renew(self, one: Partition, mine: Sequence[list[Any]]) -> Flow[None]:
        assert self._session.leases is not None
        if not (yield from self._session.leases.renew(one)):
            for events in mine:
                _taken_over(self._session, one.member, events)

    def _keep(self, one: Partition, mine: Sequence[list[Any]], everything: Sequence[list[Any]]) -> Flow[None]:
        for events in mine:
            yield from refresh(self._session, one.member, events)
        in_hand = {event.entry_id for events in everything for event in events}
        member, after = one.member, "-"
        while True:  # what was read ahead is known to the server only
            commands = member.commands()
            idle = round(self._third * 1000)
            commands.command("XPENDING", member.stream, member.group, "IDLE", idle, after, "+", _PAGE, member.name)
            page = raise_for_error((yield from ask(commands, PENDING_ENTRIES)))
            ids = [entry[0].decode() for entry in page]
            if ahead := [id for id in ids if id not in in_hand]:
                yield from _still_mine(member, ahead)
            self._failing = False
            if len(page) < _PAGE:
                return
            after = f"({ids[-1]}"


def _pending_parts(hands: Sequence[Hand], one: Partition) -> list[list[Any]]:
    """Return the events of a partition that some hands have; not those that were read at most once: none has them."""
    return [part.events for hand in hands for part in hand.parts if part.partition is one and part.pending]


def followed(member: GroupMember, attempt: Callable[[], Flow[None]]) -> Flow[None]:
    """Do something now or not at all: redirections are followed, and an outage is not waited for."""
    yield from member.recovered(attempt, _NOW)


def _pending(member: GroupMember, ids: Sequence[str]) -> Flow[Set[str]]:
    """Return which entries are pending for this consumer, and change nothing."""
    most = 2 * len(ids) + 100  # others of its own may lie between them
    commands = member.commands()
    commands.xpending_range(member.stream, member.group, ids[0], ids[-1], most, consumer=member.name)
    reply = raise_for_error((yield from ask(commands, PENDING_ENTRIES)))
    return {entry[0].decode() for entry in reply} if len(reply) < most else set(ids)


def _still_mine(member: GroupMember, ids: Sequence[str]) -> Flow[Set[str]]:
    """Make entries count as delivered just now. Returns the IDs of those that are pending for this consumer."""
    scripting = member.claiming
    while scripting.allowed:
        commands = member.commands()
        commands.command(*scripting.call(REFRESH), 1, member.stream, member.group, member.name, *ids)
        reply = yield from ask(commands, IDS)
        try:
            return {id.decode() for id in scripting.answered(REFRESH, reply)}
        except ScriptRefusedError:
            continue
    return set(ids)  # not known; they are handled, at least once


def refresh(
    session: ConsumerSession,
    member: GroupMember,
    events: Sequence[Any],
    those_of: Callable[[GroupMember, Sequence[str]], Flow[Set[str]]] = _still_mine,
) -> Flow[None]:
    """Make events count as delivered just now. Those that another consumer has taken over are marked.

    Args:
        session: of the consumer.
        member: of the partition that they are of.
        events: of one partition, in the order of their IDs.
        those_of: tells which of some IDs are pending for the consumer, and makes them count as delivered.
    """
    for at in range(0, len(events), _PAGE):
        page = [event for event in events[at : at + _PAGE] if not (event.acknowledged or event.taken_over)]
        if not page:
            continue
        mine = yield from those_of(member, list(dict.fromkeys(event.entry_id for event in page)))
        if lost := [event for event in page if event.entry_id not in mine and not event.acknowledged]:
            _taken_over(session, member, lost)


def _taken_over(session: ConsumerSession, member: GroupMember, events: Sequence[Any]) -> None:
    session.robbed = True
    member.implementation.mark_taken_over(events)
    log.warning(
        "consumer %s of %s: another consumer has taken over %d events that this one had in hand",
        member.name,
        member.stream,
        len(events),
    )
