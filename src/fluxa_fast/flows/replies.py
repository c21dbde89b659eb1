"""Replies that are checked for what they are, and the server's errors as redis-py's exceptions, which users know."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any, TypeVar

from redis._parsers.base import BaseParser
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)

from ..protocol import decode_errors
from ..protocol.interface import INCOMPLETE, ErrorReply, ReplyReader
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
    """A redirection that says so. redis-py's says which slot and which node, and nothing else.

    redis-py reads the slot and the node out of the arguments, also when the error is copied or pickled. So these stay
    as they are, and the text is made of them.

    Attributes:
        before: what the text begins with.
        behind: what the text ends with.
    """

    code: str = "ASK"
    before: str = ""
    behind: str = ""

    def __str__(self) -> str:
        return f"{self.before}{self.code} {self.args[0]}{self.behind}"


class ToldAskError(_ToldError):
    """ASK: the key is at another node, because its slot is on the way there."""


class ToldMovedError(_ToldError, MovedError):
    """MOVED: another node has the slot of the key."""

    code = "MOVED"


# Older parsers of redis-py know these only within a RedisCluster.
_OF_CLUSTERS: dict[str, Callable[[str], Exception]] = {
    "ASK": ToldAskError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": MasterDownError,
    "MOVED": ToldMovedError,
    "TRYAGAIN": TryAgainError,
}

_ID = re.compile(rb"\d{1,20}-\d{1,20}")


def error_of(reply: ErrorReply) -> Exception:
    """redis-py's exception for an error reply: OutOfMemoryError, NoPermissionError, ReadOnlyError, ResponseError..."""
    code, _, rest = reply.message.partition(" ")
    if code in _OF_CLUSTERS:
        try:
            return _OF_CLUSTERS[code](rest)
        except ValueError:  # a redirection that names no slot and node
            return ResponseError(reply.message.strip())
    error: object = BaseParser.parse_error(reply.message)  # type: ignore[no-untyped-call]
    if isinstance(error, Exception) and str(error):
        return error
    return ResponseError(reply.message.strip() or "the server sent an error without a word")


def retold(error: E, before: str = "", behind: str = "") -> E:
    """A copy of the error, with more text before and behind its own. Its class and what it knows stay the same."""
    told = copy.copy(error)
    if isinstance(told, _ToldError):
        told.before, told.behind = before + told.before, told.behind + behind
    else:
        told.args = (f"{before}{error}{behind}",)
    return told


def in_a_cluster(error: E, pool: str) -> E:
    """The error as it is told of a pool that was registered as a single server: a redirection says what to do."""
    if not isinstance(error, AskError):
        return error
    return retold(error, behind=f": pool {pool!r} is one node of a cluster; register it with cluster=True")


def id_of(reply: Any) -> str:
    """An event's ID, out of the reply to its XADD (see `ENTRY_ID`).

    Raises:
        redis.ResponseError: if the server refused the event.
    """
    if isinstance(reply, ErrorReply):
        raise error_of(reply)
    return str(reply, "ascii")


def named(reply: Any) -> dict[str, Any]:
    """What a reply calls by name: RESP2 answers a flat list of names and values, RESP3 a map."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value for name, value in pairs}


# ---- how to read them -----------------------------------------------------------------------------------


def _reply_that(fits: Callable[[Any], bool], what: str) -> Take:
    """`Take`: one reply that fits, or the server's error.

    Anything else is refused where it is read: the connection is dropped then, as for bytes that are not RESP. What
    comes next on it may be the reply to another command.
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
