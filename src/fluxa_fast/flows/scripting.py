"""Calling a Lua script: by its SHA-1 once the server knows it, with its text before that."""

from __future__ import annotations

from typing import Any

from ..protocol.interface import ErrorReply
from ..scripts import Script
from .recovery import checked

__all__ = ["ScriptRefusedError", "Scripting"]

# The user may not run scripts, or EVALSHA is unknown; and a command within one: so Redis 6.2 begins to say that.
_FORBIDDEN = frozenset({"NOPERM", "ERR", "@user_script:"})


class ScriptRefusedError(Exception):
    """The script did nothing. Ask `Scripting` again how to go on: `allowed` and `call` have changed."""


class Scripting:
    """What is known of one server and scripts.

    Attributes:
        allowed: whether scripts may be run, as far as is known.
        required: whether nothing else would do.
    """

    __slots__ = ("_known", "allowed", "required")

    def __init__(self, *, required: bool = False) -> None:
        self.allowed: bool = True
        self.required: bool = required
        self._known: set[str] = set()

    def call(self, script: Script) -> tuple[str, str]:
        """How the command that runs the script begins."""
        return ("EVALSHA", script.sha) if script.sha in self._known else ("EVAL", script.text)

    def answered(self, script: Script, reply: Any) -> Any:
        """The script's reply, if it is no error.

        Raises:
            ScriptRefusedError: if the server forgot the script, or forbids scripts.
            ServerNotReadyError, redis.ResponseError: as `checked`.
        """
        if isinstance(reply, ErrorReply):
            if reply.code == "NOSCRIPT":
                self._known.discard(script.sha)
                raise ScriptRefusedError
            if reply.code in _FORBIDDEN and not self.required:
                self.allowed = False
                raise ScriptRefusedError
        checked(reply)
        self._known.add(script.sha)
        return reply
