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


@pytest.mark.skipif(not (ROOT / ".github").exists(), reason="this is no checkout")
def test_the_workflow_builds_with_the_cibuildwheel_that_was_checked() -> None:
    """There is one pin; the workflow finds it by this pattern."""
    workflow = (ROOT / ".github/workflows/wheels.yml").read_text("utf-8")
    [pattern] = re.findall(r"grep -o '([^']+)' pyproject\.toml", workflow)
    assert len(re.findall(pattern, (ROOT / "pyproject.toml").read_text("utf-8"))) == 1
    assert "cibuildwheel==" not in workflow.replace(pattern, "")


@pytest.mark.skipif(not (ROOT / ".github").exists(), reason="this is no checkout")
def test_workflows_run_what_can_be_run_by_hand() -> None:
    """Each command of a job is a target of the Makefile, or a file in tools/, or python."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for command in re.findall(r"run: (?!\|)(.+)", workflow.read_text("utf-8")):
            words = command.split()
            if words[0] == "make":
                assert words[1] in targets, f"{workflow.name}: {command}"
            elif words[0].startswith("tools/"):
                assert (ROOT / words[0]).exists(), f"{workflow.name}: {command}"
            else:
                assert words[0] in ("python", "sudo", "test", "gh", ".venv/bin/python") or "=" in words[0], (
                    f"{workflow.name}: {command}"
                )
