"""Rows as tables for people, and as JSON for programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.table import Table

from .cases import THREADS_BATCH
from .rows import Row

__all__ = ["all_versions", "tables", "write_json"]

_PACKAGES = ("fluxa-fast", "redis", "hiredis", "msgpack", "coredis", "valkey-glide-sync", "faststream", "uvloop")


def all_versions(server: dict[str, str]) -> dict[str, str]:
    """Return the versions of all packages and of the server, and what machine it is."""
    found = {"python": platform.python_version(), **server}
    for package in _PACKAGES:
        try:
            found["redis-py" if package == "redis" else package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "machine": f"{_processor()}, {platform.system()}"}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def write_json(path: Path, rows: Sequence[Row], versions: dict[str, str]) -> None:
    path.write_text(json.dumps([row.as_json(versions) for row in rows], indent=1) + "\n", "utf-8")


def tables(rows: Sequence[Row], versions: dict[str, str]) -> list[Table]:
    """Return a table for each case, batch and body."""
    made = []
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        key = (row.case, 0, "") if row.case in ("scaling", "memory") else (row.case, row.batch, row.body)
        groups.setdefault(key, []).append(row)
    for (case, batch, body), group in groups.items():
        title = {
            "publish": f"publish {body}, batches of {batch:,}" if batch > 1 else f"publish {body}, one by one",
            "consume": f"consume {body}, {batch:,} in one go: read, decode, acknowledge and delete",
            "latency": "publish one event, and wait for the server",
            "threads": f"publish {body} in batches of {THREADS_BATCH}, from {batch} threads with a flusher each",
            "concurrent": f"publish {body} one by one, from {batch:,} tasks at the same time",
            "scaling": "CPU per event, whatever the batch, the body and the pieces of a reply",
            "memory": "memory",
            "import": "a new process that imports it",
        }[case]
        made.append(_table(case, title, group))
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    made[-1].caption = said
    return made


def _table(case: str, title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    awaited = any(row.worst_lag_ms is not None for row in rows)
    columns: list[tuple[str, list[str]]] = [("", [row.client for row in rows])]
    if case == "scaling":
        columns += [("in one go", [f"{row.batch:,}" for row in rows]), ("body", [row.body for row in rows])]
    columns += [
        ("events/s", [_number(row.events_per_second, ",.0f") for row in rows]),
        ("of the ceiling", [_number(row.ratio_to_ceiling, ".2f") for row in rows]),
        ("send then wait", [_number(row.ratio_to_waiting_ceiling, ".2f") for row in rows]),
        ("of the script's", [_number(row.ratio_to_script_ceiling, ".2f") for row in rows]),
        ("of the packed one", [_number(row.ratio_to_packed_ceiling, ".2f") for row in rows]),
        ("x redis-py", [_number(row.ratio_to_redis_py, ".1f") for row in rows]),
        ("x redis.asyncio", [_number(row.ratio_to_redis_asyncio, ".1f") for row in rows] if awaited else []),
        ("x blocking", [_number(row.ratio_to_blocking, ".2f") for row in rows] if awaited else []),
        ("worst lag ms", [_number(row.worst_lag_ms, ".1f") for row in rows]),
        ("client CPU us", [_number(row.client_cpu_us, ".2f") for row in rows]),
        ("server CPU us", [_number(row.server_cpu_us, ".2f") for row in rows]),
        ("server memory B", [_number(row.stored_bytes, ",.1f") for row in rows]),
    ]
    for name in dict.fromkeys(name for row in rows for name in row.details):
        columns.append((name.replace("_", " "), [_number(row.details.get(name), ",.0f") for row in rows]))
    shown = [(name, cells) for name, cells in columns if not name or any(cells)]
    for name, _ in shown:
        table.add_column(name, justify="right" if name not in ("", "body") else "left", no_wrap=not name)
    for cells in zip(*(cells for _, cells in shown), strict=True):
        bold = cells[0].startswith("fluxa_fast")
        table.add_row(*cells, style="bold" if bold else None)
    return table


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
