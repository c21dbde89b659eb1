"""What a consumer that stops hands back to its group.

A consumer of `consumer_many` gives what it has read and not handled to a reserved name in the group. Consumers that go
on take it over from there (`asking.py`, `taking_over.py`).

Each consumer of `consumer_single` and `consumer_ordered` has the same name in the group as the next one, which begins
with what is pending for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...scripts import HAND_BACK
from ..replies import NUMBER
from ..scripting import ScriptRefusedError
from ..steps import Flow, Receive, Send
from .partition_state import Partition

__all__ = ["HANDED_BACK", "hand_back"]

HANDED_BACK = "consumer-handed-back"
"""The name in a group that has what consumers have handed back. Nothing may ever remove it from the group."""

_PAGE = 10_000  # entries that one call hands back


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
            commands.command(*call, member.group, member.name, HANDED_BACK, _PAGE, *partition.given_up)
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
