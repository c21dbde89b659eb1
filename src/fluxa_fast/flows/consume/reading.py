"""The commands that read: XREADGROUP for one partition or several, and how their replies become events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import methodcaller

from ...protocol.interface import Acknowledges, CommandBuffer
from ..steps import Take
from .group_member import GroupMember
from .partition_state import NEW

__all__ = ["SLICE", "block_milliseconds", "events_reply", "write_read"]

SLICE = 1.0  # seconds that a read blocks at most, so that the consumer soon notices stop()


def write_read(
    commands: CommandBuffer,
    member: GroupMember,
    count: int,
    block: float | None,
    after: str = NEW,
    streams: Sequence[str] = (),
) -> None:
    """``XREADGROUP GROUP group consumer COUNT n [BLOCK ms] [NOACK] STREAMS stream after``

    Args:
        commands: what to append it to.
        member: which consumer reads. Its stream is read, or all `streams`, where it has the same name.
        count: how many events are read at most, for each stream.
        block: seconds that the server waits for an event; None: it does not wait.
        after: `NEW`, `PENDING`, or the ID of a pending entry to go on behind.
        streams: Redis keys.
    """
    noack = member.at_most_once and after == NEW
    places = dict.fromkeys(streams or (member.stream,), after)
    commands.xreadgroup(member.group, member.name, places, count=count, block=block_milliseconds(block), noack=noack)


def block_milliseconds(seconds: float | None) -> int | None:
    """Return what BLOCK takes. 0 would wait for ever."""
    return None if seconds is None else max(1, math.ceil(seconds * 1000))


def events_reply(acknowledge: Acknowledges) -> Take:
    """How to read the reply to XREADGROUP. `acknowledge`: what `Event.ack` calls, for all streams or for each."""
    return methodcaller("read_streams", acknowledge)
