"""Which consumer owns which partition: leases in Redis, which the consumers share out fairly.

A lease is a Redis key beside its partition, in the same slot. It holds its owner's name, and expires. Scripts compare
it before they acknowledge anything, so a consumer that was paused for longer than its lease changes nothing any more. A
roster, beside the first partition, has the names of all consumers: each consumer knows its share from its place in it.
A consumer that owns more than its share leaves partitions once their events are settled; a consumer that owns less
takes free ones.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from ...groups import beside_group
from ...protocol.interface import CommandBuffer, ErrorReply
from ...scripts import RELEASE_LEASE, RENEW_LEASE, ROSTER, TAKE_LEASE, Script
from ..retry import Recovery, raise_for_error
from ..scripting import ScriptRefusedError
from ..steps import Flow, ask
from .group_member import GroupMember
from .leaving import pending_of
from .partition_state import Lease, LeaseState, Partition, PartitionState

__all__ = ["Leases", "is_fenced", "script_reply"]

_LONGEST_INTERVAL = 1.0  # seconds between two looks at the roster


class Leases:
    """The leases of one consumer.

    Args:
        name: of the consumer.
        members: the consumer in the group of each partition, in order.
        seconds: how long a lease lasts without being renewed.

    Attributes:
        interval: seconds between two looks at the roster.
        share: how many partitions are this consumer's; None until the roster is known.
    """

    def __init__(self, name: str, members: Sequence[GroupMember], seconds: float) -> None:
        self.seconds: float = seconds
        self.interval: float = min(_LONGEST_INTERVAL, seconds / 6)
        self.share: int | None = None
        self._name = f"{name}-{secrets.token_hex(8)}"  # no other consumer has it, nor this one in an earlier process
        self._roster = beside_group(members[0].stream, "consumers", members[0].group)
        self._first = members[0]
        self._look_at = -math.inf
        self.all: list[Lease] = [Lease(member, self._name) for member in members]

    def wanted(self) -> int:
        """Return how many more partitions to take; below zero: how many to leave."""
        if self.share is None:
            return 0
        kept = sum(lease.counted and lease.state is not LeaseState.LEAVING for lease in self.all)
        return self.share - kept

    # ---- the roster, which lies beside the first partition ----

    def roster_is_due(self, member: GroupMember, now: float) -> bool:
        """Whether to look at the roster over the connection to this partition's node."""
        return member is self._first and now >= self._look_at

    def write_roster(self, commands: CommandBuffer, member: GroupMember) -> None:
        """Append the script that puts this consumer on the roster, and returns all names."""
        self._look_at = time.monotonic() + self.interval
        milliseconds = round(self.seconds * 1000)
        commands.command(*member.scripting.call(ROSTER), 2, member.stream, self._roster, self._name, milliseconds)

    def take_roster(self, member: GroupMember, reply: Any) -> None:
        """Take the names of all consumers. Their order decides whose share is larger by one."""
        try:
            names = sorted(bytes(name) for name in script_reply(member, ROSTER, reply))
        except ScriptRefusedError:
            self._look_at = -math.inf
            return
        least, larger = divmod(len(self.all), len(names))
        self.share = least + (names.index(self._name.encode()) < larger)

    # ---- one lease ----

    def next_script(self, partition: Partition, wanted: int, now: float) -> Script | None:
        """Return the script that is to be run for the lease of a partition now, if any.

        Args:
            partition: whose lease it is.
            wanted: as `wanted` says.
            now: monotonic seconds.
        """
        lease = partition.lease
        assert lease is not None
        if lease.state is LeaseState.LEAVING and partition.state in (PartitionState.IDLE, PartitionState.REPLAYING):
            return RELEASE_LEASE
        if lease.owned:
            return RENEW_LEASE if now >= lease.renew_at else None
        return TAKE_LEASE if wanted > 0 and now >= lease.try_at else None

    def write(self, commands: CommandBuffer, partition: Partition, script: Script) -> None:
        """Append the script that takes, renews or releases the lease of a partition."""
        member, lease = partition.member, partition.lease
        assert lease is not None
        lease.sent()
        milliseconds = () if script is RELEASE_LEASE else (round(self.seconds * 1000),)
        commands.command(*member.scripting.call(script), *member.keys, *milliseconds)

    def renew(self, partition: Partition) -> Flow[bool]:
        """Renew a lease while the handler works. Returns whether the partition is still this consumer's."""
        lease, member = partition.lease, partition.member
        assert lease is not None
        sent_at = time.monotonic()
        reply = yield from _call(member, RENEW_LEASE, *member.keys, round(self.seconds * 1000))
        if is_fenced(reply):
            return False
        lease.granted(sent_at, self.seconds)
        return True

    # ---- leaving ----

    def leave_roster(self, recovery: Recovery | None = None) -> Flow[int]:
        """Take this consumer off the roster, so that others take over at once. Returns 0, as nothing is pending."""
        keys = (2, self._first.stream, self._roster)
        yield from self._first.recovered(partial(_call, self._first, ROSTER, *keys, self._name, 0), recovery)
        self._look_at = -math.inf
        self.share = None
        return 0

    def release(self, partition: Partition, recovery: Recovery | None = None) -> Flow[int]:
        """Leave a partition to other consumers. Returns how many entries are pending in it."""
        member = partition.member
        pending = 0

        def attempt() -> Flow[None]:
            nonlocal pending
            pending = yield from pending_of(member)
            if is_fenced((yield from _call(member, RELEASE_LEASE, *member.keys))):
                pending = 0  # they are another consumer's

        assert partition.lease is not None
        if partition.lease.owned:
            yield from member.recovered(attempt, recovery)
            partition.lease_released(0.0)
        return pending


def _call(member: GroupMember, script: Script, *arguments: str | int) -> Flow[Any]:
    """Run a script by itself. Returns its reply, also where that says that another consumer is the owner."""
    while True:
        commands = member.commands()
        commands.command(*member.scripting.call(script), *arguments)
        reply = yield from ask(commands)
        if is_fenced(reply):
            return reply
        try:
            return script_reply(member, script, reply)
        except ScriptRefusedError:  # the server does not know the script yet, or not any more
            continue


def is_fenced(reply: Any) -> bool:
    """Whether a script has found another owner."""
    return isinstance(reply, ErrorReply) and reply.code == "FENCED"


def script_reply(member: GroupMember, script: Script, reply: Any) -> Any:
    """Return the script's reply, as `Scripting.answered`; an error that passes is raised as `raise_for_error` does."""
    if not (isinstance(reply, ErrorReply) and reply.code == "NOSCRIPT"):
        raise_for_error(reply)
    return member.scripting.answered(script, reply)
