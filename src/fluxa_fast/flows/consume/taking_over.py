"""The commands that take over entries of other consumers, and their replies.

A script finds them by XPENDING with IDLE, up to the newest entry that may have been idle for so long. XAUTOCLAIM looks
at every pending entry; it is used where the server forbids scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...protocol.interface import CommandBuffer, ErrorReply, ReplyReader
from ...scripts import CLAIM, FENCED_CLAIM, Script
from ..scripting import ScriptRefusedError
from ..steps import Flow, Receive, Take
from .asking import Asking
from .group_member import GROUP_LOST, GroupMember
from .handing_back import HANDED_BACK
from .in_flight import AGAIN, Reading
from .leases import is_fenced
from .partition_state import FIRST_CLAIM, Partition, ReadEvents

__all__ = ["ClaimReply", "write_claim", "write_take_over"]

_MOST = 100  # entries that are taken over at once: each takes the server more than ten microseconds


def write_claim(commands: CommandBuffer, partition: Partition, count: int, min_idle: float) -> ClaimReply:
    """Append the command that claims a page for `auto_claim`. Returns what takes its reply.

    Args:
        commands: what to append it to.
        partition: whose entries are claimed.
        count: how many at most.
        min_idle: seconds since the last delivery, at least.
    """
    member, cursor = partition.member, partition.claim_cursor
    assert cursor is not None
    milliseconds = round(min_idle * 1000)
    if not member.claiming.allowed:
        commands.xautoclaim(member.stream, member.group, member.name, milliseconds, cursor, count=count)
        return ClaimReply(partition)
    after = "-" if cursor == FIRST_CLAIM else f"({cursor}"
    script = _script(member)
    arguments = (member.group, member.name, milliseconds, count, after, "")
    commands.command(*member.claiming.call(script), *member.keys, *arguments)
    return ClaimReply(partition, script)


def write_take_over(commands: CommandBuffer, partition: Partition, count: int, asking: Asking) -> ClaimReply:
    """Append the command that takes over what the consumer has found by asking. Returns what takes its reply."""
    member = partition.member
    partition.taking_over()
    script = _script(member)
    count = min(count, _MOST)
    arguments = (member.group, member.name, asking.milliseconds, count, "-", HANDED_BACK)
    commands.command(*asking.scripting.call(script), *member.keys, *arguments)
    return _TakenOver(partition, script, asking)


def _script(member: GroupMember) -> Script:
    return CLAIM if member.fence is None else FENCED_CLAIM


class ClaimReply(Reading):
    """The events that `auto_claim` takes over. `script`: that was called; None: XAUTOCLAIM was sent."""

    def __init__(self, partition: Partition, script: Script | None = None) -> None:
        super().__init__(partition)
        self._script = script

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        partition, member = self.partition, self.partition.member
        reply = yield Receive(_claimed(member))
        if is_fenced(reply):
            partition.lease_lost(AGAIN)
            self._answered(None)
            return ()
        if self._script is not None and not self._was_run(self._script, reply):
            return ()
        batch = self._batch(reply)
        if batch is None:
            return ()
        partition.forget(batch.deleted)
        member.deleted += batch.dropped
        self._answered(batch.cursor)
        batch.events = member.resumed(batch.events)
        return (ReadEvents(partition, batch.events, pending=True, new=False),) if batch.events else ()

    def _was_run(self, script: Script, reply: Any) -> bool:
        try:
            self.partition.member.claiming.answered(script, reply)
        except ScriptRefusedError:  # the next round sends it with its text, or sends XAUTOCLAIM
            return False
        return True

    def _answered(self, cursor: str | None) -> None:
        self.partition.claim_was_answered(cursor)

    def lost(self) -> None:
        self.partition.read_was_lost()


class _TakenOver(ClaimReply):
    """The events that a consumer takes over between its reads."""

    def __init__(self, partition: Partition, script: Script, asking: Asking) -> None:
        super().__init__(partition, script)
        self._asking = asking

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        found = yield from super().receive()
        self.partition.took_over()
        return found

    def lost(self) -> None:
        self.partition.took_over()
        super().lost()

    def _was_run(self, script: Script, reply: Any) -> bool:
        lost = isinstance(reply, ErrorReply) and reply.code in GROUP_LOST
        return lost or self._asking.result(script, reply, [self.partition]) is not None

    def _answered(self, cursor: str | None) -> None:
        if cursor not in (None, FIRST_CLAIM):
            self.partition.may_take_over()  # a full batch: there may be more
            self._asking.found = True


def _claimed(member: GroupMember) -> Take:
    def take(reader: ReplyReader) -> Any:
        return reader.read_claimed(member.stream, member.acknowledge)

    return take
