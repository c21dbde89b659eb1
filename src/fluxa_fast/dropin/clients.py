"""Which redis-py clients the drop-in takes, and the arguments that redis-py makes for their commands."""

from __future__ import annotations

from typing import Any, cast

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.commands.core import StreamCommands

__all__ = ["CapturedCommand", "captured", "check_client"]

_CLUSTERS = (redis.cluster.RedisCluster, redis.asyncio.cluster.RedisCluster)


_known: dict[type, bool] = {}  # by class of clients whether it is asyncio's; redis-py's isinstance takes microseconds
_MOST_KNOWN = 256


def check_client(client: Any, function: str) -> bool:
    """Return whether a client is one of `redis.asyncio`.

    Args:
        client: what a user gave.
        function: the name of ours that can't work with other clients.

    Raises:
        TypeError: for anything but a `redis.Redis` or `redis.asyncio.Redis` without a client-side cache.
    """
    found = _known.get(type(client))
    if found is None:
        found = _is_async(client, f"fluxa_fast.{function}()")
        if len(_known) < _MOST_KNOWN:
            _known[type(client)] = found
    if getattr(client.connection_pool, "cache", None) is not None:
        raise TypeError(
            f"fluxa_fast.{function}() takes a client without a client-side cache: make it without cache_config="
        )
    return found


def _is_async(client: Any, what: str) -> bool:
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    if isinstance(client, _CLUSTERS):
        raise TypeError(f"{what} does not support Redis Cluster yet, so it can't take a {kind}; use the client's own")
    if not isinstance(client, (redis.Redis, redis.asyncio.Redis)):
        raise TypeError(f"{what} takes a redis.Redis or a redis.asyncio.Redis, not {kind}")
    if isinstance(client, (redis.client.Pipeline, redis.asyncio.client.Pipeline)):
        raise TypeError(f"{what} takes the client, not a pipeline of it")
    return isinstance(client, redis.asyncio.Redis)


class CapturedCommand(BaseException):
    """Carries the arguments that redis-py made for a command out of its method."""

    def __init__(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments
        self.options = options


class _Capture(StreamCommands):
    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        raise CapturedCommand(arguments, options)


_capture: Any = cast(Any, _Capture)()


def captured(method: str, *arguments: Any, **options: Any) -> CapturedCommand:
    """What redis-py's method of that name would send. It checks its arguments as ever."""
    try:
        getattr(_capture, method)(*arguments, **options)
    except CapturedCommand as command:
        return command
    raise RuntimeError(f"redis-py's {method}() sent nothing")
