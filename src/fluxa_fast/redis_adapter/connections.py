"""Connections of redis-py's pools: borrowed, given back and cut; and their sockets and transports.

While a connection is borrowed its socket is ours, so redis-py sends nothing over it, and sends nothing again.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import Any

import redis
import redis.asyncio

from .closing import close_all
from .deadline import connected_within, is_outside

__all__ = [
    "after_fork",
    "async_after_fork",
    "async_borrow",
    "async_close",
    "async_give_back",
    "borrow",
    "close",
    "close_socket",
    "cut",
    "give_back",
    "raw_socket",
    "raw_transport",
]

_NEEDS_NAME = (
    inspect.signature(redis.ConnectionPool.get_connection).parameters["command_name"].default is inspect.Parameter.empty
)


def borrow(pool: Any, within: float | None = None) -> Any:
    """A connected connection of the pool.

    Args:
        pool: redis-py's.
        within: seconds in which it must be connected, whatever the pool's time-outs are. Then the connection is a new
            one that the pool does not count, and `give_back` closes it.

    Raises:
        redis.ConnectionError, redis.TimeoutError: if it can't be connected.
    """
    if within is not None:
        return _with_token(connected_within(pool, within))
    return _with_token(pool.get_connection("XADD") if _NEEDS_NAME else pool.get_connection())


def _with_token(connection: Any) -> Any:
    """The connection, with the attribute that `credentials.new_token` reads. redis-py has it since 5.3."""
    if not hasattr(connection, "_re_auth_token"):
        connection._re_auth_token = None
    return connection


def give_back(pool: Any, connection: Any, *, reusable: bool) -> None:
    """Return a connection to its pool. A connection that is not reusable is closed first."""
    outside = is_outside(connection)
    try:
        if outside or not reusable:
            connection._re_auth_token = None  # or redis-py would connect it again, to send AUTH
            connection.disconnect()
    finally:
        if not outside:
            pool.release(connection)


def close(pool: Any) -> None:
    """Close all connections of a pool, and those to the Sentinels that it asks.

    A connection that a thread is making is cut, and that thread closes it: a socket that is closed here may have the
    number of a socket that a third thread has just opened.
    """
    pools = (pool, *_pools_of_sentinels(pool))
    for one in pools:
        for connection in one._in_use_connections.copy():
            if connection._sock is not None:
                _shut(connection._sock)
    close_all(partial(one.disconnect, inuse_connections=False) for one in pools)


def cut(connection: Any) -> socket.socket:
    """Take the socket from a connection, and end what a thread does over it. `close_socket` is left to that thread."""
    sock: socket.socket = connection._sock
    _shut(sock)
    connection._sock = None
    return sock


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # the server was faster
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not that of TLS, after which bytes would be sent in the clear


def close_socket(sock: socket.socket) -> None:
    """Close a socket that was taken from its connection."""
    with suppress(OSError):
        sock.close()


def _pools_of_sentinels(pool: Any) -> list[Any]:
    manager = getattr(pool, "sentinel_manager", None)
    return [sentinel.connection_pool for sentinel in getattr(manager, "known", getattr(manager, "sentinels", ()))]


def after_fork(pool: Any) -> None:
    """Give a pool that was made before a fork new locks: a thread that is not in the child may have held the others."""
    for one in (pool, *_pools_of_sentinels(pool)):
        for name in ("_lock", "_fork_lock"):
            if hasattr(one, name):
                setattr(one, name, threading.RLock())


def raw_socket(connection: Any) -> socket.socket:
    """The socket of a connected connection, plain or TLS."""
    sock: socket.socket = connection._sock
    return sock


# ---- connections of redis.asyncio ---------------------------------------------------------------------

_ASYNC_NEEDS_NAME = (
    inspect.signature(redis.asyncio.ConnectionPool.get_connection).parameters["command_name"].default
    is inspect.Parameter.empty
)


async def async_borrow(pool: Any) -> Any:
    """As `borrow`."""
    return _with_token(await (pool.get_connection("XADD") if _ASYNC_NEEDS_NAME else pool.get_connection()))


async def async_give_back(pool: Any, connection: Any, *, reusable: bool) -> None:
    """As `give_back`."""
    if not reusable:
        connection._re_auth_token = None
        await connection.disconnect(nowait=True)
    await pool.release(connection)


async def async_close(pool: Any) -> None:
    """As `close`."""
    for one in (pool, *_pools_of_sentinels(pool)):
        await one.disconnect()


def async_after_fork(pool: Any) -> list[Any]:
    """Leave the connections of a pool to the parent process. Returns what must not be collected.

    Both processes have the same epoll. If the child closes a transport, the loop of the parent no longer listens to it.
    redis-py's connections and asyncio's writers close their transports when they are collected.
    """
    writers = []
    for name in ("_available_connections", "_in_use_connections"):
        for connection in getattr(pool, name, ()):
            if connection._writer is not None:
                writers.append(connection._writer)
                with suppress(AttributeError):  # uvloop's
                    connection._writer.transport._closing = True
            connection._reader = connection._writer = None
    return writers


def raw_transport(connection: Any) -> asyncio.Transport:
    """The transport of a connected connection."""
    transport: asyncio.Transport = connection._writer.transport
    return transport
