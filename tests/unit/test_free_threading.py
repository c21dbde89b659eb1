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
        text=True,
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
def test_hiredis_is_used_where_somebody_wants_it() -> None:
    """Who imported it before, or told Python to leave the lock off whatever comes."""
    used = "import fluxa_fast, redis.utils; assert redis.utils.HIREDIS_AVAILABLE"
    assert python(f"import hiredis; {used}", "python").returncode == 0
    assert python(f"import redis; {used}", "python").returncode == 0
    assert python(used, "python", "-X", "gil=0").returncode == 0
    assert python(used, "python").returncode == 1
    assert python("import fluxa_fast, hiredis", "python").returncode == 0


class _Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("value", ctypes.c_void_p))


class _Definition(ctypes.Structure):
    """PyModuleDef of CPython with its lock: PyModuleDef_Base (an object, three words), then the fields."""

    _fields_ = (
        ("base", ctypes.c_void_p * 5),
        ("m_name", ctypes.c_char_p),
        ("m_doc", ctypes.c_char_p),
        ("m_size", ctypes.c_ssize_t),
        ("m_methods", ctypes.c_void_p),
        ("m_slots", ctypes.POINTER(_Slot)),
    )


@pytest.mark.skipif(
    not COMPILED or WITHOUT_GIL or sys.version_info[:2] not in ((3, 13), (3, 14)) or sys.platform == "win32",
    reason="reads a structure of CPython 3.13 and 3.14",
)
@pytest.mark.parametrize("module", protocol._COMPILED_MODULES)
def test_modules_are_made_in_phases_and_declare_themselves(module: str) -> None:
    path = importlib.import_module(f"fluxa_fast.protocol.compiled.{module}").__file__
    assert path
    create = getattr(ctypes.PyDLL(path), f"PyInit_{module}")
    create.restype = ctypes.POINTER(_Definition)
    definition = create().contents
    slots = {}
    place = 0
    while definition.m_slots[place].slot:
        slots[definition.m_slots[place].slot] = definition.m_slots[place].value or 0
        place += 1
    execute, interpreters, gil = 2, 3, 4  # Py_mod_exec, Py_mod_multiple_interpreters, Py_mod_gil
    assert slots[execute]
    assert slots[interpreters] == 0  # Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED
    assert slots[gil] == 1  # Py_MOD_GIL_NOT_USED


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
