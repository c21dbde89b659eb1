"""Promise 8 in processes of their own: forks, patched sockets, and interpreters that end without a word.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import redis

from fluxa_fast.protocol import Implementation
from tests.isolated.programs import PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.blocking
def test_promise_8_programs(implementation: Implementation, server_url: str, client: redis.Redis, program: str) -> None:
    if "fork" in program and not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    if "gevent" in program and not importlib.util.find_spec("gevent"):
        pytest.skip("there is no gevent")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",  # "use of fork() may lead to deadlocks": that is what is tested
            "-m",
            "tests.isolated.programs",
            program,
            server_url,
        ],
        env={**os.environ, "FLUXA_FAST_IMPL": implementation.name},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    assert done.returncode == 0
