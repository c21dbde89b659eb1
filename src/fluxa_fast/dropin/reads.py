"""`xreadgroup`, `xread`, `xautoclaim`, `xrange`: redis-py's methods, with the reply parsed by the protocol."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Literal, overload

import redis
import redis.asyncio

from .. import protocol
from ..protocol.interface import INCOMPLETE, NOT_PLAIN, ErrorReply, Event, Incomplete
from ..transport.parsing import hand_back, is_known_parser, parse_error, read, read_awaited
from .clients import captured, check_client, text_of
from .shapes import is_redis_pys, stream_shape

__all__ = ["xautoclaim", "xrange", "xread", "xreadgroup"]

Attempt = Callable[[Any], Any]
"""Reads one reply from a `ReplyReader`: a value, INCOMPLETE, or NOT_PLAIN with the reply still there."""


# ---- a client, seen through our eyes ------------------------------------------------------------------


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
                raise TypeError(f"as_events=True can't be read with the parser {type(connection._parser).__name__}")
            return _events(connection, options.pop("as_events"))
        if not known:
            return None
        plain = protocol.default.plain_replies
        text = text_of(connection.encoder)
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
        self._plain = protocol.default.plain_replies
        self._pushed = b""

    def __call__(self) -> Any:
        """A value, INCOMPLETE, or the bytes for redis-py's parser as a `_Frame`."""
        found = NOT_PLAIN if self._pushed else self._attempt(self.reader)
        if found is not NOT_PLAIN:
            return found
        assert self._plain is not None
        frame = self._plain.frame(self.reader)
        if isinstance(frame, Incomplete):
            return INCOMPLETE
        self._pushed += frame
        if frame[0] == 0x3E:  # a push: redis-py reads it on the way to the reply behind it
            return self()
        return _Frame(self._pushed)

    def left(self) -> bytes:
        return b"" if self._plain is None else self._plain.unread(self.reader)


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


class _AwaitedView(_View):
    async def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        theirs = super().parse_response  # type: ignore[misc]
        attempt = self._attempt(connection, command_name, options)
        if attempt is None:
            return await theirs(connection, command_name, **options)
        once = _Once(connection, attempt)
        found = await read_awaited(connection, once.reader, once)
        hand_back(connection, found + once.left() if type(found) is _Frame else once.left())
        return await theirs(connection, command_name, **options) if type(found) is _Frame else found


def _make_view_class(kind: Any) -> Any:
    base = _AwaitedView if issubclass(kind, redis.asyncio.Redis) else _BlockingView
    return type(kind.__name__, (base, kind), {"__module__": kind.__module__})


_view_class: Callable[[Any], Any] = lru_cache(maxsize=128)(_make_view_class)


def _view(client: Any) -> Any:
    kind = _view_class(type(client))
    view = kind.__new__(kind)
    view.__dict__ = client.__dict__
    return view


