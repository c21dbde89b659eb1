"""Calls Lua scripts: by SHA-1 once the server knows the script, with its text before that."""

from __future__ import annotations

import math
import time
from typing import Any

from ..protocol.interface import ErrorReply
from ..scripts import Script
from .retry import raise_for_error
from .server_errors import forbids_scripts

__all__ = ["ScriptRefusedError", "Scripting"]

# Seconds after which a forbidden script is tried again, because the user may have got the right. A read that blocks
# takes less.
_TRIED_AGAIN = 5.0


class ScriptRefusedError(Exception):
    """The server has not run the script, or not to its end: `Scripting.allowed` and `Scripting.call` have changed."""


class Scripting:
    """What is known of the scripts on one server.

    Attributes:
        required: whether a script can't be replaced by other commands, so that the server must allow scripts.
    """

    __slots__ = ("_forbidden_until", "_known", "required")

    def __init__(self, *, required: bool = False) -> None:
        self.required: bool = required
        self._forbidden_until = -math.inf  # monotonic seconds
        self._known: set[str] = set()

    @property
    def allowed(self) -> bool:
        """Whether scripts may be run, as far as is known."""
        return self._forbidden_until == -math.inf or time.monotonic() >= self._forbidden_until

    def call(self, script: Script) -> tuple[str, str]:
        """The first two arguments of the command that runs the script."""
        return ("EVALSHA", script.sha) if script.sha in self._known else ("EVAL", script.text)

    def answered(self, script: Script, reply: Any, *, needed: bool = False) -> Any:
        """Return the script's reply if it is no error.

        Args:
            script: the script that was called.
            reply: the server's reply to that.
            needed: whether this call can't be replaced by other commands; as `required`.

        Raises:
            ScriptRefusedError: if the server does not know the script, or forbids it although it is not required.
            ServerNotReadyError, redis.ResponseError: as `raise_for_error`.
        """
        if isinstance(reply, ErrorReply):
            if reply.code == "NOSCRIPT":
                self._known.discard(script.sha)
                raise ScriptRefusedError
            if not (self.required or needed) and forbids_scripts(reply):
                self._forbidden_until = time.monotonic() + _TRIED_AGAIN
                raise ScriptRefusedError
        raise_for_error(reply)
        self._known.add(script.sha)
        return reply
