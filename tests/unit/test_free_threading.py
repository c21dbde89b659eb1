"""What the compiled modules declare, and what Python makes of it: the lock (GIL) stays off, subinterpreters are refused."""

from __future__ import annotations

import ctypes
import importlib
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from fluxa_fast import protocol
from fluxa_fast.protocol.compiled_modules import COMPILED_MODULES
from tests.threads import WITHOUT_GIL

COMPILED = not protocol.missing_modules()
IMPLEMENTATIONS = pytest.mark.parametrize(
    "name", [pytest.param("c", marks=pytest.mark.skipif(not COMPILED, reason="there is no compiled module")), "python"]
)


def python(code: str, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        env={**os.environ, "FLUXA_FAST_IMPL": name},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.skipif(not WITHOUT_GIL, reason="this Python always has its lock")
@IMPLEMENTATIONS
def test_importing_everything_leaves_the_gil_off(name: str) -> None:
    """hiredis, which redis-py takes where it is installed, would switch it on (hiredis-py issue 229)."""
    code = (
        "import sys; assert not sys._is_gil_enabled();"
        "import fluxa_fast.asyncio, fluxa_fast.cli.commands;"
        "[getattr(fluxa_fast, one) for one in fluxa_fast.__all__];"
        "assert not sys._is_gil_enabled();"
        "assert 'hiredis' not in sys.modules"
    )
    done = python(code, name, "-W", "error")  # Python warns when it switches the lock on
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not WITHOUT_GIL, reason="this Python always has its lock")
@pytest.mark.skipif(not find_spec("hiredis"), reason="hiredis is not installed")
def test_hiredis_is_used_where_it_was_asked_for() -> None:
    """Who imported it before, or told Python to leave the lock off whatever comes."""
    used = "import fluxa_fast, redis.utils; assert redis.utils.HIREDIS_AVAILABLE"
    assert python(f"import hiredis; {used}", "python").returncode == 0
    assert python(f"import redis; {used}", "python").returncode == 0
    assert python(used, "python", "-X", "gil=0").returncode == 0
    assert python(used, "python").returncode == 1
    assert python("import fluxa_fast, hiredis", "python").returncode == 0


@pytest.mark.skipif(not COMPILED, reason="there is no compiled module")
@pytest.mark.parametrize("module", COMPILED_MODULES)
def test_modules_are_initialised_in_several_phases(module: str) -> None:
    """Asked directly, such a module gives its definition, and any other one itself."""
    path = importlib.import_module(f"fluxa_fast.protocol.compiled.{module}").__file__
    assert path
    create = getattr(ctypes.PyDLL(path), f"PyInit_{module}")
    create.restype = ctypes.c_void_p  # and no reference is owned
    assert type(ctypes.cast(create(), ctypes.py_object).value).__name__ == "moduledef"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="there is no interface to subinterpreters")
@pytest.mark.parametrize("kind", ["isolated", "legacy"])
@IMPLEMENTATIONS
def test_subinterpreters_work_with_the_pure_implementation_and_are_refused_by_the_other(name: str, kind: str) -> None:
    code = (
        "import fluxa_fast, _interpreters as them;"
        f"one = them.create({kind!r});"
        "problem = them.exec(one, 'import fluxa_fast; assert fluxa_fast.unpack(fluxa_fast.pack([1])) == [1]');"
        "them.destroy(one);"
        "print(problem.msg if problem else 'works')"
    )
    done = python(code, name)
    assert done.returncode == 0, done.stderr
    if name == "python":
        assert done.stdout == "works\n"
    else:
        assert "can't be loaded in a subinterpreter: set FLUXA_FAST_IMPL=python" in done.stdout
