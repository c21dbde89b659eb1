"""A TCP proxy that cuts connections where a test wants it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from fluxa_fast.embedded import EmbeddedServer


class Proxy:
    """Forwards to a server.

    Attributes:
        cut_up: cut a connection after that many bytes from client to server; None: never.
        cut_down: the same, from server to client.
        split: forward that many bytes at a time at most.
        forwarded: all bytes that went to the server.
    """

    def __init__(self, port: int) -> None:
        self.cut_up: int | None = None
        self.cut_down: int | None = None
        self.split = 65536
        self.forwarded = bytearray()
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += near, far
                for source, sink, up in ((near, far, True), (far, near, False)):
                    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._forward, args=(source, sink, up), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while received := source.recv(self.split):
                limit = self.cut_up if up else self.cut_down
                if limit is not None and passed + len(received) >= limit:
                    sink.sendall(received[: max(0, limit - passed)])
                    if up:
                        self.forwarded += received[: max(0, limit - passed)]
                    break
                passed += len(received)
                if up:
                    self.forwarded += received
                sink.sendall(received)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut all connections now."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.fixture
def proxy(own_server: EmbeddedServer) -> Iterator[Proxy]:
    """A proxy in front of the test's own server."""
    proxy = Proxy(own_server.port)
    yield proxy
    proxy.close()
