"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

__all__ = ["Proxy"]


class Proxy:
    """Forwards to a server on the loopback interface. All settings may be changed at any time.

    Attributes:
        port: where it listens.
        server_port: where new connections go to.
        cut_up: cut a connection after that many bytes from client to server; None: never.
        cut_down: the same, from server to client.
        corrupt_down: spoil that byte of what a connection brings from the server, counted from 0; None: none.
        instead_down: what a connection brings next from the server is replaced by this; None: by nothing.
        split: forward that many bytes at a time at most.
        delay: seconds by which whatever comes from the server is late.
        refusing: close new connections at once.
        connections: how many were made so far.
        sources: the ports from which it has talked to the server.
        forwarded: all bytes that went to the server, if `recording`.
        recording: whether to keep them.
    """

    def __init__(self, port: int, *, recording: bool = True) -> None:
        self.cut_up: int | None = None
        self.cut_down: int | None = None
        self.corrupt_down: int | None = None
        self.instead_down: bytes | None = None
        self.split = 65536
        self.delay = 0.0
        self.refusing = False
        self.connections = 0
        self.sources: set[int] = set()
        self.recording = recording
        self.forwarded = bytearray()
        self.server_port = port
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    # ---- faults ----

    def cut(self) -> None:
        """Cut all connections now."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                _shut(one, socket.SHUT_RDWR)
                one.close()

    def half_close(self, *, up: bool) -> None:
        """End one direction of all connections; the other one goes on. `up`: what the server reads."""
        for near, far in self._pairs:
            _shut(far if up else near, socket.SHUT_WR)

    def stall(self) -> None:
        """Forward nothing any more. The connections stay open, as when a cable is pulled."""
        self._flowing.clear()

    def flow(self) -> None:
        """End `stall`."""
        self._flowing.set()

    def heal(self) -> None:
        """End all faults."""
        self.cut_up = self.cut_down = self.corrupt_down = self.instead_down = None
        self.split, self.delay, self.refusing = 65536, 0.0, False
        self.flow()

    def close(self) -> None:
        self._listener.close()
        self._flowing.set()
        self.cut()

    # ---- forwarding ----

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                self._begin(near)

    def _begin(self, near: socket.socket) -> None:
        try:
            if self.refusing:
                raise ConnectionRefusedError
            far = socket.create_connection(("127.0.0.1", self.server_port))
        except OSError:  # the server is down: so is the connection
            near.close()
            return
        self.sources.add(far.getsockname()[1])
        self._pairs.append((near, far))  # from here on it may be cut
        for source, sink, up in ((near, far, True), (far, near, False)):
            with contextlib.suppress(OSError):  # it is cut already, by another thread
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._forward, args=(source, sink, up), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while received := source.recv(self.split):
                self._flowing.wait()
                if not up and self.delay:
                    time.sleep(self.delay)
                if not up:
                    if self.instead_down is not None:
                        received, self.instead_down = self.instead_down, None
                    received = self._corrupted(received, passed)
                limit = self.cut_up if up else self.cut_down
                over = limit is not None and passed + len(received) >= limit
                if limit is not None and over:
                    received = received[: max(0, limit - passed)]
                passed += len(received)
                if up and self.recording:
                    self.forwarded += received
                sink.sendall(received)
                if over:
                    break
        for one in (source, sink):
            _shut(one, socket.SHUT_RDWR)

    def _corrupted(self, received: bytes, passed: int) -> bytes:
        if self.corrupt_down is None or not 0 <= (at := self.corrupt_down - passed) < len(received):
            return received
        return received[:at] + bytes([received[at] ^ 0x15]) + received[at + 1 :]


def _shut(one: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(how)
