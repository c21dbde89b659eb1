"""One connection at a time, read and written by blocking calls."""

from __future__ import annotations

import os
import select
import ssl
import time
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import AskError, ConnectionError, RedisError

from ...errors import FluxaError
from ...flows.steps import (
    Take,
    any_reply,
)
from ...protocol.interface import INCOMPLETE, CommandBuffer, Confirmations, ErrorReply, ReplyReader
from ...redis_adapter import connections as redis_py
from ...redis_adapter.credentials import Renewal, new_credentials, renewed
from ..failures import closed_error, network_error, raised_by_a_signal
from ..pool_base import WINDOW

if TYPE_CHECKING:
    from .pool import Pool

__all__ = ["GRACE", "Link", "poller", "time_left"]

T = TypeVar("T")

GRACE = 1.0  # seconds in which a call that was interrupted may still settle what was handled
_INSTANT = 0.001  # seconds: with none at all, a read would fail for another reason than that the server is silent

_ORDINARY = (RedisError, FluxaError)  # what a step may meet without having been interrupted

_WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Link:
    """One connection at a time, borrowed from a pool when it is first needed, with the reader of its replies.

    Belongs to one thread. In a forked child it makes a new connection.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._connection: Any = None
        self._sock: Any = None
        self._timeout: float | None = None  # seconds, of the connection
        self._timeout_now: float | None = None  # seconds, of the socket
        self._limit: float | None = None  # monotonic seconds: whatever takes longer fails
        self._pid = 0
        self._poll: Callable[[], object] = bool  # true if a read would return at once
        self._owed = 0  # replies that the server still owes
        self._pushed = 0  # bytes of a pipeline that were sent by `push`
        self._renewal: Renewal | None = None  # an AUTH is under way
        self.reader: ReplyReader = pool.implementation.ReplyReader()
        self.commands: CommandBuffer = pool.implementation.CommandBuffer(pool.default)

    def __del__(self) -> None:
        # Whoever had it forgot it: a consumer that was never cleaned up, an eager flusher. This may run at any moment,
        # so redis-py's pool (and its lock) is left to whoever connects next.
        if self._connection is not None:
            if self.pool.lent.pop(self._connection, None) is not None:
                self.pool.abandoned.append(self._connection)
            else:
                redis_py.close_socket(self._sock)

    # ---- connection ----

    def connect(self) -> Any:
        """The socket, ready for a new command."""
        if (
            self._connection is not None
            and self._pid == os.getpid()
            and not self._owed
            # What can be read now, nobody asked for; or the server has closed the connection.
            and not self.arrived()
            and (self._connection._re_auth_token is None or self._authenticated())
        ):
            return self._sock
        self.drop()
        self._pid = os.getpid()
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
        self._timeout_now = self._sock.gettimeout()
        self._poll = poller(self._sock)
        if connection._re_auth_token is not None and not self._authenticated():
            return self.connect()  # redis-py makes a new one then, with what the provider has now
        return self._sock

    def _borrow(self) -> Any:
        self.pool.reclaim()
        return redis_py.borrow(self.pool.connections, time_left(self._limit))

    def _connected(self) -> Any:
        """The socket of a conversation that goes on."""
        if self._pid != os.getpid():
            self.drop()
        if self._sock is None:
            if self.pool.closed:
                raise closed_error()
            raise ConnectionError("the connection was closed before its reply came")
        return self._sock

    def drop(self) -> None:
        """Close the connection, whatever state it is in."""
        self._owed = self._pushed = 0
        self._renewal = None
        self._give_back(reusable=False)

    # ---- credentials that were renewed ----

    def _authenticated(self) -> bool:
        """Send AUTH with the new token. False if the server refuses it: then the connection is not to be used."""
        connection = self._connection
        token = connection._re_auth_token
        commands = type(self.commands)()
        commands.command("AUTH", *new_credentials(token))
        self._owed = 1
        try:
            with _Failing(self, "authenticating to"):
                self._set_timeout(0.0)
                with commands.view() as view:
                    self._sock.sendall(view)
                while (reply := any_reply(self.reader)) is INCOMPLETE:
                    self._fill()
        except RedisError:
            return False
        self._owed = 0
        renewed(connection, token)
        return not isinstance(reply, ErrorReply)

    def _send_behind(self, commands: CommandBuffer) -> None:
        """Send AUTH with the new token in front of the commands, while other replies are to come."""
        token = self._connection._re_auth_token
        wire = type(self.commands)()
        wire.command("AUTH", *new_credentials(token))
        wire.extend(commands)
        commands.clear()
        self._renewal = Renewal(token, self._owed)
        Link.send(self, wire, behind=True)

    def _receive_around(self, take: Take, wait: float | None) -> Any:
        """Receive while a reply to AUTH is to come. `wait`: as `receive`; None: as `receive_now`."""
        renewal, self._renewal = self._renewal, None
        assert renewal is not None

        def receive(one: Take) -> Any:
            return Link.receive_now(self, one) if wait is None else Link.receive(self, one, wait)

        reply = receive(any_reply if not renewal.before else take)
        if reply is INCOMPLETE:
            self._renewal = renewal
            return reply
        if renewal.before:
            renewal.before -= 1
            self._renewal = renewal
            return reply
        with _Failing(self, "authenticating to"):
            renewal.settle(self._connection, reply)
        return receive(take)

    def _give_back(self, *, reusable: bool) -> None:
        if self._connection is not None:
            connection, sock = self._connection, self._sock
            self._connection = self._sock = None
            self.pool.take_back(connection, sock, reusable=reusable)

    def disconnect(self, error: Exception | None) -> None:
        """Close the connection, because of that error."""
        self.drop()
        if isinstance(error, AskError):
            self.pool.redirected(error, "")

    def release(self) -> None:
        """Return the connection to redis-py's pool, in working order."""
        if self._connection is not None:
            outdated = self._connection._re_auth_token is not None
            if self._owed or self.reader.unread or outdated or self._pid != os.getpid():
                self.drop()
            else:
                self._use_timeout(self._timeout)
                self._give_back(reusable=True)

    @property
    def in_order(self) -> bool:
        """Whether the next command may be sent on this connection."""
        return not self._owed

    def arrived(self) -> bool:
        """Whether something can be read at once."""
        return bool(self.reader.unread or (self._sock is not None and self._poll()))

    # ---- time ----

    def limit(self, until: float | None) -> None:
        """Fail in whatever is not done by then (monotonic seconds). None: the connection's own timeout counts."""
        if self._limit is not None and until is None and not self._owed:
            self.drop()  # it may have been made in a hurry, with time-outs that are too short to keep
        self._limit = until

    def limit_after(self, error: BaseException) -> None:
        """Leave a second to settle what was handled, if the error is an interruption and none of the network's."""
        if self._limit is None and not isinstance(error, _ORDINARY):
            self.limit(time.monotonic() + GRACE)

    # ---- moving bytes ----

    def send(self, commands: CommandBuffer, *, behind: bool = False) -> None:
        """Send the commands, and empty their buffer. `behind`: more replies are to come, and these after them."""
        sock = self._connected() if behind else self.connect()
        if behind and self._renewal is None and self._connection._re_auth_token is not None:
            return self._send_behind(commands)
        self._owed += commands.command_count
        with commands.view() as view, _Failing(self, "writing to"):
            self._set_timeout(0.0)
            sock.sendall(view)
        commands.clear()

    def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any:
        """Send the one command of the buffer, empty it, and wait for its reply."""
        sock = self.connect()
        self._owed = 1
        with _Failing(self, "asking"):
            self._set_timeout(wait)  # a flush to several nodes leaves sockets that don't block
            with commands.view() as view:
                sock.sendall(view)
            commands.clear()
            self._fill()
            while (reply := take(self.reader)) is INCOMPLETE:
                self._fill()
        self._owed = 0
        return reply

    def receive(self, take: Take, wait: float) -> Any:
        """The next reply. The server may take `wait` seconds longer than the connection's timeout."""
        if self._renewal is not None:
            return self._receive_around(take, wait)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            self._connected()
            with _Failing(self, "reading from"):
                self._set_timeout(wait)
                while reply is INCOMPLETE:
                    self._fill()
                    reply = take(self.reader)
        self._owed -= 1
        return reply

    def receive_now(self, take: Take) -> Any:
        """The next reply, or INCOMPLETE if it is not here yet."""
        if self._renewal is not None:
            return self._receive_around(take, None)
        reply = take(self.reader)
        if reply is INCOMPLETE:
            self._connected()
            with _Failing(self, "reading from"), suppress(*_WOULD_WAIT):
                self._use_timeout(0.0)
                while reply is INCOMPLETE:
                    self._fill()
                    reply = take(self.reader)
        if reply is not INCOMPLETE:
            self._owed -= 1
        return reply

    def pushed(self, commands: CommandBuffer, replies: Confirmations) -> bool:
        """As `push`. True once all was sent and all replies are there: `pipeline` in many steps."""
        self.push(commands, replies)
        if self._pushed < len(commands) or not replies.take(self.reader):
            return False
        self._owed = self._pushed = 0
        return True

    def gather(self, replies: Confirmations, *, overdue: bool) -> None:
        """Wait for the rest of the replies to a pipeline that was pushed. `overdue`: not for the first of them."""
        self._connected()
        with _Failing(self, "flushing to"):
            if overdue:
                self._use_timeout(_INSTANT)
                if not replies.take(self.reader):
                    self._fill()
            self._set_timeout(0.0)
            while not replies.take(self.reader):
                self._fill()
        self._owed = self._pushed = 0

    @property
    def socket(self) -> Any:
        """The socket, for whoever waits for several."""
        return self._connected()

    @property
    def timeout(self) -> float | None:
        """Seconds that the server may be silent."""
        return self._timeout if self._limit is None else time_left(self._limit)

    def sending(self, commands: CommandBuffer) -> bool:
        """Whether `push` has not sent all of it."""
        return self._pushed < len(commands)

    def time_out(self) -> None:
        """The server was silent for too long."""
        with _Failing(self, "reading from"):
            raise TimeoutError

    def push(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send what the socket takes, and take the replies that are there. `pipeline` goes on from here."""
        begun = self._pushed > 0
        sock = self._connected() if begun else self.connect()
        self._owed = replies.expected
        with commands.view() as view, _Failing(self, "flushing to"):
            self._use_timeout(0.0)
            try:
                with suppress(*_WOULD_WAIT):
                    while self._pushed < len(view):
                        # TLS: what could not be sent must be tried again with no fewer bytes, here or in `pipeline`.
                        self._pushed += sock.send(view[self._pushed : self._pushed + WINDOW])
            except OSError:
                self._read_what_arrived(replies)
                raise
            if not begun and self._pushed == len(view):
                return  # there can be no reply yet
            with suppress(*_WOULD_WAIT):
                while self._poll() and not replies.take(self.reader):
                    self._fill()

    def pipeline(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send the commands by the window, and take the replies of one window while the next is under way."""
        sock = self._connected() if self._pushed else self.connect()
        self._owed = replies.expected
        sent = self._pushed
        with commands.view() as view, _Failing(self, "flushing to"):
            self._set_timeout(0.0)
            try:
                while sent < len(view):
                    sock.sendall(view[sent : sent + WINDOW])
                    sent += WINDOW
                    while self._poll() and not replies.take(self.reader):
                        self._fill()
            except OSError:
                self._read_what_arrived(replies)
                raise
            while not replies.take(self.reader):
                self._fill()
        self._owed = self._pushed = 0

    def _read_what_arrived(self, replies: Confirmations) -> None:
        """Writing failed: take the replies that had come before."""
        try:
            self._use_timeout(0.0)
            while not replies.take(self.reader):
                self._fill()
        except OSError:
            return

    def _fill(self) -> None:
        with self.reader.get_buffer() as room:
            received = self._sock.recv_into(room)
        if not received:
            raise ConnectionResetError("the server closed the connection")
        self.reader.buffer_updated(received)

    def _set_timeout(self, wait: float) -> None:
        timeout = None if self._timeout is None else self._timeout + wait
        if self._limit is not None:
            left = max(_INSTANT, self._limit - time.monotonic())
            timeout = left if timeout is None else min(left, timeout)
        self._use_timeout(timeout)

    def _use_timeout(self, wanted: float | None) -> None:
        if wanted != self._timeout_now:
            self._sock.settimeout(wanted)
            self._timeout_now = wanted


def time_left(limit: float | None) -> float | None:
    """Seconds until then, a moment at least: a socket without any time does not wait, and fails in another way."""
    return None if limit is None else max(_INSTANT, limit - time.monotonic())


class _Failing:
    """A context: whatever goes wrong leaves the connection in an unknown state, so it is dropped.

    Errors of the network become redis-py's. (A class, because a generator would cost more than all that it guards.)
    """

    __slots__ = ("_doing", "_link")

    def __init__(self, link: Link, doing: str) -> None:
        self._link = link
        self._doing = doing

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, frames: TracebackType | None) -> None:
        if error is None:
            return
        self._link.drop()
        traceback.clear_frames(frames)  # they hold views of the buffer, which is used again (TLS is written in Python)
        if isinstance(error, OSError) and raised_by_a_signal(error) is None:
            raise network_error(error, self._doing, self._link.pool) from error


def poller(sock: Any) -> Callable[[], object]:
    """Asks whether a read of the socket would return at once: there are bytes, or the other side has closed."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        ready: Callable[[], object] = partial(poll.poll, 0)
    else:

        def ready() -> object:
            return select.select([sock], [], [], 0)[0]

    decrypted = getattr(sock, "pending", None)  # TLS: bytes that were read from the socket already
    return ready if decrypted is None else lambda: decrypted() or ready()
