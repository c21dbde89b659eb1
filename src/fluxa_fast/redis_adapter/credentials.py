"""Credentials that are renewed while connections are kept: redis-py's streaming credential providers (since 5.3).

A provider tells one listener of each new token. Most providers keep only the listener that came last, so redis-py's
client that was made last takes the tokens from all others. Here one listener for each provider serves all pools that
use it. It only notes the token on each connection: the link that uses the connection next sends AUTH, so no other
thread touches the connection.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import redis.credentials
from redis.exceptions import ConnectionError

from ..protocol.interface import CommandBuffer, ErrorReply

__all__ = ["Renewal", "async_follow", "follow", "new_token"]

_Streaming: Any = getattr(redis.credentials, "StreamingCredentialProvider", None)

log: logging.Logger = logging.getLogger("fluxa_fast")

Tell = Callable[[Any, Any], Any]
"""A function that is called with a pool (or another object that has connections) and the token."""


class _Listener:
    """What a provider calls. It holds no reference that would keep a pool alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: weakref.WeakKeyDictionary[Any, Tell] = weakref.WeakKeyDictionary()

    def add(self, pool: Any, tell: Tell) -> None:
        with self._lock:
            self._pools.setdefault(pool, tell)

    def _all(self) -> list[tuple[Any, Tell]]:
        with self._lock:
            return list(self._pools.items())

    def on_next(self, token: Any) -> None:
        for pool, tell in self._all():
            try:
                tell(pool, token)
            except Exception:  # the other pools are told all the same
                log.exception("a new token did not reach the connections of %r", pool)


class _AsyncListener(_Listener):
    async def on_next(self, token: Any) -> None:  # type: ignore[override]
        for pool, tell in self._all():
            try:
                if (told := tell(pool, token)) is not None:
                    await told
            except Exception:
                log.exception("a new token did not reach the connections of %r", pool)


_listeners: weakref.WeakKeyDictionary[Any, dict[type[_Listener], _Listener]] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _note(pool: Any, token: Any) -> None:
    for connections in (pool._available_connections, pool._in_use_connections):
        for connection in connections.copy():
            connection.set_re_auth_token(token)


def _follow(kind: type[_Listener], pool: Any, provider: Any, tell: Tell | None) -> None:
    if _Streaming is None or not isinstance(provider, _Streaming):
        return
    with _making:
        listener = _listeners.setdefault(provider, {}).setdefault(kind, kind())
    listener.add(pool, tell or _note)
    provider.on_next(listener.on_next)


def follow(pool: Any, provider: Any, tell: Tell | None = None) -> None:
    """Note each new token of the provider on the connections of the pool, if the provider renews its tokens.

    Args:
        pool: redis-py's pool, whose connections only links use; or another object that `tell` takes.
        provider: the provider of its credentials.
        tell: is called with the pool and the token, instead of noting the token on each connection.
    """
    _follow(_Listener, pool, provider, tell)


def async_follow(pool: Any, provider: Any, tell: Tell | None = None) -> None:
    """As `follow`, for redis.asyncio. `tell` may be a coroutine function."""
    _follow(_AsyncListener, pool, provider, tell)


new_token: Callable[[Any], Any] = attrgetter("_re_auth_token")
"""Gives the token of a connection that its server has not been sent yet; or None. (Called before every command.)"""


class Renewal:
    """AUTH with the new token of a connection.

    Args:
        connection: redis-py's, which has a new token.
        before: replies that come before the reply to AUTH.

    Attributes:
        before: as given, and counted down by the link.
    """

    __slots__ = ("_connection", "_token", "before")

    def __init__(self, connection: Any, before: int = 0) -> None:
        self._connection = connection
        self._token = new_token(connection)
        self.before: int = before

    def write(self, commands: CommandBuffer) -> None:
        """Add the command to the buffer."""
        user, password = self._token.try_get("oid"), self._token.get_value()
        commands.command("AUTH", *((user, password) if user else (password,)))

    def settle(self, reply: Any) -> None:
        """Note that the server has the token.

        Raises:
            redis.ConnectionError: if the server refuses it. A new connection has the token that the provider has then.
        """
        if new_token(self._connection) is self._token:  # or the provider has a newer one
            self._connection._re_auth_token = None
        if isinstance(reply, ErrorReply):
            raise ConnectionError(f"the server refuses the renewed credentials: {reply.message}")
