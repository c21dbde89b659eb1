"""Which implementation is tested, and where the fixtures are."""

from __future__ import annotations

import os

import pytest

from fluxa_fast import protocol

pytest_plugins = ("tests.fix_servers", "tests.fix_broker", "tests.fix_proxy")

_MUST_BE_COMPILED = os.environ.get("FLUXA_FAST_IMPL") == "c" or os.environ.get("FLUXA_FAST_REQUIRE_EXTENSIONS") == "1"


def _implementations() -> list[str]:
    asked_for = os.environ.get("FLUXA_FAST_IMPL")
    if asked_for:
        return [asked_for]
    return ["python"] if protocol.missing_modules() else ["c", "python"]


def pytest_configure(config: pytest.Config) -> None:
    if _MUST_BE_COMPILED and protocol.missing_modules():
        raise pytest.UsageError(
            f"the compiled protocol was to be tested, and is not there: {protocol.missing_modules()}"
        )


def pytest_report_header() -> str:
    return f"fluxa_fast implementations: {', '.join(_implementations())} (default: {protocol.default.name})"


@pytest.fixture(params=_implementations())
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> protocol.Implementation:
    """One implementation of the protocol after the other; registries that the test makes use it."""
    chosen = protocol.load(request.param)
    monkeypatch.setattr(protocol, "default", chosen)
    return chosen
