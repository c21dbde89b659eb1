"""Leaving a group without losing an event."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ...protocol.interface import ErrorReply
from ...scripts import LEAVE_GROUP
from ..replies import NUMBER, PENDING_ENTRIES
from ..retry import Recovery, raise_for_error
from ..scripting import ScriptRefusedError
from ..steps import Flow, ask
from .acknowledge import acknowledge
from .group_member import GroupMember
from .partition_state import Partition

__all__ = ["leave_group", "pending_of"]

_PAGE = 1000  # entries that one XPENDING lists


def leave_group(partition: Partition, recovery: Recovery | None = None) -> Flow[int]:
    """Leave the group, unless entries are pending for this consumer: it then stays for `auto_claim` to find them.

    A script decides on the server. Where the server forbids scripts the consumer stays: nothing can be lost that way.
    Returns how many entries are pending.
    """
    member = partition.member
    if member.trim_at < math.inf:
        yield from acknowledge(member, [], recovery, pending=False)
    pending: int = (yield from member.recovered(partial(_leave, member), recovery)) or 0
    partition.replay()  # should the consumer be used again
    return pending


def _leave(member: GroupMember) -> Flow[int]:
    scripting = member.scripting
    while scripting.allowed:
        commands = member.commands()
        commands.command(*scripting.call(LEAVE_GROUP), 1, member.stream, member.group, member.name)
        reply = yield from ask(commands, NUMBER)
        try:
            return int(scripting.answered(LEAVE_GROUP, reply))
        except ScriptRefusedError:
            continue
    return (yield from pending_of(member))


def pending_of(member: GroupMember) -> Flow[int]:
    """``XPENDING stream group - + 1000 consumer``, page by page. Returns how many entries are pending."""
    total = 0
    after = "-"
    while True:
        commands = member.commands()
        commands.xpending_range(member.stream, member.group, after, "+", _PAGE, consumer=member.name)
        reply: Any = yield from ask(commands, PENDING_ENTRIES)
        if isinstance(reply, ErrorReply) and reply.code == "NOGROUP":
            return total
        entries = raise_for_error(reply)
        total += len(entries)
        if len(entries) < _PAGE:
            return total
        after = "(" + entries[-1][0].decode()
