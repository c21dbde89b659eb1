"""A connection of redis-py's that is borrowed for a while, and read and written by blocking calls."""

from __future__ import annotations

import time
import traceback
import weakref
from typing import TYPE_CHECKING, Any

from redis.exceptions import AskError, ConnectionError, RedisError

from ...errors import FluxaError
from ...flows.steps import any_reply
from ...protocol.interface import INCOMPLETE
from ...redis_adapter import connections as redis_py
from ...redis_adapter.closing import closed_error
from ...redis_adapter.credentials import Renewal, new_token
from ..failures import network_error, raised_by_a_signal
from ..link_base import LinkBase
from ..pool_base import PoolBase
from .wire import NO_WIRE, Wire, wire_over

if TYPE_CHECKING:
    from .pool import Pool

__all__ = ["GRACE", "INSTANT", "Connection"]

GRACE = 1.0  # seconds in which a call that was interrupted may still settle what was handled
INSTANT = 0.001  # seconds: with none at all, a read would fail for another reason than that the server is silent

_ORDINARY = (RedisError, FluxaError)  # what a step may meet without having been interrupted


class Connection(LinkBase):
    """A connection that belongs to one thread. In a forked child it is replaced by a new one."""

    pool: Pool

    def __init__(self, pool: PoolBase) -> None:
        super().__init__(pool)
        self._sock: Any = None
        self._wire: Wire = NO_WIRE
        self._timeout: float | None = None  # seconds, of the connection
        self._limit: float | None = None  # monotonic seconds: whatever takes longer fails

    def __del__(self) -> None:
        # Its owner forgot it: a consumer that was never cleaned up, an eager flusher. This may run at any moment, when
        # a lock of redis-py's pool may be held. So the connection is left to the link that connects next.
        if self._connection is not None:
            if self.pool.lent.pop(self._connection, None) is not None:
                self.pool.abandoned.append(self._connection)
            else:
                redis_py.close_socket(self._sock)

    # ---- having one ----

    def connect(self) -> Wire:
        """See that there is a connection that is ready for a new command. Returns its wire."""
        if (
            self._connection is not None
            and not self._owed
            # What can be read now, no command has asked for; or the server has closed the connection.
            and not self.reader.unread
            and self._wire.ready
            and (new_token(self._connection) is None or self._authenticated())
        ):
            return self._wire
        self.drop()
        self.reader.reset()
        try:
            self.pool.check_open()
            connection = self._borrow()
        except (RedisError, OSError) as error:
            if (interruption := raised_by_a_signal(error)) is not None:
                raise interruption from None
            if self.pool.closed:  # meanwhile, and with it what redis-py was connecting
                raise closed_error() from error
            raise
        self._connection = connection
        self._sock = redis_py.raw_socket(connection)
        self.pool.lent[connection] = weakref.ref(self)
        if self.pool.closed:  # meanwhile: it was lent too late for `close` to see it
            self.drop()
            raise closed_error()
        self._timeout = connection.socket_timeout
        self._wire = wire_over(self._sock, self.pool.implementation, self._timeout)
        if new_token(connection) is not None and not self._authenticated():
            return self.connect()  # redis-py makes a new one then, with what the provider has now
        return self._wire

    def _borrow(self) -> Any:
        self.pool.reclaim()
        return redis_py.borrow(self.pool.connections, _time_left(self._limit))

    def _connected(self) -> Wire:
        """Return the wire, if replies are to come over it."""
        if self._sock is not None and not self._wire.mine:
            self.drop()
        if self._sock is None:
            if self.pool.closed:
                raise closed_error()
            raise ConnectionError("the connection was closed before its reply came")
        return self._wire

    def _authenticated(self) -> bool:
        """Send AUTH with the new token. False if the server refuses it: then the connection is not to be used."""
        try:
            self._authenticate()
        except RedisError:
            return False
        return True

    def _authenticate(self) -> None:
        renewal = Renewal(self._connection)
        commands = type(self.commands)()
        renewal.write(commands)
        self._owed = 1
        try:
            self._wire.ask(commands, self.reader, self._patience())
            while (reply := any_reply(self.reader)) is INCOMPLETE:
                self._wire.receive(self.reader, self._patience())
            renewal.settle(reply)
        except BaseException as error:
            self._drop_after(error, "authenticating to")
            raise
        self._owed = 0

    # ---- giving it back ----

    def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        self._forget_state()
        self._give_back(reusable=False)

    def disconnect(self, error: Exception | None) -> None:
        """Close the connection, because of that error."""
        self.drop()
        if isinstance(error, AskError):
            self.pool.redirected(error, "")

    def release(self) -> None:
        """Return the connection to redis-py's pool, in working order."""
        if self._connection is not None:
            if self._owed or self.reader.unread or self.outdated or not self._wire.mine:
                self.drop()
            else:
                self._wire.restore()
                self._give_back(reusable=True)

    def _give_back(self, *, reusable: bool) -> None:
        if self._connection is not None:
            connection, sock = self._connection, self._sock
            self._connection = self._sock = None
            self._wire = NO_WIRE
            self.pool.take_back(connection, sock, reusable=reusable)

    # ---- time ----

    @property
    def timeout(self) -> float | None:
        """Seconds that the server may be silent."""
        return self._timeout if self._limit is None else _time_left(self._limit)

    def limit(self, until: float | None) -> None:
        """Fail in whatever is not done by then (monotonic seconds). None: the connection's own time-out counts."""
        if self._limit is not None and until is None and not self._owed:
            self.drop()  # it may have been made in a hurry, with time-outs that are too short to keep
        self._limit = until

    def limit_after(self, error: BaseException) -> None:
        """Leave a second to settle what was handled, if the error is an interruption and not one of the network."""
        if self._limit is None and not isinstance(error, _ORDINARY):
            self.limit(time.monotonic() + GRACE)

    def time_out(self) -> None:
        """The server was silent for too long."""
        self._drop_after(TimeoutError(), "reading from")

    # ---- the socket ----

    def _patience(self, wait: float = 0.0) -> float | None:
        """Return the seconds of the connection's time-out and `wait`, but not beyond the limit."""
        timeout = None if self._timeout is None else self._timeout + wait
        if self._limit is None:
            return timeout
        left = max(INSTANT, self._limit - time.monotonic())
        return left if timeout is None else min(left, timeout)

    # ---- the socket ----

    @property
    def socket(self) -> Any:
        """The socket, for a selector."""
        self._connected()
        return self._sock

    def arrived(self) -> bool:
        """Whether something can be read at once."""
        return bool(self.reader.unread or (self._sock is not None and self._wire.arrived))

    def _drop_after(self, error: BaseException, doing: str) -> None:
        """Close the connection, whose state is not known after an error.

        Raises:
            redis.ConnectionError, redis.TimeoutError, FluxaError: if it is an error of the network.
        """
        self.drop()
        # The frames hold views of the buffer, which is used again (TLS is written in Python).
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, OSError) and raised_by_a_signal(error) is None:
            raise network_error(error, doing, self.pool) from error


def _time_left(limit: float | None) -> float | None:
    """Seconds until then, a moment at least: a socket without any time does not wait, and fails in another way."""
    return None if limit is None else max(INSTANT, limit - time.monotonic())
