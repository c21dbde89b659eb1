"""The prebuilt wheels: what cibuildwheel would build is what the docs promise."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "docs" / "install.md"


@pytest.mark.skipif(not importlib.util.find_spec("cibuildwheel"), reason="cibuildwheel is not installed")
@pytest.mark.parametrize("platform", ["linux", "macos", "windows"])
def test_the_docs_list_the_wheels(platform: str) -> None:
    [block] = re.findall(rf"```text {platform}\n(.*?)```", INSTALL.read_text("utf-8"), re.DOTALL)
    printed = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform, str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert block.split() == printed.split()


@pytest.mark.skipif(not shutil.which("git"), reason="git is asked what there is")
def test_generated_files_are_not_in_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not re.findall(r"^src/.*\.(?:c|so|pyd|html)$", listed, re.MULTILINE)
