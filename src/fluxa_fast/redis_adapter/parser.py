"""A connection of redis-py, read by us for a while.

`connection.read_response` is redis-py's: it knows the timeouts, closes a connection that failed, and says why. Only the
parser that it asks is exchanged, by one that receives into our reader. Replies that are not plain go, byte for byte, to
the parser that the connection has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import redis._parsers.hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import ProtocolError
from ..protocol.interface import INCOMPLETE, Incomplete

__all__ = ["async_read", "hand_back", "is_known_parser", "parse_error", "parser_name", "read"]

_CLOSED = "Connection closed by server."
_RECEIVE = 64 * 1024  # bytes
_NOTHING = (False, getattr(redis._parsers.hiredis, "NOT_ENOUGH_DATA", False))  # instead of a reply

Reply = TypeVar("Reply")


def is_known_parser(connection: Any) -> bool:
    """True if received bytes can be handed to the parser of this connection, and nothing waits in it."""
    parser = connection._parser
    reader = getattr(parser, "_reader", None)
    if reader is not None:  # hiredis; redis-py before 8 keeps a reply that it met while it looked for one
        waiting: Any = getattr(parser, "_next_response", False)
        return hasattr(reader, "feed") and not reader.has_data() and any(waiting is one for one in _NOTHING)
    buffer: Any = getattr(parser, "_buffer", None)
    if isinstance(buffer, bytes):  # asyncio, in Python
        return not buffer
    return hasattr(buffer, "unread_bytes") and not buffer.unread_bytes()


def hand_back(connection: Any, received: bytes) -> None:
    """Let the connection's own parser have these bytes, as if it had received them itself."""
    parser = connection._parser
    reader = getattr(parser, "_reader", None)
    if reader is not None:
        reader.feed(received)
    elif isinstance(parser._buffer, bytes):
        parser._buffer += received
    else:
        stream = parser._buffer._buffer
        place = stream.tell()
        stream.seek(0, 2)
        stream.write(received)
        stream.seek(place)


def parser_name(connection: Any) -> str:
    """The name of the class that parses the connection's replies."""
    return type(connection._parser).__name__


def parse_error(connection: Any, message: str) -> Exception:
    """The exception that redis-py has for an error reply."""
    error: Exception = connection._parser.parse_error(message)
    return error


class _Receiving:
    """In the place of a connection's parser: asks `attempt` for a reply, and receives until there is one."""

    def __init__(self, connection: Any, reader: Any, attempt: Callable[[], Any]) -> None:
        self._connection = connection
        self._theirs = connection._parser
        self._reader = reader
        self._attempt = attempt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def __enter__(self) -> None:
        self._connection._parser = self

    def __exit__(self, *_: object) -> None:
        self._connection._parser = self._theirs

    def _reply(self) -> Any:
        try:
            reply = self._attempt()
        except ProtocolError as error:
            raise InvalidResponse(str(error)) from error
        if isinstance(reply, RedisConnectionError):  # LOADING, MASTERDOWN: to redis-py the connection has failed
            raise reply
        return reply


class _Blocking(_Receiving):
    def read_response(self, disable_decoding: bool = False, **_options: Any) -> Any:
        sock = self._connection._sock
        while (reply := self._reply()) is INCOMPLETE:
            if sock is None:
                raise RedisConnectionError(_CLOSED)
            with self._reader.get_buffer(_RECEIVE) as room:
                try:
                    received = sock.recv_into(room)
                except TimeoutError:
                    raise RedisTimeoutError("Timeout reading from socket") from None
                except OSError as error:
                    raise RedisConnectionError(f"Error while reading from socket: {error.args}") from error
            if not received:
                raise RedisConnectionError(_CLOSED)
            self._reader.buffer_updated(received)
        return reply


class _AsyncReceiving(_Receiving):
    async def read_response(self, disable_decoding: bool = False, **_options: Any) -> Any:
        stream = self._connection._reader
        while (reply := self._reply()) is INCOMPLETE:
            if stream is None:
                raise RedisConnectionError(_CLOSED)
            received = await stream.read(_RECEIVE)
            if not received:
                raise RedisConnectionError(_CLOSED)
            self._reader.feed(received)
        return reply


def read(connection: Any, reader: Any, attempt: Callable[[], Reply | Incomplete]) -> Reply:
    """What `attempt` gives once enough was received into the reader.

    Raises:
        redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse: as `connection.read_response`.
    """
    with _Blocking(connection, reader, attempt):
        reply: Reply = connection.read_response()
    return reply


async def async_read(connection: Any, reader: Any, attempt: Callable[[], Reply | Incomplete]) -> Reply:
    """As `read`, for a connection of redis.asyncio."""
    with _AsyncReceiving(connection, reader, attempt):
        reply: Reply = await connection.read_response()
    return reply
