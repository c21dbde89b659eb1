"""The server's errors as redis-py's exceptions, which users know."""

from __future__ import annotations

from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError

from ..protocol.interface import ErrorReply


def error_of(reply: ErrorReply) -> Exception:
    """redis-py's exception for an error reply: OutOfMemoryError, NoPermissionError, ReadOnlyError, ResponseError..."""
    error: object = BaseParser.parse_error(reply.message)  # type: ignore[no-untyped-call]
    return error if isinstance(error, Exception) else ResponseError(reply.message)
