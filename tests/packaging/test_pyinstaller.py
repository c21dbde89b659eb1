"""A program that PyInstaller has frozen: it finds the implementation, and the scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("PyInstaller", reason="`pip install pyinstaller` for this test")

_PROGRAM = """
import fluxa_fast
from fluxa_fast.scripts import ROSTER

registry = fluxa_fast.Registry()
registry.register_redis("localhost:1")
registry.register_redis_stream("orders")
registry.validate()
assert fluxa_fast.unpack(fluxa_fast.pack({"a": 1})) == {"a": 1}
print(fluxa_fast.implementation, len(str(ROSTER)) > 0)
"""


@pytest.mark.parametrize("implementation", ["as it comes", "python"])
def test_a_frozen_program_runs(tmp_path: Path, implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLUXA_FAST_IMPL", raising=False)
    if implementation == "python":
        monkeypatch.setenv("FLUXA_FAST_IMPL", "python")
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM, "utf-8")
    freeze = [sys.executable, "-m", "PyInstaller", "--onedir", "--noconfirm", "--log-level", "ERROR"]
    hooks = ["--additional-hooks-dir", str(Path(__file__).parents[2] / "src/fluxa_fast/_pyinstaller")]
    subprocess.run([*freeze, *hooks, str(program)], cwd=tmp_path, check=True, timeout=110)
    done = subprocess.run(
        [str(tmp_path / "dist/program/program")], capture_output=True, encoding="utf-8", check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "True"
