"""A client of redis-py, seen through a class that parses the replies of stream reads with the protocol."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import redis
import redis.asyncio

from .. import protocol
from ..protocol.interface import INCOMPLETE, NOT_PLAIN, ErrorReply, Incomplete
from ..redis_adapter.encoding import decodes_plainly
from ..redis_adapter.parser import async_read, hand_back, is_known_parser, parse_error, parser_name, read
from .frames import Frames
from .shapes import is_redis_pys, stream_shape

__all__ = ["view_of"]

Attempt = Callable[[Any], Any]
"""Reads one reply from a `ReplyReader`: a value, INCOMPLETE, or NOT_PLAIN with the reply still there."""


class _View:
    """Mixed into the class of a client, so that the replies of stream reads are parsed here.

    A view shares the `__dict__` of its client: it is the same client with another class. The method of redis-py that is
    called on it checks arguments, takes a connection, sends, and tries again, as it always does.
    """

    response_callbacks: Any

    def __del__(self) -> None:
        """Nothing: the client itself closes what is its own."""

    def _attempt(self, connection: Any, command_name: str, options: dict[str, Any]) -> Attempt | None:
        """How the reply to this command is read here; None if redis-py is to read it."""
        known = is_known_parser(connection)
        if "as_events" in options:
            if not known:
                raise TypeError(f"as_events=True can't be read with the parser {parser_name(connection)}")
            return _events(connection, options.pop("as_events"))
        if not known:
            return None
        plain = protocol.default.plain_replies
        text = decodes_plainly(connection)
        callback = self.response_callbacks.get(command_name)
        if plain is None or text is None or not set(options) <= {"keys", "claim_min_idle_time"}:
            return None
        if command_name in ("XREADGROUP", "XREAD"):
            return _streams(plain, text, callback, 4 if "claim_min_idle_time" in options else 2)
        if not is_redis_pys(callback):
            return None
        if command_name == "XRANGE":
            return lambda reader: plain.read_range(reader, text)
        if command_name == "XAUTOCLAIM":
            return lambda reader: plain.read_claimed(reader, text)
        return None


def _streams(plain: Any, text: bool, callback: Any, parts: int) -> Attempt | None:
    from_array, from_map = stream_shape(callback, False), stream_shape(callback, True)

    def attempt(reader: Any) -> Any:
        found = plain.read_streams(reader, text, parts, from_array is not None, from_map is not None)
        if type(found) is not tuple:
            return found
        is_map, streams = found
        shape = from_map if is_map else from_array
        assert shape is not None
        return shape(streams)

    return attempt


def _events(connection: Any, read_events: Callable[[Any], Any]) -> Attempt:
    def attempt(reader: Any) -> Any:
        batch = read_events(reader)
        if isinstance(batch, ErrorReply):
            return parse_error(connection, batch.message)
        return batch

    return attempt


class _Once:
    """Reads one reply, and hands one that is not plain to redis-py's parser."""

    def __init__(self, connection: Any, attempt: Attempt) -> None:
        self.reader = protocol.default.ReplyReader()
        self._attempt = attempt
        plain = protocol.default.plain_replies
        self._frames = None if plain is None else Frames(plain, self.reader)

    def __call__(self) -> Any:
        """A value, INCOMPLETE, or the bytes for redis-py's parser as a `_Frame`."""
        pushed = self._frames is not None and self._frames.pending
        found = NOT_PLAIN if pushed else self._attempt(self.reader)
        if found is not NOT_PLAIN:
            return found
        assert self._frames is not None  # who says NOT_PLAIN can also take it as bytes
        frame = self._frames.take()
        return INCOMPLETE if isinstance(frame, Incomplete) else _Frame(frame)

    def left(self) -> bytes:
        return b"" if self._frames is None else self._frames.left()


class _Frame(bytes):
    """The bytes of a reply that redis-py is to parse."""


class _BlockingView(_View):
    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        theirs = super().parse_response  # type: ignore[misc]
        attempt = self._attempt(connection, command_name, options)
        if attempt is None:
            return theirs(connection, command_name, **options)
        once = _Once(connection, attempt)
        found = read(connection, once.reader, once)
        hand_back(connection, found + once.left() if type(found) is _Frame else once.left())
        return theirs(connection, command_name, **options) if type(found) is _Frame else found


class _AsyncView(_View):
    async def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        theirs = super().parse_response  # type: ignore[misc]
        attempt = self._attempt(connection, command_name, options)
        if attempt is None:
            return await theirs(connection, command_name, **options)
        once = _Once(connection, attempt)
        found = await async_read(connection, once.reader, once)
        hand_back(connection, found + once.left() if type(found) is _Frame else once.left())
        return await theirs(connection, command_name, **options) if type(found) is _Frame else found


def _make_view_class(kind: Any) -> Any:
    base = _AsyncView if issubclass(kind, redis.asyncio.Redis) else _BlockingView
    return type(kind.__name__, (base, kind), {"__module__": kind.__module__})


_view_class: Callable[[Any], Any] = lru_cache(maxsize=128)(_make_view_class)


def view_of(client: Any) -> Any:
    """The same client, whose stream reads are parsed here."""
    kind = _view_class(type(client))
    view = kind.__new__(kind)
    view.__dict__ = client.__dict__
    return view
