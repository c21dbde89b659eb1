"""What becomes of a producer's events at the end of the process, in a fork, under signals and under gevent."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import redis

from fluxa_fast import unpack
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation

if sys.platform == "win32":
    pytest.skip("forks and signals", allow_module_level=True)

from tests.isolated import producing

pytestmark = pytest.mark.blocking

QUIET = ("-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning")


def _run(program: str, url: str, implementation: Implementation) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *QUIET, "-m", producing.__name__, program, url],
        env={**os.environ, "FLUXA_FAST_IMPL": implementation.name},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("program", list(producing.PROGRAMS))
def test_every_event_is_there_once(
    implementation: Implementation, server_url: str, client: redis.Redis, program: str
) -> None:
    if "interrupted" in program and implementation.name == "python":
        pytest.skip("Python code can be interrupted anywhere, in the middle of an event too")
    if "gevent" in program and importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    done = _run(program, server_url, implementation)
    assert "Traceback" not in done.stderr, done.stderr
    assert "not delivered" not in done.stderr, done.stderr
    assert done.returncode == ("exception" in program), done.stderr
    found = [unpack(fields[b"s"]) for _, fields in client.xrange("orders")]
    assert sorted(found) == list(range(200))


@pytest.mark.parametrize("program", ["ends_at_once", "ends_with_a_dropped_one", "ends_with_asyncio"])
def test_the_end_is_bounded_and_tells_what_is_left(
    implementation: Implementation, own_server: EmbeddedServer, program: str
) -> None:
    own_server.kill()
    done = _run(program, own_server.url, implementation)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("with 200 events that were not delivered: 200 for stream 'orders'") == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
