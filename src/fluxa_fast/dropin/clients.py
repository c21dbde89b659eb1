"""Which redis-py clients the drop-in takes, and what of them it has to know."""

from __future__ import annotations

from typing import Any, cast

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis._parsers import Encoder
from redis.commands.core import StreamCommands

__all__ = ["CapturedCommand", "captured", "check_client", "encodes_plainly", "text_of"]

_CLUSTERS = (redis.cluster.RedisCluster, redis.asyncio.cluster.RedisCluster)
_ASCII = bytes(range(128))


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


def encodes_plainly(pool: Any) -> tuple[bool, bool]:
    """How the connections of a pool write text: (whether ASCII text is ASCII, whether all text is UTF-8).

    (False, False) if a class of the user's does it.
    """
    options = pool.connection_kwargs
    if options.get("encoder_class") not in (None, Encoder) or options.get("command_packer") is not None:
        return False, False
    encoding = pool.get_encoder().encoding
    try:
        if _ASCII.decode("ascii").encode(encoding) != _ASCII:
            return False, False
        return True, "\xe9\u20ac".encode(encoding) == "\xe9\u20ac".encode()
    except (LookupError, UnicodeError):
        return True, False


def text_of(encoder: Any) -> bool | None:
    """Whether strings in replies are text (True), bytes (False), or text that only redis-py can decode (None)."""
    if type(encoder) is not Encoder:
        return None
    if not encoder.decode_responses:
        return False
    try:
        return True if "\xe9\u20ac".encode(encoder.encoding) == "\xe9\u20ac".encode() else None
    except (LookupError, UnicodeError):
        return None


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
