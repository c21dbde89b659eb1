"""The server's errors as redis-py's exceptions, which users know.

`flows/server_errors.py`, the one table of errors, says which exception an error is. It imports nothing, so that every
layer may ask it.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from redis._parsers.base import BaseParser
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError, TryAgainError

from ..flows.server_errors import rule_of, rule_of_code
from ..protocol.interface import ErrorReply

__all__ = ["ToldAskError", "ToldMovedError", "error_of", "in_a_cluster", "retold"]

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
    """ASK: another node has the key, because the slot of the key is moving to that node."""


class ToldMovedError(_ToldError, MovedError):
    """MOVED: another node has the slot of the key."""


_TOLD: dict[type[Exception], type[Exception]] = {AskError: ToldAskError, MovedError: ToldMovedError}

# Older parsers of redis-py know these classes and their subclasses only within a RedisCluster.
_OF_CLUSTERS = (AskError, ClusterDownError, TryAgainError)


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
