"""When a consumer asks whether there is something that it may take over.

Two kinds of entries are there to be taken over: what consumers have handed back when they stopped, and, for a consumer
that claims, what others have left behind: they crashed, or hang. A question tells which partitions have some.
`taking_over.py` takes them.

Of the consumers that find no events, one asks for what was handed back, four times a second. The others only ask
whether that one is still there. So events wait for less than a second when a consumer stops, and the number of
consumers does not matter to the server. While batches come one after the other, a consumer asks every five seconds, or
every second if it claims: else what was handed back would wait until the last of a long queue was handled.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from ...groups import beside_group
from ...protocol.interface import CommandBuffer, ErrorReply
from ...scripts import ASK, Script
from ..replies import NUMBERS, retold
from ..scripting import Scripting, ScriptRefusedError
from ..server_errors import forbids_scripts
from ..steps import Flow, Receive
from .handing_back import HANDED_BACK
from .in_flight import PendingReply
from .partition_state import Partition, ReadEvents

if TYPE_CHECKING:
    from .group_member import GroupMember

__all__ = ["Asking"]

_EACH = 0.25  # seconds between two questions of the consumer that asks
_BELIEVED = 600  # milliseconds for which it is the one, if it does not ask again
_ANOTHER_ASKS = 1.0  # seconds until another consumer asks again; longer if they are many
_LONGEST = 600.0  # seconds for that
_BUSY = 5.0  # seconds between two questions of a consumer that batches come for, if it does not claim
_MOST_A_SECOND = 3  # questions by all other consumers together, about
_PARTITIONS = 100  # in one question, which is one command
_SLOTS = 2  # in one question on a cluster, each a command of its own
_NOT_ALLOWED = 60.0  # seconds after which a user without the rights asks again
_NAMES = 60.0  # seconds between two looks at names of consumers that are gone
_SILENT = 60.0  # seconds, at least, for which such a name was not heard of
_RIGHTS = "claim_idle= needs +eval +evalsha +get +set +time +xack +xclaim +xgroup|delconsumer +xinfo +xpending"


class Asking:
    """When one consumer asks one node for what it may take over.

    Args:
        member: of the consumer.
        scripting: what is known of the script that asks. A user may have the rights to acknowledge, and none to ask.
        takes_back: whether it takes what was handed back.
        claim_idle: seconds after which it takes over what others have left; None: it does not.

    Attributes:
        scripting: as the argument.
        milliseconds: after how many an entry counts as left behind; "": never.
        found: whether there is something to take over.
        busy_at: when (monotonic seconds) to ask though batches come.
    """

    def __init__(
        self, member: GroupMember, scripting: Scripting, *, takes_back: bool, claim_idle: float | None
    ) -> None:
        self._group = member.group
        self._name = member.name
        self.scripting: Scripting = scripting
        self._takes_back = takes_back
        self.milliseconds: str = "" if claim_idle is None else str(round(claim_idle * 1000))
        self.found: bool = False
        self._silent = math.inf if claim_idle is None else max(_SILENT, claim_idle)
        self._names_at = time.monotonic() + _NAMES * random.uniform(0.5, 1.5)
        self._pause = _ANOTHER_ASKS
        self._at = 0.0
        self._busy_each = _BUSY if claim_idle is None else _ANOTHER_ASKS
        self.busy_at: float = time.monotonic() + self._busy_each
        self._turn = 0

    @property
    def wait(self) -> float:
        """Seconds for which a read may block, so that the next question is in time."""
        left = self._at - time.monotonic()
        return left if left > 0 else _EACH

    def write(
        self, commands: CommandBuffer, partitions: Sequence[Partition], *, one_slot: bool, busy: bool
    ) -> list[PendingReply]:
        """Append the question, if it is time for it. Returns what takes the replies.

        Args:
            commands: what to append it to.
            partitions: of the node.
            one_slot: a script may have several Redis keys.
            busy: events have come just now.
        """
        now = time.monotonic()
        if now < (self.busy_at if busy else self._at) or not partitions:
            return []
        self._at = now + _EACH
        self.busy_at = now + self._busy_each
        count = min(_PARTITIONS if one_slot else _SLOTS, len(partitions))
        asked = [partitions[(self._turn + at) % len(partitions)] for at in range(count)]
        self._turn = (self._turn + count) % len(partitions)
        believed = _BELIEVED if self._takes_back and not busy else 0
        silent: str | int = ""
        if believed and self.milliseconds and now >= self._names_at:
            self._names_at = now + _NAMES * random.uniform(0.75, 1.25)
            silent = round(self._silent * 1000)
        arguments = (self._group, self._name, HANDED_BACK, believed, self.milliseconds, silent)
        written: list[PendingReply] = []
        for those in [asked] if one_slot else [[one] for one in asked]:
            keys = [one.member.stream for one in those]
            first = beside_group(partitions[0].member.stream if one_slot else keys[0], "asking", self._group)
            commands.command(*self.scripting.call(ASK), 1 + len(keys), first, *keys, *arguments)
            written.append(_Asked(those, self))
        return written

    def answered(self, partitions: Sequence[Partition], reply: Any) -> None:
        """Take the reply: which partitions have something to take over.

        Raises:
            ServerNotReadyError, redis.ResponseError: as `result`.
        """
        answer = self.result(ASK, reply, partitions)
        if answer is None:
            return
        asked, *found = answer
        if asked >= 0:  # the more often the others ask all together, the longer is the pause of each
            self._pause = min(_LONGEST, max(_ANOTHER_ASKS, self._pause * asked / _MOST_A_SECOND))
            now, jitter = time.monotonic(), random.uniform(0.5, 1.5)
            self._at = now + self._pause * jitter
            self.busy_at = now + max(self._pause, self._busy_each) * jitter
        for partition, some in zip(partitions, found, strict=False):
            if some:
                partition.may_take_over()
                self.found = True

    def result(self, script: Script, reply: Any, partitions: Sequence[Partition]) -> Any:
        """Return what a script has answered; None: it was not run, and this consumer asks again later.

        Raises:
            ServerNotReadyError: for an error that passes.
            redis.ResponseError: if the consumer was to take over what others left, and has not got the rights.
        """
        try:
            return self.scripting.answered(script, reply, needed=bool(self.milliseconds))
        except ScriptRefusedError:
            unknown = isinstance(reply, ErrorReply) and reply.code == "NOSCRIPT"  # the server has lost it
        except ResponseError as error:
            if self.milliseconds and isinstance(reply, ErrorReply) and forbids_scripts(reply):
                key = beside_group(partitions[0].member.stream, "asking", self._group)
                raise retold(error, behind=f"; {_RIGHTS} and the Redis key {key!r}") from None
            if self.milliseconds:
                raise
            unknown = False
        self._at = self.busy_at = 0.0 if unknown else time.monotonic() + _NOT_ALLOWED
        return None


class _Asked(PendingReply):
    """Which partitions have something to take over."""

    def __init__(self, partitions: Sequence[Partition], asking: Asking) -> None:
        super().__init__(partitions[0])
        self.partitions = partitions
        self._asking = asking

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        self._asking.answered(self.partitions, (yield Receive(NUMBERS)))
        return ()
