"""Acknowledging and deleting what was handled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..protocol.interface import CommandBuffer
from .membership import GROUP, Membership
from .recovery import Recovery, checked, recovered
from .steps import Flow, Receive, Send, any_reply

__all__ = ["acknowledge", "forget_deleted", "receive_acknowledgements", "write_acknowledgements"]

_PAGE = 10_000  # IDs in one command; Redis: at most 1 048 576 arguments


def acknowledge(member: Membership, events: Sequence[Any], recovery: Recovery | None = None) -> Flow[None]:
    """Acknowledge and delete those of the events that are not yet acknowledged; sent again if the connection breaks."""

    def attempt() -> Flow[None]:
        commands = member.commands()
        replies = write_acknowledgements(commands, member, events)
        if replies:
            yield Send(commands)
            yield from receive_acknowledgements(member, events, replies)

    if events:
        yield from recovered(recovery or member.recovery, attempt)


def write_acknowledgements(commands: CommandBuffer, member: Membership, events: Sequence[Any]) -> int:
    """``XACK stream group id...`` and ``XDEL stream id...``, by the page. Returns how many replies will come."""
    before = commands.commands
    for begin in range(0, len(events), _PAGE):
        commands.acknowledge(member.stream, GROUP, events[begin : begin + _PAGE])
    return commands.commands - before


def receive_acknowledgements(member: Membership, events: Sequence[Any], replies: int) -> Flow[None]:
    """Take the replies to `write_acknowledgements`: only then are the events acknowledged."""
    received = []
    for _ in range(replies):
        received.append((yield Receive(any_reply)))
    for reply in received:
        checked(reply)
    member.implementation.mark_acknowledged(events)


def forget_deleted(member: Membership, ids: Sequence[str]) -> Flow[None]:
    """Acknowledge pending entries that are no longer in the stream: nobody can handle them any more."""
    for begin in range(0, len(ids), _PAGE):
        page = ids[begin : begin + _PAGE]

        def attempt(page: Sequence[str] = page) -> Flow[None]:
            commands = member.commands()
            commands.xack(member.stream, GROUP, page)
            yield Send(commands)
            checked((yield Receive(any_reply)))

        yield from recovered(member.recovery, attempt)
    member.deleted += len(ids)