def _call(client: Any, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    check_client(client, f"fluxa_fast.{method}()")
    return getattr(_view(client), method)(*arguments, **options)


def _call_for_events(
    client: Any,
    method: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    read_events: Callable[[Any], Any],
    give: Callable[[Any], Any],
) -> Any:
    check_client(client, f"fluxa_fast.{method}()")
    if options.get("justid"):
        raise ValueError("as_events=True needs the entries, and justid=True leaves them out")
    command = captured(method, *arguments, **options)
    for private in ("keys", "claim_min_idle_time"):  # redis-py's notes to itself, for its own callbacks
        command.options.pop(private, None)
    found = _view(client).execute_command(*command.arguments, as_events=read_events)
    return _awaited(found, give) if isinstance(found, Awaitable) else give(found)


async def _awaited(found: Awaitable[Any], give: Callable[[Any], Any]) -> Any:
    return give(await found)


# ---- the functions ------------------------------------------------------------------------------------

Key = str | bytes


def _batch_events(batch: Any) -> Any:
    return batch.events


def _cursor_and_events(batch: Any) -> Any:
    return batch.cursor, batch.events


def _name(arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """The stream that is read, as the events name it."""
    name = options["name"] if "name" in options else arguments[0] if arguments else ""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)


@overload
def xreadgroup(
    client: redis.Redis,
    groupname: Key,
    consumername: Key,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    noack: bool = False,
    claim_min_idle_time: int | None = None,
    *,
    as_events: Literal[True],
    **options: Any,
) -> list[Event]: ...
@overload
def xreadgroup(
    client: redis.Redis,
    groupname: Key,
    consumername: Key,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    noack: bool = False,
    claim_min_idle_time: int | None = None,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Any: ...


@overload
def xreadgroup(
    client: redis.asyncio.Redis,
    groupname: Key,
    consumername: Key,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    noack: bool = False,
    claim_min_idle_time: int | None = None,
    *,
    as_events: Literal[True],
    **options: Any,
) -> Awaitable[list[Event]]: ...
@overload
def xreadgroup(
    client: redis.asyncio.Redis,
    groupname: Key,
    consumername: Key,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    noack: bool = False,
    claim_min_idle_time: int | None = None,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Awaitable[Any]: ...
def xreadgroup(client: Any, *arguments: Any, as_events: bool = False, **options: Any) -> Any:
    """``client.xreadgroup(...)``, with the reply parsed in compiled code. (XREADGROUP; CLAIM needs Redis 8.4)

    Arguments, checks, result and errors are those of the redis-py that is installed.

    Args:
        client: a `redis.Redis`, or a `redis.asyncio.Redis`; then the result is awaited.
        count: entries at most, for each stream.
        block: milliseconds to wait for entries; 0 waits for ever. The client's own socket_timeout goes on counting.
        as_events: return `Event` objects instead, of all streams in one list. Entries that were deleted (their fields
            are null) are left out. The events belong to no consumer, so `ack()` refuses; use ``client.xack``.

    Returns:
        What ``client.xreadgroup`` returns, in the shape of the client's protocol and settings; or a list of events.

    Raises:
        TypeError: for a cluster client, or a client with a client-side cache.
        redis.RedisError: as ``client.xreadgroup``.
    """
    if not as_events:
        return _call(client, "xreadgroup", arguments, options)
    return _call_for_events(
        client, "xreadgroup", arguments, options, lambda reader: reader.read_streams(), _batch_events
    )


@overload
def xread(
    client: redis.Redis,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    *,
    as_events: Literal[True],
    **options: Any,
) -> list[Event]: ...
@overload
def xread(
    client: redis.Redis,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Any: ...


@overload
def xread(
    client: redis.asyncio.Redis,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    *,
    as_events: Literal[True],
    **options: Any,
) -> Awaitable[list[Event]]: ...
@overload
def xread(
    client: redis.asyncio.Redis,
    streams: dict[Any, Any],
    count: int | None = None,
    block: int | None = None,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Awaitable[Any]: ...
def xread(client: Any, *arguments: Any, as_events: bool = False, **options: Any) -> Any:
    """``client.xread(...)``, with the reply parsed in compiled code; see `xreadgroup`. (XREAD)"""
    if not as_events:
        return _call(client, "xread", arguments, options)
    return _call_for_events(client, "xread", arguments, options, lambda reader: reader.read_streams(), _batch_events)


@overload
def xautoclaim(
    client: redis.Redis,
    name: Key,
    groupname: Key,
    consumername: Key,
    min_idle_time: int,
    start_id: Key | int = "0-0",
    count: int | None = None,
    justid: bool = False,
    *,
    as_events: Literal[True],
    **options: Any,
) -> tuple[str, list[Event]]: ...
@overload
def xautoclaim(
    client: redis.Redis,
    name: Key,
    groupname: Key,
    consumername: Key,
    min_idle_time: int,
    start_id: Key | int = "0-0",
    count: int | None = None,
    justid: bool = False,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Any: ...


@overload
def xautoclaim(
    client: redis.asyncio.Redis,
    name: Key,
    groupname: Key,
    consumername: Key,
    min_idle_time: int,
    start_id: Key | int = "0-0",
    count: int | None = None,
    justid: bool = False,
    *,
    as_events: Literal[True],
    **options: Any,
) -> Awaitable[tuple[str, list[Event]]]: ...
@overload
def xautoclaim(
    client: redis.asyncio.Redis,
    name: Key,
    groupname: Key,
    consumername: Key,
    min_idle_time: int,
    start_id: Key | int = "0-0",
    count: int | None = None,
    justid: bool = False,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Awaitable[Any]: ...
def xautoclaim(client: Any, *arguments: Any, as_events: bool = False, **options: Any) -> Any:
    """``client.xautoclaim(...)``, with the reply parsed in compiled code; see `xreadgroup`. (XAUTOCLAIM, Redis 6.2)

    Args:
        min_idle_time: milliseconds.
        as_events: return (where the next call begins, list of events) instead.
    """
    if not as_events:
        return _call(client, "xautoclaim", arguments, options)
    name = _name(arguments, options)
    return _call_for_events(
        client, "xautoclaim", arguments, options, lambda reader: reader.read_claimed(name), _cursor_and_events
    )


@overload
def xrange(
    client: redis.Redis,
    name: Key,
    min: Key | int = "-",
    max: Key | int = "+",
    count: int | None = None,
    *,
    as_events: Literal[True],
    **options: Any,
) -> list[Event]: ...
@overload
def xrange(
    client: redis.Redis,
    name: Key,
    min: Key | int = "-",
    max: Key | int = "+",
    count: int | None = None,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Any: ...


@overload
def xrange(
    client: redis.asyncio.Redis,
    name: Key,
    min: Key | int = "-",
    max: Key | int = "+",
    count: int | None = None,
    *,
    as_events: Literal[True],
    **options: Any,
) -> Awaitable[list[Event]]: ...
@overload
def xrange(
    client: redis.asyncio.Redis,
    name: Key,
    min: Key | int = "-",
    max: Key | int = "+",
    count: int | None = None,
    *,
    as_events: Literal[False] = False,
    **options: Any,
) -> Awaitable[Any]: ...
def xrange(client: Any, *arguments: Any, as_events: bool = False, **options: Any) -> Any:
    """``client.xrange(...)``, with the reply parsed in compiled code; see `xreadgroup`. (XRANGE)"""
    if not as_events:
        return _call(client, "xrange", arguments, options)
    name = _name(arguments, options)
    return _call_for_events(client, "xrange", arguments, options, lambda reader: reader.read_range(name), _batch_events)


def _show_signatures() -> None:
    """Let inspect.signature() show what the redis-py that is installed takes."""
    functions: tuple[Any, ...] = (xautoclaim, xrange, xread, xreadgroup)
    for function in functions:
        theirs = inspect.signature(getattr(redis.Redis, function.__name__))
        _, *parameters = theirs.parameters.values()
        client = inspect.Parameter("client", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        as_events = inspect.Parameter("as_events", inspect.Parameter.KEYWORD_ONLY, default=False)
        function.__signature__ = inspect.Signature([client, *parameters, as_events])


_show_signatures()
