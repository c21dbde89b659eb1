"""``fluxa-fast bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ..benchmark.cases import AWAITED, CASES, full_plan, quick_plan
from ..benchmark.compare import Comparison, peers_missing
from ..benchmark.contenders import BESIDE_AWAITED, CONTENDERS
from ..benchmark.report import all_versions, tables, write_json

__all__ = ["run_bench"]


def run_bench(
    console: Console,
    *,
    quick: bool,
    only: Sequence[str],
    clients: Sequence[str],
    json_file: Path | None,
    charts: Path | None,
) -> None:
    """Compare, and show, write and draw the result.

    Raises:
        FluxaError: if there is no server to start.
    """
    if charts is not None:
        import matplotlib  # noqa: F401 (better now than after ten minutes)
    if AWAITED in only:
        clients = clients or [one.name for one in CONTENDERS if one.awaited or one.name in BESIDE_AWAITED]
        only = [case for case in only if case != AWAITED] or [
            case for case in CASES if any(one.awaited and case in one.cases for one in CONTENDERS)
        ]
    missing = peers_missing()
    if missing:
        console.print(f"not installed, and not compared: {', '.join(missing)}", style="dim")
    with console.status("start") as status:
        plan = quick_plan() if quick else full_plan()
        with Comparison(plan, lambda what: status.update(what), clients or None) as comparison:
            rows = comparison.run([case for case in CASES if not only or case in only])
            versions = all_versions(comparison.versions())
    for table in tables(rows, versions) if rows else ():
        console.print(table)
        console.print()
    if json_file is not None:
        write_json(json_file, rows, versions)
        console.print(f"wrote {json_file}")
    if charts is not None:
        from ..benchmark.charts import draw_charts

        for path in draw_charts(charts, rows):
            console.print(f"drew {path}")
