"""Calling a Lua script: by its SHA-1 once the server knows it, with its text before that."""

from __future__ import annotations

import math
import time
from typing import Any

from ..protocol.interface import ErrorReply
from ..scripts import Script
from .retry import raise_for_error
from .server_errors import forbids_scripts

__all__ = ["ScriptRefusedError", "Scripting"]

_TRIED_AGAIN = 5.0  # seconds until it is tried again: the right may have been given. Longer than a read blocks


class ScriptRefusedError(Exception):
    """The script did not do all that it is for. Ask `Scripting` how to go on: `allowed` and `call` have changed."""


class Scripting:
    """What is known of one server and scripts.

    Attributes:
        required: whether nothing else would do.
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
        """How the command that runs the script begins."""
        return ("EVALSHA", script.sha) if script.sha in self._known else ("EVAL", script.text)

    def answered(self, script: Script, reply: Any, *, needed: bool = False) -> Any:
        """The script's reply, if it is no error.

        Args:
            script: that was called.
            reply: to that.
            needed: this time nothing else would do: that the server forbids the script is an error.

        Raises:
            ScriptRefusedError: if the server forgot the script, or forbids scripts.
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
