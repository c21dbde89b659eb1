"""Which implementation is tested, and where the fixtures are."""

from __future__ import annotations

import os
import zlib
from typing import Any

import hypothesis
import pytest

from fluxa_fast import protocol
from tests.threads import WITHOUT_GIL

pytest_plugins = ("tests.fix_servers", "tests.fix_cluster", "tests.fix_broker", "tests.fix_asyncio", "tests.fix_proxy")

# No property is asked how long it takes: under sanitizers, or on a busy machine, that says nothing.
hypothesis.settings.register_profile("fluxa_fast", deadline=None)
hypothesis.settings.load_profile("fluxa_fast")

_MUST_BE_COMPILED = os.environ.get("FLUXA_FAST_IMPL") == "c" or os.environ.get("FLUXA_FAST_REQUIRE_EXTENSIONS") == "1"


def _implementations() -> list[str]:
    asked_for = os.environ.get("FLUXA_FAST_IMPL")
    if asked_for:
        return [asked_for]
    return ["python"] if protocol.missing_modules() else ["c", "python"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "any_server: about no server; runs on one of them, others of its kind on another"
    )
    if WITHOUT_GIL:  # what another thread has left behind is freed in the middle of a later test
        config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")
        config.addinivalue_line("filterwarnings", "ignore::pytest.PytestUnraisableExceptionWarning")
    if _MUST_BE_COMPILED and protocol.missing_modules():
        raise pytest.UsageError(
            f"the compiled protocol was to be tested, and is not there: {protocol.missing_modules()}"
        )
    if os.environ.get("FLUXA_FAST_TEST_URL") and int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        raise pytest.UsageError("FLUXA_FAST_TEST_URL names one server, which tests flush: use -n 1 with it")


def pytest_report_header() -> str:
    return f"fluxa_fast implementations: {', '.join(_implementations())} (default: {protocol.default.name})"


@pytest.fixture(params=_implementations())
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> protocol.Implementation:
    """One implementation of the protocol after the other; registries that the test makes use it."""
    chosen = protocol.load(request.param)
    monkeypatch.setattr(protocol, "default", chosen)
    return chosen


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has been tested elsewhere, unless FLUXA_FAST_TEST_EVERYTHING=1.

    Of implementations, servers and blocking or asyncio, each pair meets: blocking use has the compiled implementation
    with Redis and the pure one with Valkey, asyncio the other way round. On clusters nothing is new to the
    implementations: one of them is enough, with both servers, and asyncio with one of these.
    """
    kept, left = [], []
    everything = os.environ.get("FLUXA_FAST_TEST_EVERYTHING") == "1"
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        fixtures = getattr(item, "fixturenames", ())
        awaited = parameters.get("faces") == "asyncio" or "run" in fixtures
        on_a_cluster = not {"shared_cluster", "secured"}.isdisjoint(fixtures) or parameters.get("place") == "cluster"
        wanted = everything or _is_their_server(parameters, awaited=awaited, on_a_cluster=on_a_cluster)
        wanted = wanted and (everything or not item.get_closest_marker("any_server") or _is_its_server(item))
        wanted = wanted and not (awaited and item.get_closest_marker("blocking"))
        wanted = wanted and not (on_a_cluster and parameters.get("implementation") == "python" != _implementations()[0])
        (kept if wanted else left).append(item)
        _choose_worker(item, parameters)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


_CLUSTERS = 2  # of each kind of server: tests of different files have different ones, at the same time


def _choose_worker(item: pytest.Item, parameters: dict[str, Any]) -> None:
    """Tests that share a cluster run one after the other."""
    group = item.get_closest_marker("xdist_group")
    if group is not None and group.args == ("cluster",):
        which = zlib.crc32(item.path.name.encode()) % _CLUSTERS
        alone = parameters.get("place") == "server"
        name = item.name if alone else f"cluster {which} of {parameters.get('shared_cluster', 'any')}"
        item.add_marker(pytest.mark.xdist_group(name), append=False)


_SERVERS = ("server_url", "own_server", "site", "shared_cluster")


def _is_its_server(item: pytest.Item) -> bool:
    """Whether a test that may run on any server is to run on this one. Its other parameters decide."""
    from tests.fix_servers import PROGRAMS

    parameters = item.callspec.id.split("-") if isinstance(item, pytest.Function) else []
    here = [each for each in parameters if each in PROGRAMS]
    others = "-".join(each for each in parameters if each not in PROGRAMS)
    return not here or here == [sorted(PROGRAMS)[zlib.crc32(others.encode()) % len(PROGRAMS)]]


def _is_their_server(parameters: dict[str, Any], *, awaited: bool, on_a_cluster: bool) -> bool:
    from tests.fix_servers import PROGRAMS

    programs = sorted(PROGRAMS)
    alone = on_a_cluster or len(_implementations()) == 1
    if not programs or "implementation" not in parameters or (alone and not awaited):
        return True
    wanted = programs[0 if alone or (parameters["implementation"] == "c") != awaited else -1]
    return all(parameters.get(fixture, wanted) in (wanted, "given") for fixture in _SERVERS)
