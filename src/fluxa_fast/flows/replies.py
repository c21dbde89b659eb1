"""Checks the shape of replies, and turns the server's errors into redis-py's exceptions, which users know."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any, TypeVar

from redis._parsers.base import BaseParser
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)

from ..protocol import decode_errors
from ..protocol.interface import INCOMPLETE, ErrorReply, ReplyReader
from .server_errors import rule_of, rule_of_code
from .steps import Take

__all__ = [
    "ACKNOWLEDGEMENT",
    "ENTRY_ID",
    "NUMBER",
    "OK",
    "PENDING_ENTRIES",
    "TEXT",
    "TRIMMED",
    "error_of",
    "id_of",
    "in_a_cluster",
    "named",
    "retold",
]

E = TypeVar("E", bound=Exception)


class _ToldError(AskError):
    """A redirection whose text says so. The text of redis-py's error is the slot and the node only.

    redis-py parses the slot and the node out of `args`, also when the error is copied or pickled. So `args` stays as it
    is, and the text is made when it is asked for.

    Attributes:
        before: the text before the code.
        behind: the text behind the node.
    """

    before: str = ""
    behind: str = ""

    def __str__(self) -> str:
        return f"{self.before}{rule_of(self).code} {self.args[0]}{self.behind}"


class ToldAskError(_ToldError):
    """ASK: the key is at another node, because its slot is on the way there."""


class ToldMovedError(_ToldError, MovedError):
    """MOVED: another node has the slot of the key."""


_TOLD: dict[type[Exception], type[Exception]] = {AskError: ToldAskError, MovedError: ToldMovedError}

# Older parsers of redis-py know these classes and their subclasses only within a RedisCluster.
_OF_CLUSTERS = (AskError, ClusterDownError, TryAgainError)

_ID = re.compile(rb"\d{1,20}-\d{1,20}")


def error_of(reply: ErrorReply) -> Exception:
    """Return redis-py's exception for an error reply: OutOfMemoryError, NoPermissionError, ResponseError..."""
    code, _, rest = reply.message.partition(" ")
    kind = rule_of_code(code).error
    if kind is not None and issubclass(kind, _OF_CLUSTERS):
        try:
            return _TOLD.get(kind, kind)(rest)
        except ValueError:  # a redirection that names no slot and node
            return ResponseError(reply.message.strip())
    error: object = BaseParser.parse_error(reply.message)  # type: ignore[no-untyped-call]
    if isinstance(error, Exception) and str(error):
        return error
    return ResponseError(reply.message.strip() or "the server sent an error without a word")


def retold(error: E, before: str = "", behind: str = "") -> E:
    """Return a copy of the error with more text before and behind its own. The class and the attributes stay."""
    told = copy.copy(error)
    if isinstance(told, _ToldError):
        told.before, told.behind = before + told.before, told.behind + behind
    else:
        told.args = (f"{before}{error}{behind}",)
    return told


def in_a_cluster(error: E, pool: str) -> E:
    """Return the error as a pool of a single server raises it: the text of a redirection says what to do."""
    if not isinstance(error, AskError):
        return error
    return retold(error, behind=f": pool {pool!r} is one node of a cluster; register it with cluster=True")


def id_of(reply: Any) -> str:
    """Return the ID of an event, out of the reply to its XADD (see `ENTRY_ID`).

    Raises:
        redis.ResponseError: if the server refused the event.
    """
    if isinstance(reply, ErrorReply):
        raise error_of(reply)
    return str(reply, "ascii")


def named(reply: Any) -> dict[str, Any]:
    """Return the fields of a reply by name. RESP2 has a flat list of names and values, RESP3 a map."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value for name, value in pairs}


# ---- how to read replies --------------------------------------------------------------------------------


def _reply_that(fits: Callable[[Any], bool], what: str) -> Take:
    """Make a `Take` that reads one reply that fits, or an error of the server.

    Another reply raises `ProtocolError` where it is read. The connection is dropped then, as it is after bytes that are
    not RESP: what comes next on it may be the reply to another command.
    """

    def take(reader: ReplyReader) -> Any:
        reply = reader.read()
        if reply is INCOMPLETE or fits(reply) or isinstance(reply, ErrorReply):
            return reply
        raise decode_errors.unexpected_reply(what, reply)

    return take


def _is_number(reply: Any) -> bool:
    return type(reply) is int


def _is_id(reply: Any) -> bool:
    return type(reply) is bytes and _ID.fullmatch(reply) is not None


def _is_acknowledgement(reply: Any) -> bool:
    return type(reply) is list and bool(reply) and _is_number(reply[0]) and all(map(_is_id, reply[1:]))


def _is_trimmed(reply: Any) -> bool:
    return type(reply) is list and len(reply) == 2 and all(map(_is_number, reply))


def _are_pending(reply: Any) -> bool:
    return type(reply) is list and all(type(entry) is list and entry and _is_id(entry[0]) for entry in reply)


NUMBER = _reply_that(_is_number, "a number")
TEXT = _reply_that(lambda reply: reply is None or type(reply) is bytes, "a text")  # or null
OK = _reply_that(lambda reply: type(reply) is bytes, "OK")
ENTRY_ID = _reply_that(_is_id, "the ID of an entry")
ACKNOWLEDGEMENT = _reply_that(_is_acknowledgement, "a number of other groups, and IDs")  # of acknowledge.lua
TRIMMED = _reply_that(_is_trimmed, "a number of other groups, and whether entries are left")  # of trim_delivered.lua
PENDING_ENTRIES = _reply_that(_are_pending, "pending entries")  # of XPENDING with a range
