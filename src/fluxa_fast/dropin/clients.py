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


def check_client(client: Any, what: str) -> None:
    """Refuse what `what` can't work with.

    Raises:
        TypeError: for anything but a `redis.Redis` or `redis.asyncio.Redis` without a client-side cache.
    """
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    if isinstance(client, _CLUSTERS):
        raise TypeError(f"{what} does not support Redis Cluster yet, so it can't take a {kind}; use the client's own")
    if not isinstance(client, (redis.Redis, redis.asyncio.Redis)):
        raise TypeError(f"{what} takes a redis.Redis or a redis.asyncio.Redis, not {kind}")
    if isinstance(client, (redis.client.Pipeline, redis.asyncio.client.Pipeline)):
        raise TypeError(f"{what} takes the client, not a pipeline of it")
    if getattr(client.connection_pool, "cache", None) is not None:
        raise TypeError(f"{what} takes a client without a client-side cache: make it without cache_config=")


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
