"""A connection that must be ready within some time, although its pool would wait for longer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.sentinel

from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.redis_adapter import connections
from fluxa_fast.redis_adapter.pools import BLOCKING
from tests.fix_servers import Certificates, tls_settings
from tests.unresponsive_server import unresponsive

LONG = 300.0  # seconds: a test that waits for that long has failed
PATIENT = {"socket_timeout": LONG, "socket_connect_timeout": LONG}


def _options(server: EmbeddedServer) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": server.port, **PATIENT}


@pytest.fixture(params=["plain", "blocking", "retrying"])
def pool(request: pytest.FixtureRequest, own_server: EmbeddedServer) -> Iterator[Any]:
    options = _options(own_server)
    if request.param == "retrying":
        options["retry"] = redis.retry.Retry(redis.backoff.ConstantBackoff(LONG), 10)
        options["retry_on_timeout"] = True
    made: Any = (redis.BlockingConnectionPool if request.param == "blocking" else redis.ConnectionPool)(
        max_connections=1, **options
    )
    yield made
    made.disconnect()


def _gives_up(pool: Any) -> None:
    began = time.monotonic()
    with pytest.raises((redis.TimeoutError, redis.ConnectionError)):
        connections.borrow(pool, 0.3)
    assert time.monotonic() - began < LONG / 5


def _works(pool: Any, within: float = LONG / 2) -> None:
    connection = connections.borrow(pool, within)
    assert type(connection) is pool.connection_class
    assert connection.socket_timeout == LONG
    assert connections.raw_socket(connection).gettimeout() == LONG
    connection.send_command("PING")
    assert connection.read_response() in (b"PONG", "PONG")
    connections.give_back(pool, connection, reusable=True)
    assert connection._sock is None


def test_an_unresponsive_server_is_waited_for_no_longer(pool: Any, own_server: EmbeddedServer) -> None:
    with unresponsive(own_server):
        _gives_up(pool)
    _works(pool)


def test_the_pool_is_as_it_was(pool: Any) -> None:
    for _ in range(3):
        _works(pool)
    held = connections.borrow(pool)  # its only one
    _works(pool)
    connections.give_back(pool, held, reusable=True)
    assert connections.borrow(pool) is held
    connections.give_back(pool, held, reusable=True)


def test_a_server_that_answers_each_step_late_is_waited_for_no_longer(own_server: EmbeddedServer) -> None:
    """Each reply comes sooner than the time-out; all of them together don't."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        try:
            while True:
                near, _ = listener.accept()
                with near:
                    while near.recv(4096):
                        time.sleep(0.2)
                        near.sendall(b"+OK\r\n")
        except OSError:
            return

    threading.Thread(target=answer, daemon=True).start()
    commands = []

    def handshake(connection: Any) -> None:
        connection._parser.on_connect(connection)
        for number in range(1000):
            commands.append(number)
            connection.send_command("PING")
            connection.read_response()

    options = {**PATIENT, "redis_connect_func": handshake, "host": "127.0.0.1", "port": listener.getsockname()[1]}
    pool = redis.ConnectionPool(**options)
    _gives_up(pool)
    assert len(commands) < 900
    listener.close()
    pool.disconnect()


def test_with_tls(certificates: Certificates) -> None:
    settings = tls_settings(certificates)
    with EmbeddedServer(config=settings) as server:
        options = {"host": "127.0.0.1", "port": int(settings["tls-port"]), "ssl_ca_certs": certificates.authority}
        pool = redis.ConnectionPool(connection_class=redis.SSLConnection, **options, **PATIENT)
        _works(pool)
        with unresponsive(server):
            _gives_up(pool)
        pool.disconnect()


@pytest.fixture
def sentinels(tmp_path: Path, own_server: EmbeddedServer) -> Iterator[list[EmbeddedServer]]:
    """Three that watch one master, and never find it down."""
    with ExitStack() as stack:
        started = []
        for number in range(3):
            config = tmp_path / f"{number}.conf"
            config.write_text(
                f"sentinel monitor mymaster 127.0.0.1 {own_server.port} 3\n"
                "sentinel down-after-milliseconds mymaster 600000\n"
            )
            started.append(stack.enter_context(EmbeddedServer(own_server.program, sentinel=str(config))))
        yield started


@pytest.mark.parametrize("ours", [False, True])
def test_a_master_that_sentinels_know(own_server: EmbeddedServer, sentinels: list[EmbeddedServer], ours: bool) -> None:
    kind: Any = BLOCKING.sentinel if ours else redis.sentinel.Sentinel
    manager = kind([("127.0.0.1", one.port) for one in sentinels], sentinel_kwargs=dict(PATIENT))
    pool = manager.master_for("mymaster", **PATIENT).connection_pool
    _works(pool)
    with unresponsive(sentinels[0]):
        _works(pool, 8.0)
    with unresponsive(*sentinels):
        _gives_up(pool)
    with unresponsive(own_server):
        _gives_up(pool)
    _works(pool)
    known = [client.connection_pool.connection_kwargs["port"] for client in manager.sentinels]
    assert sorted(known) == sorted(one.port for one in sentinels)
    connections.close(pool)
