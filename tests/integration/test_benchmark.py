"""The benchmark runs, says what it measured, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from redis.utils import HIREDIS_AVAILABLE

from fluxa_fast import protocol
from fluxa_fast.benchmark import cases
from fluxa_fast.benchmark.cases import Plan
from fluxa_fast.benchmark.compare import Comparison
from fluxa_fast.benchmark.report import all_versions, tables, write_json
from fluxa_fast.benchmark.rows import Row, with_ratios
from fluxa_fast.cli.commands import fluxa_fast

TINY = Plan(
    publish=((1, "dict 32 B"), (100, "nested"), (10, "dataclass")),
    consume=(10, 100),
    seconds=0.01,
    repeats=1,
    latencies=20,
    concurrent=(10,),
    threads=(2,),
    scaling_batches=((100, "dict 1 KiB"),),
    memory_events=10_000,
    memory_rounds=2,
)
OURS = ["fluxa_fast pure"] if protocol.missing_modules() else ["fluxa_fast", "fluxa_fast pure", "fluxa_fast, eager"]
PACKED = ["fluxa_fast pure, packed", *([] if protocol.missing_modules() else ["fluxa_fast, packed"])]
FIELDS = {"case", "client", "batch", "body", "events_per_second", "client_cpu_us", "server_cpu_us"}
FIELDS |= {"ratio_to_ceiling", "ratio_to_redis_py", "versions"}


needs_hiredis = pytest.mark.skipif(not HIREDIS_AVAILABLE, reason="redis-py is compared with hiredis only")


@needs_hiredis
@pytest.mark.slow
def test_every_case_gives_rows(tmp_path: Path) -> None:
    told: list[str] = []
    clients = ["ceiling", "redis-py", "redis.asyncio", "fluxa_fast, at most once", *OURS, *PACKED]
    clients += ["ceiling, script", "ceiling, packed"]
    with Comparison(TINY, told.append, clients) as comparison:
        server = comparison.server.pid
        rows = comparison.run(cases.CASES)
        versions = all_versions(comparison.versions())
    assert server
    assert told
    assert {row.case for row in rows} == set(cases.CASES)
    for name in ("ceiling", "redis-py", "redis.asyncio", *OURS[:1]):
        found = [row for row in rows if row.client == name and row.case in ("publish", "consume", "latency")]
        assert len(found) == 6
        assert all(row.events_per_second and row.ratio_to_ceiling and row.ratio_to_redis_py for row in found)
    for name in PACKED:
        found = [row for row in rows if row.client == name]
        assert [row.case for row in found] == ["publish", "publish", "consume", "consume"]
        assert all(row.ratio_to_ceiling and row.ratio_to_packed_ceiling for row in found)
        assert all(bool(row.stored_bytes) != bool(row.ratio_to_script_ceiling) for row in found)
    stored = {row.client: row.stored_bytes or 0 for row in rows if (row.case, row.body) == ("publish", "nested")}
    assert all(stored[name] < stored["ceiling"] for name in PACKED)
    write_json(tmp_path / "rows.json", rows, versions)
    written = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    assert all(row.keys() >= FIELDS for row in written)
    assert "machine" in written[0]["versions"]
    assert tables(rows, versions)[0].title == "publish dict 32 B, one by one"


def test_ratios() -> None:
    rows = with_ratios(
        [
            Row("publish", "ceiling", 10, "x", 1000.0),
            Row("publish", "redis-py", 10, "x", 100.0),
            Row("publish", "fluxa_fast", 10, "x", 900.0),
            Row("publish", "fluxa_fast", 20, "x", 900.0),
            Row("publish", "ceiling, packed", 10, "x", 5000.0),
            Row("publish", "fluxa_fast, packed", 10, "x", 2000.0),
        ]
    )
    assert [row.ratio_to_ceiling for row in rows] == [1.0, 0.1, 0.9, None, 5.0, 2.0]
    assert [row.ratio_to_packed_ceiling for row in rows] == [None, None, None, None, 1.0, 0.4]
    assert [row.ratio_to_redis_py for row in rows] == [10.0, 1.0, 9.0, None, 50.0, 20.0]


def test_charts_follow_the_theme(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from fluxa_fast.benchmark.charts import draw_charts

    rows = [
        Row(case, client, batch, "dict 32 B", speed * batch)
        for case in ("publish", "consume")
        for batch in (100, 1000)
        for client, speed in (
            ("ceiling", 1000.0),
            ("ceiling, packed", 5000.0),
            ("fluxa_fast", 900.0),
            ("fluxa_fast, packed", 2000.0),
            ("redis-py", 100.0),
        )
    ]
    drawn = draw_charts(tmp_path, rows)
    assert [path.name for path in drawn] == ["speed.svg", "batches.svg"]
    for path in drawn:
        picture = path.read_text("utf-8")
        assert "prefers-color-scheme:dark" in picture
        assert "currentColor" in picture
        assert "#123456" not in picture
        assert "ceiling, packed" not in picture
        assert ("fluxa_fast, packed" in picture) == (path.name == "speed.svg")


@needs_hiredis
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluxa_fast.cli.bench.quick_plan", lambda: TINY)
    file = tmp_path / "rows.json"
    arguments = ["bench", "--quick", "--only", "publish", "--json", str(file)]
    result = CliRunner().invoke(fluxa_fast, [*arguments, "--client", "fluxa_fast pure", "--client", "redis-py"])
    assert result.exit_code == 0, result.output
    assert {row["client"] for row in json.loads(file.read_text("utf-8"))} == {"fluxa_fast pure", "redis-py"}
    refused = CliRunner().invoke(fluxa_fast, ["bench", "--client", "missing"])
    assert refused.exit_code != 0
    assert "fluxa_fast pure" in refused.output


def test_the_module_has_the_same_command() -> None:
    root = Path(__file__).parents[2]
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks", "compare", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    for option in ("--quick", "--only", "--json", "--charts"):
        assert option in told.stdout
