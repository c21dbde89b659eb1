"""Credentials that are renewed while connections are kept: redis-py's streaming credential providers (since 5.3).

A provider tells one listener of each new token; most keep only the listener that came last, so redis-py's client that
was made last takes it from all others. Here one listener for each provider serves all pools that use it. It only notes
the token on each connection: whoever uses the connection next sends AUTH (`Link`), so no other thread touches it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import redis.credentials
from redis.exceptions import ConnectionError

from ..protocol.interface import ErrorReply

__all__ = ["Renewal", "async_follow", "follow", "new_credentials", "renewed"]

_Streaming: Any = getattr(redis.credentials, "StreamingCredentialProvider", None)

log: logging.Logger = logging.getLogger("fluxa_fast")

Tell = Callable[[Any, Any], Any]
"""Is given a pool (or what else has connections) and the token."""


class _Listener:
    """What a provider calls. It keeps no pool that nobody uses any more."""

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
            except Exception:  # the others are told all the same
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
    """Have the pool's connections sent AUTH with each new token of the provider, if that is one that has them.

    Args:
        pool: redis-py's, whose connections only links use; or whatever `tell` is for.
        provider: of its credentials.
        tell: what is called with the pool and the token, instead of noting the token on each connection.
    """
    _follow(_Listener, pool, provider, tell)


def async_follow(pool: Any, provider: Any, tell: Tell | None = None) -> None:
    """As `follow`, for redis.asyncio; `tell` may give something to await."""
    _follow(_AsyncListener, pool, provider, tell)


def new_credentials(token: Any) -> tuple[str, ...]:
    """The arguments of AUTH."""
    user, password = token.try_get("oid"), token.get_value()
    return (user, password) if user else (password,)


class Renewal:
    """An AUTH that was sent while other replies were to come.

    Args:
        token: what was sent.

    Attributes:
        before: replies that come before its own.
    """

    __slots__ = ("_token", "before")

    def __init__(self, token: Any, before: int) -> None:
        self._token = token
        self.before: int = before

    def settle(self, connection: Any, reply: Any) -> None:
        """Its reply has come.

        Raises:
            redis.ConnectionError: if the server has refused it; a new connection has what the provider has now.
        """
        renewed(connection, self._token)
        if isinstance(reply, ErrorReply):
            raise ConnectionError(f"the server refuses the renewed credentials: {reply.message}")


def renewed(connection: Any, token: Any) -> None:
    """The server has had this token over the connection."""
    if connection._re_auth_token is token:  # or there is a newer one
        connection._re_auth_token = None
