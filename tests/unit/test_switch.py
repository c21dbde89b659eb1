"""The switch between the implementations, seen from outside: each test starts an interpreter.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import fluxa_fast
from fluxa_fast import protocol
from fluxa_fast.protocol import limits, wire
from fluxa_fast.protocol.compiled_modules import COMPILED_MODULES

SOURCE = Path(fluxa_fast.__file__).parent
SHOW = "import fluxa_fast; print(fluxa_fast.implementation)"
VALIDATE = "import fluxa_fast as f; r = f.Registry(); r.register_redis('localhost'); r.validate(); r.validate()"
COMPILED = not protocol.missing_modules()


def python(code: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLUXA_FAST_")}
    if folder is not None:
        clean["PYTHONPATH"] = str(folder)
    return subprocess.run(
        [sys.executable, "-W", "always::UserWarning", "-c", code],
        env={**clean, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def without_compiled(tmp_path: Path) -> Path:
    """A copy of the package as a machine without a compiler gets it."""
    shutil.copytree(SOURCE, tmp_path / "fluxa_fast", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    return tmp_path


def test_the_compiled_implementation_is_preferred() -> None:
    assert python(SHOW).stdout.strip() == ("c" if COMPILED else "python")


def test_an_implementation_that_is_asked_for() -> None:
    assert python(SHOW, FLUXA_FAST_IMPL="python").stdout.strip() == "python"
    assert "FLUXA_FAST_IMPL is 'c' or 'python', not 'rust'" in python(SHOW, FLUXA_FAST_IMPL="rust").stderr


def test_asked_for_and_missing_is_an_error(without_compiled: Path) -> None:
    outcome = python(SHOW, without_compiled, FLUXA_FAST_IMPL="c")
    assert outcome.returncode
    assert "ImportError: the compiled protocol was asked for" in outcome.stderr


def test_missing_warns_once_at_the_first_validate(without_compiled: Path) -> None:
    assert python(SHOW, without_compiled).stderr == ""
    outcome = python(VALIDATE, without_compiled)
    assert outcome.returncode == 0
    assert outcome.stderr.count("ImplementationWarning") == 1
    assert "fluxa_fast.protocol.compiled.buffer" in outcome.stderr
    assert python(VALIDATE, without_compiled, FLUXA_FAST_IMPL="python").stderr == ""


@pytest.mark.skipif(not COMPILED, reason="there is no compiled module to break")
def test_a_broken_or_a_stale_compiled_module_is_an_error(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "fluxa_fast", ignore=shutil.ignore_patterns("__pycache__"))
    version = tmp_path / "fluxa_fast" / "_version.py"
    version.write_text('__version__ = "99.0"\n', "utf-8")
    assert "was compiled for fluxa_fast" in python(SHOW, tmp_path).stderr
    module = tmp_path / "fluxa_fast" / "protocol" / "compiled" / f"buffer{EXTENSION_SUFFIXES[0]}"
    assert module.exists()
    module.write_bytes(b"not a module")
    assert "ImportError" in python(SHOW, tmp_path).stderr


@pytest.mark.parametrize("name", ["c", "python"])
def test_every_module_imports_without_warnings(name: str) -> None:
    if name == "c" and not COMPILED:
        pytest.skip("there is no compiled module")
    modules = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name not in ("__main__.py", "hook-fluxa_fast.py")  # the latter needs PyInstaller
        and (COMPILED or "compiled" not in path.parts)
        and path.parent.name != "contenders"  # which need peers
    ]
    code = f"import importlib; [importlib.import_module(name) for name in {modules!r}]"
    environment = {**os.environ, "FLUXA_FAST_IMPL": name}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


def test_both_implementations_keep_the_same_limits() -> None:
    source = SOURCE / "protocol" / "compiled" / "limits.pxd"
    if not source.exists():
        pytest.skip("a wheel has no sources")
    text = source.read_text("utf-8")
    for name, value in re.findall(r"^    ([A-Z_]+) = (.+)$", text, re.MULTILINE):
        assert eval(value) == getattr(limits, name), name
    assert int(re.findall(r"FLUXA_MAX_ITEMS (\d+)", text)[0]) == limits.MAX_ITEMS


def test_both_implementations_give_the_body_the_same_field() -> None:
    source = SOURCE / "protocol" / "compiled" / "wire.pxd"
    if not source.exists():
        pytest.skip("a wheel has no sources")
    assert re.findall(r'#define FLUXA_BODY_FIELD "(.+)"', source.read_text("utf-8")) == [wire.BODY_FIELD]


def test_the_list_of_compiled_modules_is_that_of_their_sources() -> None:
    sources = [path.stem for path in (SOURCE / "protocol" / "compiled").glob("*.pyx")]
    if not sources:
        pytest.skip("a wheel has no sources")
    assert sorted(sources) == sorted(COMPILED_MODULES)
    assert sorted(sources) == sorted(path.stem for path in (SOURCE / "protocol" / "compiled").glob("*.pyi"))


def test_the_name_of_the_field_of_bodies_stands_in_one_place() -> None:
    literal = re.compile(rf"""["']{wire.BODY_FIELD}["']|\$1\\r\\n{wire.BODY_FIELD}\\r""")
    sources = [path for path in (SOURCE / "protocol").rglob("*.p*") if path.suffix in (".py", ".pyx", ".pxd")]
    found = {path.name for path in sources if literal.search(re.sub("#(?!define).*", "", path.read_text("utf-8")))}
    assert found <= {"wire.py", "wire.pxd"}, "import it from wire.py, or cimport it from wire.pxd"


def test_importing_starts_nothing() -> None:
    """Promise 8: no threads, no signal handlers, no connections."""
    code = (
        "import signal, threading; before = {s: signal.getsignal(s) for s in signal.valid_signals()};"
        "import fluxa_fast;"
        "assert threading.active_count() == 1;"
        "assert before == {s: signal.getsignal(s) for s in signal.valid_signals()}"
    )
    assert python(code).returncode == 0
