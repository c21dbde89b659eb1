"""Replies that are checked for what they are, and the server's errors as redis-py's exceptions, which users know."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError

from ..protocol import refused_bytes
from ..protocol.interface import ErrorReply

__all__ = ["error_of", "expected", "id_of"]

T = TypeVar("T")

_ID = re.compile(rb"\d{1,20}-\d{1,20}")


def error_of(reply: ErrorReply) -> Exception:
    """redis-py's exception for an error reply: OutOfMemoryError, NoPermissionError, ReadOnlyError, ResponseError..."""
    error: object = BaseParser.parse_error(reply.message)  # type: ignore[no-untyped-call]
    if isinstance(error, Exception) and str(error):
        return error
    return ResponseError(reply.message.strip() or "the server sent an error without a word")


def expected(reply: Any, kind: type[T], what: str) -> T:
    """The reply, if it is of that type.

    Raises:
        ProtocolError: if not. What follows on that connection may belong to other commands: it is to be dropped.
    """
    if type(reply) is not kind:
        raise refused_bytes.unexpected_reply(what, reply)
    return reply


def id_of(reply: Any) -> str:
    """An event's ID, out of the server's reply to its XADD.

    Raises:
        redis.ResponseError: if the server refused the event.
        ProtocolError: as `expected`.
    """
    if type(reply) is bytes and _ID.fullmatch(reply):
        return reply.decode("ascii")
    if isinstance(reply, ErrorReply):
        raise error_of(reply)
    raise refused_bytes.unexpected_reply("the ID of an entry", reply)
