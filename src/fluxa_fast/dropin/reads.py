"""`xreadgroup`, `xread`, `xautoclaim`, `xrange`: redis-py's methods, with the reply parsed by the protocol."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal, overload

import redis
import redis.asyncio

from ..protocol.interface import Event
from .clients import captured, check_client
from .views import view_of

__all__ = ["xautoclaim", "xrange", "xread", "xreadgroup"]


_MANY = 24  # entries in one reply; redis-py is as fast with fewer
_EXPECTED = "_fluxa_fast_many"  # the attribute of a client that has what `_expected_of` returns


def _call(client: Any, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call redis-py's method. Its reply is parsed here if that is expected to be faster: if the last one was large."""
    awaited = check_client(client, method)
    count = options.get("count", _MANY)
    if count is not None and count.__class__ is int and count < _MANY:
        return getattr(client, method)(*arguments, **options)
    expected = _expected_of(client)
    found = getattr(view_of(client) if expected.get(method) else client, method)(*arguments, **options)
    if awaited:
        return _counted(found, method, expected)
    expected[method] = _entries_in(found, method) >= _MANY
    return found


def _expected_of(client: Any) -> dict[str, bool]:
    """For each method, whether its last reply to this client had many entries."""
    expected: dict[str, bool] | None = client.__dict__.get(_EXPECTED)
    if expected is None:
        expected = client.__dict__[_EXPECTED] = {}
    return expected


async def _counted(waited_for: Awaitable[Any], method: str, expected: dict[str, bool]) -> Any:
    found = await waited_for
    expected[method] = _entries_in(found, method) >= _MANY
    return found


def _entries_in(found: Any, method: str) -> int:
    """How many entries a reply has, about."""
    if not found:
        return 0
    try:
        if method == "xrange":
            return len(found)
        if method == "xautoclaim":
            return len(found[1])
        if type(found) is dict:  # of RESP3: the entries, or a list with them
            return sum(len(one[0]) if len(one) == 1 else len(one) for one in found.values())
        return sum(len(entries) for _, entries in found)
    except (TypeError, ValueError, IndexError):  # a callback of the user's made something else of it
        return 0


def _call_for_events(
    client: Any,
    method: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    read_events: Callable[[Any], Any],
    give: Callable[[Any], Any],
) -> Any:
    check_client(client, method)
    command = captured(method, *arguments, **options)
    if command.options.get("parse_justid"):
        raise ValueError("as_events=True needs the entries, and justid=True leaves them out")
    for private in ("keys", "claim_min_idle_time"):  # redis-py's notes to itself, for its own callbacks
        command.options.pop(private, None)
    found = view_of(client).execute_command(*command.arguments, as_events=read_events)
    return _awaited(found, give) if isinstance(found, Awaitable) else give(found)


async def _awaited(found: Awaitable[Any], give: Callable[[Any], Any]) -> Any:
    return give(await found)


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
