"""Sockets as blocking links use them: the contract, what works with every socket, and the choice of a faster way.

A wire borrows a socket of redis-py's. It may change how the socket blocks, until `restore`.
"""

from __future__ import annotations

import _socket
import select
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from os import getpid
from typing import Any, Protocol

from ...protocol.interface import CommandBuffer, Confirmations, Implementation, ReplyReader
from ..pool_base import WINDOW

__all__ = ["NO_WIRE", "SocketWire", "Wire", "poller", "wire_over"]

_WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_USED = ("fileno", "recv_into", "send", "sendall", "settimeout", "gettimeout")


class Wire(Protocol):
    """A connected socket that one link uses.

    A `timeout` is the seconds that the other side may be silent, or take nothing; None: any number of them. Every
    method raises an OSError if the connection fails: TimeoutError, or ConnectionResetError if the other side has
    closed it.
    """

    @property
    def mine(self) -> bool:
        """Whether this process made the wire, and not the one that it was forked from."""

    @property
    def arrived(self) -> bool:
        """Whether a receive would return at once: there are bytes, or the other side has closed."""

    @property
    def ready(self) -> bool:
        """Whether it is this process's, and nothing can be received: a new question may be sent."""

    def send(self, commands: Any, timeout: float | None) -> None:
        """Send the whole buffer."""

    def ask(self, commands: Any, reader: Any, timeout: float | None) -> None:
        """Send the whole buffer, and receive the beginning of the reply into the reader."""

    def receive(self, reader: Any, timeout: float | None) -> None:
        """Receive some bytes into the reader."""

    def receive_now(self, reader: Any) -> bool:
        """As `receive`, without waiting. False if there is nothing."""

    def send_now(self, commands: Any, begin: int) -> int:
        """Send what the socket takes without waiting, from that byte on. Returns where the rest begins."""

    def pipeline(self, commands: Any, begin: int, replies: Any, reader: Any, timeout: float | None) -> None:
        """Send the rest of the buffer by the window, take the replies that come meanwhile, and then all others."""

    def restore(self) -> None:
        """Let the socket block as it did before."""


NO_WIRE: Any = None
"""What a link without a connection has."""


class SocketWire:
    """A wire over a socket of any kind: TLS, gevent's, one that a test has put in its place."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._before: float | None = sock.gettimeout()
        self._timeout = self._before
        self._readable = poller(sock)
        self._process = getpid()

    @property
    def mine(self) -> bool:
        return self._process == getpid()

    @property
    def arrived(self) -> bool:
        return bool(self._readable())

    @property
    def ready(self) -> bool:
        return self.mine and not self.arrived

    def _block(self, timeout: float | None) -> None:
        if timeout != self._timeout:
            self._sock.settimeout(timeout)
            self._timeout = timeout

    def restore(self) -> None:
        self._block(self._before)

    def send(self, commands: CommandBuffer, timeout: float | None) -> None:
        self._block(timeout)
        with commands.view() as view:
            self._sock.sendall(view)

    def ask(self, commands: CommandBuffer, reader: ReplyReader, timeout: float | None) -> None:
        self.send(commands, timeout)
        self._fill(reader)

    def receive(self, reader: ReplyReader, timeout: float | None) -> None:
        self._block(timeout)
        self._fill(reader)

    def receive_now(self, reader: ReplyReader) -> bool:
        self._block(0.0)
        try:
            self._fill(reader)
        except _WOULD_WAIT:
            return False
        return True

    def _fill(self, reader: ReplyReader) -> None:
        with reader.get_buffer() as room:
            received = self._sock.recv_into(room)
        if not received:
            raise ConnectionResetError("the server closed the connection")
        reader.buffer_updated(received)

    def send_now(self, commands: CommandBuffer, begin: int) -> int:
        self._block(0.0)
        with commands.view() as view, suppress(*_WOULD_WAIT):
            while begin < len(view):
                # TLS: what could not be sent must be tried again with no fewer bytes, here or in `pipeline`.
                begin += self._sock.send(view[begin : begin + WINDOW])
        return begin

    def pipeline(
        self, commands: CommandBuffer, begin: int, replies: Confirmations, reader: ReplyReader, timeout: float | None
    ) -> None:
        self._block(timeout)
        with commands.view() as view:
            while begin < len(view):
                self._sock.sendall(view[begin : begin + WINDOW])
                begin += WINDOW
                while begin < len(view) and self._readable() and not replies.take(reader):
                    self._fill(reader)
            while not replies.take(reader):
                self._fill(reader)


def wire_over(sock: Any, implementation: Implementation, timeout: float | None) -> Wire:
    """Return the fastest wire that can use the socket. `timeout`: of most calls."""
    if implementation.name == "c" and _is_plain(sock):
        from ...protocol.compiled.plain_socket import PlainSocket, supported

        if supported:
            return PlainSocket(sock, timeout)
    return SocketWire(sock)


def _is_plain(sock: Any) -> bool:
    """Whether a socket sends and receives by system calls of its own: it has no TLS, and its class was not patched."""
    return all(getattr(type(sock), name, None) is getattr(_socket.socket, name) for name in _USED)


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
