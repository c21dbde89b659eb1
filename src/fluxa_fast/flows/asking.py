"""Puts ASKING before commands: a node accepts them then for a slot that it does not have yet."""

from __future__ import annotations

from collections.abc import Iterator

from ..protocol.interface import CommandBuffer

__all__ = ["with_asking"]


def with_asking(commands: CommandBuffer) -> CommandBuffer:
    """Return a copy of the commands with ASKING before each of them."""
    asking = type(commands)()
    with commands.view() as view:
        text = bytes(view)
    for command in _commands(text):
        asking.command("ASKING")
        asking.command(*command)
    return asking


def _commands(text: bytes) -> Iterator[list[bytes]]:
    """The commands of a buffer: the arguments of each."""
    at = 0

    def number() -> int:
        """Read the number of a RESP header (``*3`` or ``$5``)."""
        nonlocal at
        begin, at = at + 1, text.index(b"\r\n", at) + 2
        return int(text[begin : at - 2])

    while at < len(text):
        command = []
        for _ in range(number()):
            size = number()
            command.append(text[at : at + size])
            at += size + 2
        yield command
