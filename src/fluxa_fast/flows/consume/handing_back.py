"""What a consumer that stops hands back, and how consumers that go on get it.

A consumer that stops gives what it has read and not handled to a reserved name in the group. Of the consumers that find
no events, one asks for what that name has, four times a second; the others only ask whether that one is still there. So
events wait for less than a second when a consumer stops, and the number of consumers does not matter to the server.

Each consumer of `consumer_single` and `consumer_ordered` has the same name in the group as the next one, which begins
with what is pending for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from ...groups import beside_group
from ...protocol.interface import CommandBuffer, ErrorReply
from ...scripts import HAND_BACK, TAKE_BACK
from ..replies import NUMBER
from ..scripting import Scripting, ScriptRefusedError
from ..steps import Flow, Receive, Send, any_reply
from .in_flight import PendingReply
from .partition_state import Partition, ReadEvents

__all__ = ["HANDED_BACK", "Asking", "hand_back"]

HANDED_BACK = "consumer-handed-back"
"""The name in a group that has what consumers have handed back. Nothing may ever remove it from the group."""

_EACH = 0.25  # seconds between two questions of the consumer that asks
_BELIEVED = 600  # milliseconds for which it is the one, if it does not ask again
_ANOTHER_ASKS = 1.0  # seconds until another consumer asks again; longer if they are many
_MOST_A_SECOND = 6  # questions by all other consumers together
_PARTITIONS = 100  # in one question
_ENTRIES = 100  # of one partition, that are taken at once
_PAGE = 10_000  # entries that one call hands back
_NOT_ALLOWED = 60.0  # seconds after which a user without the rights asks again


def hand_back(partitions: Sequence[Partition]) -> Flow[None]:
    """Hand back what is pending for a consumer that stops.

    Where the server forbids scripts, it stays pending for this consumer.

    Raises:
        ServerNotReadyError, redis.RedisError: what the server or the network says.
    """
    waiting = list(partitions)
    while waiting := [one for one in waiting if one.member.scripting.allowed]:
        commands = waiting[0].member.commands()
        for partition in waiting:
            member = partition.member
            call = (*member.scripting.call(HAND_BACK), 1, member.stream)
            commands.command(*call, member.group, member.name, HANDED_BACK, _PAGE)
        yield Send(commands)
        replies = []
        for _ in waiting:
            replies.append((yield Receive(NUMBER)))
        again = []
        for partition, reply in zip(waiting, replies, strict=True):
            try:
                if partition.member.scripting.answered(HAND_BACK, reply):
                    again.append(partition)
            except ScriptRefusedError:
                again.append(partition)
        waiting = again


class Asking:
    """When one consumer asks one node for what was handed back.

    Args:
        group: of the consumer.
        name: of the consumer.
        scripting: what is known of the script that asks. A user may have the rights to acknowledge, and none to ask.
    """

    def __init__(self, group: str, name: str, scripting: Scripting) -> None:
        self._group = group
        self._name = name
        self._scripting = scripting
        self._at = 0.0
        self._turn = 0

    @property
    def wait(self) -> float:
        """Seconds for which a read may block, so that the next question is in time."""
        left = self._at - time.monotonic()
        return left if left > 0 else _EACH

    def write(self, commands: CommandBuffer, partitions: Sequence[Partition], *, one_slot: bool) -> PendingReply | None:
        """Append the question, if it is time for it. `one_slot`: a script may have several Redis keys."""
        now = time.monotonic()
        if now < self._at:
            return None
        self._at = now + _EACH
        count = min(_PARTITIONS if one_slot else 1, len(partitions))
        asked = [partitions[(self._turn + at) % len(partitions)] for at in range(count)]
        self._turn = (self._turn + count) % len(partitions)
        keys = [one.member.stream for one in asked]
        first = beside_group(partitions[0].member.stream if one_slot else keys[0], "asking", self._group)
        arguments = (self._group, self._name, HANDED_BACK, _BELIEVED, _ENTRIES)
        commands.command(*self._scripting.call(TAKE_BACK), 1 + len(keys), first, *keys, *arguments)
        return TakenBack(asked, self)

    def answered(self, partitions: Sequence[Partition], reply: Any) -> None:
        """Take the reply: what was taken over is pending for this consumer now.

        Raises:
            ServerNotReadyError: for an error that passes.
        """
        try:
            consumers, *taken = self._scripting.answered(TAKE_BACK, reply)
        except (ScriptRefusedError, ResponseError):  # at once if the server only did not know the script
            unknown = isinstance(reply, ErrorReply) and reply.code == "NOSCRIPT"
            self._at = 0.0 if unknown else time.monotonic() + _NOT_ALLOWED
            return
        if consumers >= 0:
            pause = max(_ANOTHER_ASKS, consumers / _MOST_A_SECOND)
            self._at = time.monotonic() + pause * random.uniform(0.75, 1.25)
        for partition, count in zip(partitions, taken, strict=False):
            if count:
                partition.replay()


class TakenBack(PendingReply):
    """What was handed back, and is this consumer's now."""

    def __init__(self, partitions: Sequence[Partition], asking: Asking) -> None:
        super().__init__(partitions[0])
        self.partitions = partitions
        self._asking = asking

    def receive(self) -> Flow[Sequence[ReadEvents]]:
        self._asking.answered(self.partitions, (yield Receive(any_reply)))
        return ()
