"""The server's errors as redis-py's exceptions, which users know."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

from redis._parsers.base import BaseParser
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)

from ..protocol.interface import ErrorReply

__all__ = ["error_of", "in_a_cluster", "retold"]

E = TypeVar("E", bound=Exception)


class _ToldError(AskError):
    """A redirection whose text says what it is. The text of redis-py's has the slot and the node, and nothing else.

    redis-py reads the slot and the node out of the arguments, also when the error is copied or pickled. So the
    arguments stay as they are, and the text is made of them.

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
    """ASK: another node has the key, because the slot of the key is moving to that node."""


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
    """A copy of the error with more text before and behind its own. Its class and its other attributes stay."""
    told = copy.copy(error)
    if isinstance(told, _ToldError):
        told.before, told.behind = before + told.before, told.behind + behind
    else:
        told.args = (f"{before}{error}{behind}",)
    return told


def in_a_cluster(error: E, pool: str) -> E:
    """The error of a pool that was registered as a single server. The text of a redirection says what to do then."""
    if not isinstance(error, AskError):
        return error
    return retold(error, behind=f": pool {pool!r} is one node of a cluster; register it with cluster=True")
