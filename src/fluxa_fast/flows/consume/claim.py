"""Taking over what other consumers left pending, and leaving a group without losing anything."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ...protocol.interface import ErrorReply, EventBatch, ReplyReader
from ...scripts import LEAVE_GROUP
from ..replies import NUMBER, PENDING_ENTRIES
from ..retry import Recovery, raise_for_error
from ..scripting import ScriptRefusedError
from ..steps import Flow, Receive, Send, ask
from .acknowledge import acknowledge, forget_deleted
from .group_member import GROUP, GroupMember
from .reading import handle

__all__ = ["auto_claim", "cleanup", "pending_of"]

_START = "0-0"


def auto_claim(member: GroupMember, count: int, min_idle: float) -> Flow[int]:
    """Claim and handle what is pending for any consumer for `min_idle` seconds or longer, by pages of `count`.

    Follows the server's cursor to the end, or until `stop()`; a page may be empty before the end (the server looks at
    count x 10 entries).
    Returns how many events were handled.
    """
    cursor = _START
    count = min(count, member.page)
    handled = 0
    while not member.stopping.is_set():
        batch: EventBatch | None = yield from member.in_group(partial(_claim, member, count, min_idle, cursor))
        if batch is None:
            break
        yield from forget_deleted(member, batch.deleted)
        member.deleted += batch.dropped
        handled += yield from handle(member, batch.events)
        cursor = batch.cursor or _START
        if cursor == _START:
            break
    return handled


def _claim(member: GroupMember, count: int, min_idle: float, cursor: str) -> Flow[Any]:
    """``XAUTOCLAIM stream group consumer min-idle-ms cursor COUNT n``"""

    def take(reader: ReplyReader) -> Any:
        return reader.read_claimed(member.stream, member.acknowledge)

    commands = member.commands()
    commands.xautoclaim(member.stream, GROUP, member.name, round(min_idle * 1000), cursor, count=count)
    yield Send(commands)
    return (yield Receive(take))


def cleanup(member: GroupMember, recovery: Recovery | None = None) -> Flow[int]:
    """Leave the group, unless entries are pending for this consumer: it then stays for `auto_claim` to find them.

    The server decides, in a script. Where scripts are forbidden the consumer stays: nothing can be lost that way.
    Returns how many entries are pending.
    """

    def attempt() -> Flow[int]:
        scripting = member.scripting
        while scripting.allowed:
            commands = member.commands()
            commands.command(*scripting.call(LEAVE_GROUP), 1, member.stream, GROUP, member.name)
            reply = yield from ask(commands, NUMBER)
            try:
                return int(scripting.answered(LEAVE_GROUP, reply))
            except ScriptRefusedError:
                continue
        return (yield from pending_of(member))

    if member.trim_at < math.inf:
        yield from acknowledge(member, [], recovery, pending=False)
    pending: int = (yield from member.recovered(attempt, recovery)) or 0
    member.replaying = True  # should the consumer be used again
    return pending


def pending_of(member: GroupMember) -> Flow[int]:
    """``XPENDING stream group - + 1000 consumer``, page by page."""
    total = 0
    after = "-"
    while True:
        commands = member.commands()
        commands.xpending_range(member.stream, GROUP, after, "+", 1000, consumer=member.name)
        reply = yield from ask(commands, PENDING_ENTRIES)
        if isinstance(reply, ErrorReply) and reply.code == "NOGROUP":
            return total
        entries = raise_for_error(reply)
        total += len(entries)
        if len(entries) < 1000:
            return total
        after = "(" + entries[-1][0].decode()
