"""Nothing grows: not per event, not per error, not per exception of a hook or handler. A process for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from tests.isolated.leaks import ALONE, WITH_SERVER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

if shutil.which("ps") is None:
    pytest.skip("memory is asked of ps", allow_module_level=True)

_MORE = int(os.environ.get("FLUXA_FAST_LEAK_ROUNDS", "0"))  # by hand: a million
_ROUNDS = {"c": 60_000, "python": 10_000}
_ROUNDS_WITH_SERVER = {"c": 2_000, "python": 500}
_NOISE = 1_500_000  # bytes: 25 for each compiled round, and nearly all objects of Python have more


def _growth(implementation: Implementation, scenario: str, rounds: int, *arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.isolated.leaks", scenario, str(_MORE or rounds), *arguments],
        env={**os.environ, "FLUXA_FAST_IMPL": implementation.name},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    grown, references = map(int, done.stdout.split())
    assert references < 1000
    return grown


@pytest.mark.parametrize("scenario", ALONE)
def test_nothing_grows(implementation: Implementation, scenario: str) -> None:
    assert _growth(implementation, scenario, _ROUNDS[implementation.name]) < _NOISE


@pytest.mark.parametrize("scenario", WITH_SERVER)
def test_nothing_grows_with_a_server(implementation: Implementation, scenario: str) -> None:
    with EmbeddedServer() as server:
        assert _growth(implementation, scenario, _ROUNDS_WITH_SERVER[implementation.name], server.url) < _NOISE
