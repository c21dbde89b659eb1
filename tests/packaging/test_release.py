"""tools/check-release: what must not be released, and the notes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fluxa_fast import __version__

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "src/fluxa_fast/_version.py")


def check(source: Path, tag: str = f"v{__version__}") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/check-release"), tag, str(source)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy that is ready."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
        text = (tmp_path / name).read_text("utf-8").replace("example.invalid", "fluxa.example")
        (tmp_path / name).write_text(text.replace("## Unreleased", f"## {__version__} - 2026-12-01", 1), "utf-8")
    return tmp_path


def test_a_release_that_is_ready_has_notes(source: Path) -> None:
    done = check(source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("### Added")
    assert "\n## " not in done.stdout


def test_another_tag_is_refused(source: Path) -> None:
    done = check(source, "v99.0")
    assert done.returncode == 1
    assert "the tag is v99.0, and src/fluxa_fast/_version.py says" in done.stderr
    assert "CHANGELOG.md has no section '## 99.0'" in done.stderr


@pytest.mark.parametrize("name", ["pyproject.toml", "SECURITY.md"])
def test_a_placeholder_is_refused(source: Path, name: str) -> None:
    with (source / name).open("a", encoding="utf-8") as file:
        file.write("# https://example.invalid/x\n")
    done = check(source)
    assert done.returncode == 1
    assert f"{name}:" in done.stderr
    assert "a placeholder" in done.stderr


def test_this_source_is_not_ready_as_long_as_it_has_placeholders() -> None:
    assert ("example.invalid" in (ROOT / "pyproject.toml").read_text("utf-8")) == (check(ROOT).returncode != 0)
