"""Who owns which partition: leases in Redis, shared out fairly among the consumers that are there.

A lease is a key beside its partition, in the same slot, that holds its owner's name and expires. Scripts look at it
before they acknowledge anything, so a consumer that was paused past its lease changes nothing any more. A roster,
beside the first partition, has the names of all consumers: from its place in it each knows what its share is.
Whoever has more leaves some, when they are handled to the end; whoever has less takes what is free.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from ...partitions import beside
from ...protocol.interface import CommandBuffer, ErrorReply
from ...scripts import RELEASE_LEASE, ROSTER, Script
from ..retry import Recovery, raise_for_error
from ..scripting import ScriptRefusedError
from ..steps import Flow, ask
from .claim import pending_of
from .group_member import Fence, GroupMember

__all__ = ["Lease", "Leases", "answered", "is_fenced"]

_LONGEST_INTERVAL = 1.0  # seconds between two looks at who is there
_BELIEVED = 0.9  # of a lease: the rest is for what the clocks differ, and for what the network takes


class Lease:
    """The lease on one partition.

    Attributes:
        fence: what scripts check.
        owned: whether it was taken, as far as is known.
        valid_until: when it is believed to end (monotonic seconds).
        renew_at: when it is to be renewed.
        try_at: when it may be tried to take it.
        asked: a command about it is under way.
        leaving: it is to be released once all that is in hand is handled.
    """

    def __init__(self, member: GroupMember, owner: str) -> None:
        self.fence: Fence = Fence(beside(member.stream, "lease"), owner)
        self.owned: bool = False
        self.valid_until: float = -math.inf
        self.renew_at: float = -math.inf
        self.try_at: float = -math.inf
        self.asked: bool = False
        self.leaving: bool = False
        member.fence = self.fence
        member.scripting.required = True

    @property
    def valid(self) -> bool:
        """Whether it is owned, and nobody else can own it yet."""
        return self.owned and time.monotonic() < self.valid_until

    def granted(self, sent_at: float, seconds: float) -> None:
        """The server has given it, or given it for longer, when asked at that time."""
        self.owned = True
        self.valid_until = sent_at + _BELIEVED * seconds
        self.renew_at = sent_at + seconds / 3

    def gone(self, again_in: float) -> None:
        """It is not owned any more."""
        self.owned = False
        self.leaving = False
        self.try_at = time.monotonic() + again_in


class Leases:
    """The leases of one consumer.

    Args:
        name: of the consumer.
        members: of the partitions, in order.
        seconds: how long a lease lasts without being renewed.

    Attributes:
        share: how many partitions are this consumer's; None until the roster is known.
    """

    def __init__(self, name: str, members: Sequence[GroupMember], seconds: float) -> None:
        self.seconds: float = seconds
        self.interval: float = min(_LONGEST_INTERVAL, seconds / 6)
        self.share: int | None = None
        self._name = f"{name}-{secrets.token_hex(8)}"  # nobody else has it, not even this consumer in another life
        self._roster = beside(members[0].stream, "consumers")
        self._first = members[0]
        self._look_at = -math.inf
        self.all: list[Lease] = [Lease(member, self._name) for member in members]

    @property
    def owned(self) -> int:
        """Partitions that are owned, or asked for."""
        return sum(lease.owned or lease.asked for lease in self.all)

    def wanted(self) -> int:
        """How many more partitions to take; below zero: how many to leave."""
        leaving = sum(lease.leaving for lease in self.all)
        return 0 if self.share is None else self.share - (self.owned - leaving)

    # ---- what goes over the connection to the node of a partition ----

    def roster_is_due(self, member: GroupMember, now: float) -> bool:
        """Whether to look at who is there; the roster lies beside the first partition."""
        return member is self._first and now >= self._look_at

    def write_roster(self, commands: CommandBuffer, member: GroupMember) -> None:
        """Say that this consumer is there, and ask who is."""
        self._look_at = time.monotonic() + self.interval
        milliseconds = round(self.seconds * 1000)
        commands.command(*member.scripting.call(ROSTER), 2, member.stream, self._roster, self._name, milliseconds)

    def take_roster(self, member: GroupMember, reply: Any) -> None:
        """The names of all consumers: whose share is larger by one is decided by their order."""
        try:
            names = sorted(bytes(name) for name in answered(member, ROSTER, reply))
        except ScriptRefusedError:
            self._look_at = -math.inf
            return
        most, larger = divmod(len(self.all), len(names))
        self.share = most + (names.index(self._name.encode()) < larger)

    def write(self, commands: CommandBuffer, member: GroupMember, lease: Lease, script: Script) -> None:
        """Take a lease, renew it, or release it."""
        lease.asked = True
        milliseconds = () if script is RELEASE_LEASE else (round(self.seconds * 1000),)
        commands.command(*member.scripting.call(script), *member.keys, *milliseconds)

    # ---- leaving ----

    def leave(self, recovery: Recovery | None = None) -> Flow[int]:
        """Go from the roster, so that others take over at once."""
        keys = (2, self._first.stream, self._roster)
        yield from self._first.recovered(partial(_call, self._first, ROSTER, *keys, self._name, 0), recovery)
        self._look_at = -math.inf
        self.share = None
        return 0

    def release(self, member: GroupMember, lease: Lease, recovery: Recovery | None = None) -> Flow[int]:
        """Leave a partition to others. Returns how many entries are pending in it."""
        pending = 0

        def attempt() -> Flow[None]:
            nonlocal pending
            pending = yield from pending_of(member)
            if is_fenced((yield from _call(member, RELEASE_LEASE, *member.keys))):
                pending = 0  # they are somebody else's

        if lease.owned:
            yield from member.recovered(attempt, recovery)
            lease.gone(0.0)
            member.replaying = True
            member.trim_at = math.inf
        return pending


def _call(member: GroupMember, script: Script, *arguments: str | int) -> Flow[Any]:
    """Run a script by itself. Returns its reply, also where that says that somebody else is the owner."""
    while True:
        commands = member.commands()
        commands.command(*member.scripting.call(script), *arguments)
        reply = yield from ask(commands)
        if is_fenced(reply):
            return reply
        try:
            return answered(member, script, reply)
        except ScriptRefusedError:  # the server does not know it yet, or not any more
            continue


def is_fenced(reply: Any) -> bool:
    """Whether a script has found another owner."""
    return isinstance(reply, ErrorReply) and reply.code == "FENCED"


def answered(member: GroupMember, script: Script, reply: Any) -> Any:
    """The script's reply, as `Scripting.answered`; but what passes is told by the reply's own exception."""
    if not (isinstance(reply, ErrorReply) and reply.code == "NOSCRIPT"):
        raise_for_error(reply)
    return member.scripting.answered(script, reply)
