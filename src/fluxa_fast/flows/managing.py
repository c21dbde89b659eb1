"""Changes a group of a stream from outside: removes it, or moves it to another place."""

from __future__ import annotations

from typing import Any, Literal

from ..errors import FluxaError
from ..groups import beside_group
from ..protocol.interface import ErrorReply
from ..scripts import REMOVE_GROUP, SEEK, Script
from .patiently import patiently
from .replies import NUMBER
from .retry import raise_for_error
from .server_errors import rule_of
from .steps import Flow, ask

__all__ = ["PendingEntries", "forget_filter", "remove_group", "seek"]

PendingEntries = Literal["keep", "drop"]

_TOMBSTONE = 3_600_000  # milliseconds: longer than a handler has a batch


def remove_group(pool: Any, key: str, group: str) -> Flow[bool]:
    """``XGROUP DESTROY key group``, in a script that leaves a tombstone. Returns whether there was the group.

    Raises:
        redis.RedisError: as `patiently`.
    """
    keys = (2, key, beside_group(key, "removed", group))
    return bool(raise_for_error((yield from _run(pool, REMOVE_GROUP, *keys, group, _TOMBSTONE))))


def forget_filter(pool: Any, key: str) -> Flow[None]:
    """``DEL key``: the next consumer of the group says which filter it has.

    Where the user has no right to that, the filter stays: a consumer with another one is told which key to delete.

    Raises:
        redis.RedisError: as `patiently`.
    """

    def attempt() -> Flow[None]:
        commands = pool.implementation.CommandBuffer()
        commands.command("DEL", key)
        reply = yield from ask(commands, NUMBER)
        if not (isinstance(reply, ErrorReply) and rule_of(reply).not_allowed):
            raise_for_error(reply)

    return (yield from patiently(pool, key, attempt))


def seek(pool: Any, key: str, group: str, position: str, pending: PendingEntries | None) -> Flow[None]:
    """``XGROUP SETID key group position``, in a script that looks at what is pending before.

    Raises:
        FluxaError: if entries are pending, and `pending` does not say what is to become of them.
        redis.RedisError: as `patiently`.
    """
    reply = yield from _run(pool, SEEK, 1, key, group, position, pending or "")
    if isinstance(reply, ErrorReply) and reply.code == "PENDING":
        count = reply.message.split()[1]
        raise FluxaError(
            f"{count} entries of {key!r} are pending in group {group!r}: let its consumers handle them, or say what is"
            ' to become of them: pending="keep" (they are delivered all the same), or "drop" (they are acknowledged)'
        )
    raise_for_error(reply)


def _run(pool: Any, script: Script, *arguments: str | int) -> Flow[Any]:
    def attempt() -> Flow[Any]:
        commands = pool.implementation.CommandBuffer()
        commands.command("EVAL", script.text, *arguments)
        reply = yield from ask(commands, NUMBER)
        if not (isinstance(reply, ErrorReply) and reply.code == "PENDING"):
            raise_for_error(reply)
        return reply

    return (yield from patiently(pool, str(arguments[1]), attempt))
