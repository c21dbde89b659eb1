"""A connection of redis-py's that is ready by a deadline, however long its pool would wait.

redis-py has time-outs for each operation, not for all of them together: the connection to each address of a host, TLS,
and each reply to AUTH, HELLO, CLIENT SETINFO and SELECT may take a whole time-out. Here all of them share one deadline.
"""

from __future__ import annotations

import copy
import time
from functools import cache
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["connected_within", "is_outside"]

_LEAST = 0.001  # seconds: with none at all, a socket would not block


class _ByDeadline:
    """Mixed into the class of a connection while it is being connected: its time-outs are the time that is left.

    Attributes:
        ready_by: monotonic seconds.
    """

    ready_by: float

    @property
    def _time_left(self) -> float:
        return max(_LEAST, self.ready_by - time.monotonic())

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        sock = self._sock  # type: ignore[attr-defined]
        if sock is not None:
            sock.settimeout(self._time_left)
        return super().read_response(*arguments, **options)  # type: ignore[misc]


def _ignored(self: Any, value: float | None) -> None:
    """A notification of the server (maintenance) asks for more time: there is none."""


@cache
def _hurried(connection_class: Any) -> type:
    times = property(_ByDeadline._time_left.fget, _ignored)  # type: ignore[attr-defined]
    return type(
        connection_class.__name__,
        (_ByDeadline, connection_class),
        {"socket_timeout": times, "socket_connect_timeout": times},
    )


class _HurriedPool(redis.ConnectionPool):
    """Gives a client of a Sentinel connections that have to answer by the deadline."""

    def __init__(self, theirs: Any, ready_by: float) -> None:
        super().__init__(connection_class=theirs.connection_class, **theirs.connection_kwargs)
        self._ready_by = ready_by

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        connection, _ = _new(self, self._ready_by)
        connection.connect()
        return connection

    def release(self, connection: Any) -> None:
        connection.disconnect()


def connected_within(pool: Any, within: float) -> Any:
    """A new connection that the pool does not know of, connected within `within` seconds. It is closed after use.

    The pool's idle connections are not used. redis-py would connect one that the server has closed again, with the
    pool's own time-outs. Only the resolver may take longer, because nothing can interrupt it.

    Raises:
        redis.ConnectionError, redis.TimeoutError: if it can't be connected.
    """
    ready_by = time.monotonic() + within
    connection, connection_class = _new(pool, ready_by)
    try:
        if getattr(pool, "is_master", False):
            connection.connect_to(_master(pool, ready_by))
        else:
            connection.connect()
    except BaseException:
        connection.disconnect()
        raise
    connection.__class__ = connection_class
    connection._sock.settimeout(connection.socket_timeout)
    return connection


def is_outside(connection: Any) -> bool:
    """Whether the connection is one of `connected_within`."""
    return "ready_by" in connection.__dict__


def _new(pool: Any, ready_by: float) -> tuple[Any, Any]:
    """A connection that hurries, and the class that it has when it is connected."""
    connection = pool.connection_class(**pool.connection_kwargs)
    connection_class: Any = type(connection)
    connection.retry = Retry(NoBackoff(), 0)
    connection.ready_by = ready_by
    connection.__class__ = _hurried(connection_class)
    return connection, connection_class


def _master(pool: Any, ready_by: float) -> Any:
    """The address of the master. Each Sentinel has an equal part of the time, and so has the master after that."""
    manager = copy.copy(pool.sentinel_manager)
    now = time.monotonic()
    part = (ready_by - now) / (len(manager.sentinels) + 1)
    manager.sentinels = [
        type(client)(connection_pool=_HurriedPool(client.connection_pool, now + part * number))
        for number, client in enumerate(manager.sentinels, 1)
    ]
    manager.known = tuple(manager.sentinels)
    return manager.discover_master(pool.service_name)
