"""Which errors of a server pass, and which last; also where a script wraps them.

Redis 6.2 wraps an error that a command within a script meets: ``ERR Error running script (call to f_...):
@user_script:7: @user_script: 7: -READONLY You can't write...``. Newer servers keep the error's own code in front.
"""

from __future__ import annotations

import re

from ..errors import PASSING
from ..protocol.interface import ErrorReply

__all__ = ["WAITED_FOR", "forbids_scripts", "unwrapped"]

WAITED_FOR = frozenset(PASSING)
"""Codes that a server answers with for a while: it will serve again, or another server takes its place."""

_WRAPPING = re.compile(r"(?:ERR Error running script \(call to \w+\): )?(?:@user_script: ?\d+: )+-?")
_CODE = re.compile(r"[A-Z]+ ")
_NO_RIGHTS = ("ACL failure in script", "The user executing the script can't")


def unwrapped(reply: ErrorReply) -> ErrorReply:
    """The error that a command met, also where that was within a script."""
    message = reply.message
    if not message.startswith(("ERR ", "@user_script:")):
        return reply
    found = _WRAPPING.match(message)
    inner = message[found.end() :] if found else message.removeprefix("ERR ")
    if inner.startswith(_NO_RIGHTS):
        return ErrorReply(f"NOPERM {inner}")
    return ErrorReply(inner) if found and _CODE.match(inner) else reply


def forbids_scripts(reply: ErrorReply) -> bool:
    """Whether the server lets this user run no script, or none with the commands that the script has.

    A failure of the script itself is none of that.
    """
    error = unwrapped(reply)
    return error.code == "NOPERM" or (error.code == "ERR" and "user_script:" not in error.message)
