"""Acknowledging and deleting what was handled.

There are four ways:

- `run` and `batches` send XACK, and the script `trim_acknowledged.lua` behind it, which trims below the low-water mark.
  That costs the server least.
- What has to be gone at once, or belongs to the owner of a partition, goes with its IDs through `acknowledge.lua`; and
  so does what can't be trimmed, because entries lie in front that are no group's.
- A few IDs, and servers that forbid scripts, get XACK + XDEL.
- Reading at most once has nothing to acknowledge: the script `trim_delivered.lua` trims what was read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ...errors import LeaseLostError
from ...protocol.entry_ids import by_id
from ...protocol.interface import CommandBuffer, ErrorReply
from ...scripts import (
    ACKNOWLEDGE,
    FENCED_ACKNOWLEDGE,
    FENCED_ACKNOWLEDGE_KEPT,
    FENCED_TRIM_DELIVERED,
    TRIM_ACKNOWLEDGED,
    TRIM_DELIVERED,
    Script,
)
from ..replies import ACKNOWLEDGEMENT, NUMBER, TIDIED, TRIMMED, named
from ..retry import Recovery, raise_for_error
from ..scripting import ScriptRefusedError
from ..steps import Flow, ReceiveAll, Send, Take, YieldControl, any_reply
from .group_member import GroupMember, is_missing
from .held_entries import NOTHING, Span

__all__ = ["PAGE", "Acknowledgements", "acknowledge", "few_and_alone", "joined"]

PAGE = 10_000  # IDs in one command; Redis: at most 1 048 576 arguments
_FEW = 20  # up to here the script is hardly cheaper, or dearer; measured in docs/performance.md
_GROUPS_KNOWN = 5.0  # seconds, longer than a read blocks, for which that is believed where scripts are forbidden
_ALONE = 0.1  # seconds for which it is believed that no other group has come to the stream
_BY_IDS = 10.0  # seconds for which it is believed that other entries lie in front of what was acknowledged
_LOOKED_AT = 1000  # entries above the low-water mark in one call, about 2 ms of the server's time
_TRIMMED_AGAIN = 0.5  # seconds after which what could not be trimmed is tried again, by a consumer that finds nothing


_FENCED = {ACKNOWLEDGE: FENCED_ACKNOWLEDGE, TRIM_DELIVERED: FENCED_TRIM_DELIVERED}
_ACKNOWLEDGING = (ACKNOWLEDGE, FENCED_ACKNOWLEDGE)


@dataclass(slots=True)
class _Page:
    """One acknowledgement under way.

    Attributes:
        span: of entries that were held when it was written.
        looks_at: how many entries above the low-water mark the script may look at.
        asks: it is only asked which groups the stream has, before anything is acknowledged.
    """

    replies: int
    events: Sequence[Any] = ()
    span: Span = NOTHING
    script: Script | None = None
    looks_at: int = 0
    asks: bool = False


class Acknowledgements:
    """The acknowledgement of some events: written into a buffer, and confirmed by the replies.

    Args:
        events: in the order of their IDs, which the script relies on.
        pending: false for events that were read at most once, which only have to go.
        at_once: whether they have to be gone with the reply. Else they may stay until what lies in front is handled.
    """

    def __init__(
        self, member: GroupMember, events: Sequence[Any], *, pending: bool = True, at_once: bool = True
    ) -> None:
        self.events = events
        self._pending = pending
        self._may_wait = pending and not at_once
        self._member = member
        self._pages: list[_Page] = []

    def write(self, commands: CommandBuffer) -> Flow[None]:
        """Append what acknowledges and deletes those of the events that are not acknowledged yet."""
        if self._member.keeps:
            yield from self._write_kept(commands)
            return
        if self.events and self._has_to_ask():
            commands.xinfo_groups(self._member.stream)
            self._pages.append(_Page(1, self.events, asks=True))
            return
        size = min(PAGE, self._member.page)
        if len(self.events) > size:
            yield YieldControl()
        for begin in range(0, len(self.events), size):
            if begin:
                yield YieldControl()
            page = self.events[begin : begin + size]
            if not self._is_for_script(page):
                self._write_plain(commands, page)
            elif self._may_wait and self._member.may_trim:
                self._write_trim(commands, page)
            else:
                self._write_script(commands, page)
        if not self.events and self._may_wait and self._member.held.untidy and self._member.may_trim:
            self._write_trim(commands, ())
        elif not (self.events or self._pending) and self._member.trim_at < math.inf and self._is_for_script(()):
            self._write_script(commands, ())

    def _write_kept(self, commands: CommandBuffer) -> Flow[None]:
        """Append what acknowledges events that stay in the stream: ``XACK stream group id...``"""
        member = self._member
        if not self._pending:  # they were acknowledged when they were read
            member.implementation.mark_acknowledged(self.events)
            return
        size = min(PAGE, member.page)
        for begin in range(0, len(self.events), size):
            if begin:
                yield YieldControl()
            page = self.events[begin : begin + size]
            if member.fence is None:
                commands.with_ids(("XACK", member.stream, member.group), page)
                self._pages.append(_Page(1, page))
            else:
                script = FENCED_ACKNOWLEDGE_KEPT
                before = commands.command_count
                commands.with_ids((*member.scripting.call(script), *member.keys, member.group), page)
                self._pages.append(_Page(commands.command_count - before, page, script=script))

    def _has_to_ask(self) -> bool:
        """Whether XACK and XDEL might delete what another group has not had, and no script may look."""
        member = self._member
        if member.scripting.allowed or member.shared or member.fence is not None:
            return False
        return time.monotonic() >= member.groups_known_until

    def _is_for_script(self, events: Sequence[Any]) -> bool:
        member = self._member
        if member.fence is not None:
            return True
        if not member.scripting.allowed:
            return member.shared  # XACK and XDEL would delete what another group has not had
        return not (self._pending and few_and_alone(member, events))

    def _write_trim(self, commands: CommandBuffer, events: Sequence[Any]) -> None:
        """``XACK stream group id...``, and the script that deletes what every group is past."""
        member, held = self._member, self._member.held
        before = commands.command_count
        if events:
            commands.with_ids(("XACK", member.stream, member.group), events)
        span = held.begun((events[0].entry_id, events[-1].entry_id) if events else NOTHING)
        looks_at = max(_LOOKED_AT, 2 * len(events)) if not events or held.stuck else 0
        call = (*member.scripting.call(TRIM_ACKNOWLEDGED), 1, member.stream, member.group)
        commands.command(*call, *span, looks_at, held.cursor)
        self._pages.append(_Page(commands.command_count - before, events, span, TRIM_ACKNOWLEDGED, looks_at))

    def _write_plain(self, commands: CommandBuffer, events: Sequence[Any]) -> None:
        """``XACK stream group id...`` and ``XDEL stream id...``"""
        before = commands.command_count
        if self._pending:
            commands.with_ids(("XACK", self._member.stream, self._member.group), events)
        commands.with_ids(("XDEL", self._member.stream), events)
        self._pages.append(_Page(commands.command_count - before, events))

    def _write_script(self, commands: CommandBuffer, events: Sequence[Any]) -> None:
        before = commands.command_count
        member = self._member
        script = ACKNOWLEDGE if self._pending else TRIM_DELIVERED
        if member.fence is not None:
            script = _FENCED[script]
        head = (*member.scripting.call(script), *member.keys)
        span = member.held.sent
        if self._pending:
            commands.with_ids((*head, member.group, *span), events)
        else:
            commands.command(*head, member.group)
        self._pages.append(_Page(commands.command_count - before, events, span, script))

    @property
    def takes(self) -> list[Take]:
        """How to read the replies."""
        takes: list[Take] = []
        for page in self._pages:
            takes += self._takes(page)
        return takes

    def receive(self) -> Flow[list[Any]]:
        """Take the replies: only then are events acknowledged. Returns those that must be written once more."""
        replies = iter((yield ReceiveAll(self.takes)))
        again: list[Any] = []
        for place, page in enumerate(self._pages):
            if place:
                yield YieldControl()
            again += self._settled(page, list(islice(replies, page.replies)))
        self._pages = []
        return again

    @property
    def is_one(self) -> bool:
        """Whether it is one page, whose replies `answered` takes."""
        return len(self._pages) == 1

    def answered(self, replies: Sequence[Any]) -> list[Any]:
        """As `receive`, if it is one page, and these replies came already."""
        return self._settled(self._pages.pop(), replies)

    def _settled(self, page: _Page, replies: Sequence[Any]) -> list[Any]:
        events = page.events
        try:
            for reply in replies:
                self._settle(page, reply)
        except ScriptRefusedError:
            return list(events)
        self._member.implementation.mark_acknowledged(events)
        page.events = ()
        return []

    @staticmethod
    def _takes(page: _Page) -> Sequence[Take]:
        if page.asks:
            return (any_reply,)
        if page.script in (None, FENCED_ACKNOWLEDGE_KEPT):
            return (NUMBER,) * page.replies
        if page.script is TRIM_ACKNOWLEDGED:
            return (NUMBER, TIDIED)[-page.replies :]
        return (ACKNOWLEDGEMENT if page.script in _ACKNOWLEDGING else TRIMMED,) * page.replies

    def _settle(self, page: _Page, reply: Any) -> None:
        member = self._member
        if page.asks:
            if not is_missing(reply) and not (isinstance(reply, ErrorReply) and reply.code == "NOPERM"):
                own = member.group.encode()
                member.shared = any(named(group)["name"] != own for group in raise_for_error(reply))
            member.groups_known_until = time.monotonic() + _GROUPS_KNOWN
            raise ScriptRefusedError  # now it is known how to acknowledge
        if isinstance(reply, ErrorReply) and reply.code == "FENCED":
            raise LeaseLostError(member.stream)
        if page.script is FENCED_ACKNOWLEDGE_KEPT:
            member.scripting.answered(page.script, reply)
            return
        if page.script is None or type(reply) is int:  # of XACK, in front of the script
            raise_for_error(reply)
            return
        others, *rest = member.scripting.answered(page.script, reply, needed=member.shared)
        member.shared = others > 0
        if page.script in (TRIM_DELIVERED, FENCED_TRIM_DELIVERED):
            member.trim_at = time.monotonic() + _TRIMMED_AGAIN if rest[0] else math.inf
            return
        member.alone_until = -math.inf if member.shared else time.monotonic() + _ALONE
        lowest, highest, *of_trim = rest
        if of_trim and of_trim[1]:
            member.by_ids_until = time.monotonic() + _BY_IDS
            member.held.untidy = False
            raise ScriptRefusedError  # once more, by their IDs
        member.held.tried(page.span, (lowest.decode(), highest.decode()))
        if of_trim:
            moved = lowest.decode() != page.span[0]
            member.held.trimmed(len(page.events), moved, page.looks_at, of_trim[0].decode())


def few_and_alone(member: GroupMember, events: Sequence[Any]) -> bool:
    """Whether XACK and XDEL are the best way for these events: they are few, and no other group needs them.

    Nothing that was acknowledged before may be left in the stream.
    """
    return (
        len(events) <= _FEW
        and time.monotonic() < member.alone_until
        and len(member.groups) == 1
        and member.fence is None
        and not member.held
        and member.scripting.allowed
        and not member.keeps
    )


def joined(first: list[Any], then: list[Any]) -> list[Any]:
    """Both lists of events as one, in the order of their IDs, which the scripts rely on.

    They are out of order where another client has set the group back (XGROUP SETID) between two reads.
    """
    events = first + then
    if first and then and by_id(first[-1]) > by_id(then[0]):
        events.sort(key=by_id)
    return events


def acknowledge(
    member: GroupMember, events: Sequence[Any], recovery: Recovery | None = None, *, pending: bool = True
) -> Flow[None]:
    """Acknowledge and delete those of the events that are not yet acknowledged; sent again if the connection breaks.

    A packed entry is acknowledged with the last of its events.

    `pending` is false for events that were read at most once. An empty list of those trims what could not be trimmed
    before.
    """
    waiting = member.completed(list(events))

    def attempt() -> Flow[None]:
        nonlocal waiting
        while True:
            commands = member.commands()
            acknowledgements = Acknowledgements(member, waiting, pending=pending)
            yield from acknowledgements.write(commands)
            if not commands.command_count:
                return
            yield Send(commands)
            waiting = yield from acknowledgements.receive()
            if not waiting:
                return

    if waiting or not (events or pending):
        yield from member.recovered(attempt, recovery)
