"""The charts of the README: SVG that follows the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .rows import PACKED_CEILING, Row

__all__ = ["draw_charts"]

_INK = "#123456"  # replaced by the colour of text, which the picture's style sheet sets
_STYLE = "<style>svg{color:#1f2328}@media (prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
_OURS = "#2f81f7"
_PACKED = "#a371f7"
_LIMIT = "#8b949e"
_PEER = "#d29922"
_LABEL_DISTANCE = 1.22  # the least ratio of two speeds whose names stand at the ends of their lines


def draw_charts(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Draw the rows: speed.svg (bars of all contenders) and batches.svg (speed by batch). Returns the files.

    The bars of packed events stand beside the others. Their ceiling is left out: the others would be too short to read.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "fluxa_fast",
            **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    shown = [row for row in rows if row.body == "dict 32 B" and row.client != PACKED_CEILING]
    panels = [
        (title, found)
        for title, case, batch in (
            ("publish, batches of 1000", "publish", 1000),
            ("consume, 1000 in one go", "consume", 1000),
        )
        if (found := [row for row in shown if (row.case, row.batch) == (case, batch)])
    ]
    if panels:
        drawn.append(_bars(folder / "speed.svg", panels))
    by_batch = [row for row in shown if row.case == "publish" and not row.packed]
    if len({row.batch for row in by_batch}) > 1:
        drawn.append(_lines(folder / "batches.svg", by_batch))
    return drawn


def _colour(client: str) -> str:
    if client.startswith("fluxa_fast"):
        return _PACKED if client.endswith("packed") else _OURS
    return _LIMIT if client.startswith("ceiling") else _PEER


def _bars(path: Path, panels: Sequence[tuple[str, Sequence[Row]]]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.6 + 0.32 * max(len(rows) for _, rows in panels)), layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        ordered = sorted(rows, key=lambda row: row.events_per_second or 0)
        names = [row.client for row in ordered]
        speeds = [(row.events_per_second or 0) / 1000 for row in ordered]
        bars = axes.barh(names, speeds, color=[_colour(name) for name in names], height=0.7)
        axes.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=3, color=_INK, fontsize=8)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("thousand events per second", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.15)
        _bare(axes)
    return _save(figure, path)


def _lines(path: Path, rows: Sequence[Row]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    ends = []
    for client in dict.fromkeys(row.client for row in rows):
        points = sorted((row.batch, row.events_per_second or 0) for row in rows if row.client == client)
        style = "--" if client.startswith("ceiling") else "-"
        axes.plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=_colour(client), linewidth=1.5)
        ends.append((points[-1][1], client))
    batches = sorted({row.batch for row in rows})
    below = float("inf")
    for speed, client in sorted(ends, reverse=True):
        below = min(speed, below / _LABEL_DISTANCE)
        axes.text(batches[-1] * 1.2, below, client, fontsize=7, va="center", color=_colour(client))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
    axes.minorticks_off()
    axes.set_xlim(batches[0] / 1.5, batches[-1] * 15)
    axes.set_xlabel("events in one batch", fontsize=8)
    axes.set_ylabel("events per second", fontsize=8)
    axes.tick_params(labelsize=8)
    _bare(axes)
    return _save(figure, path)


def _bare(axes: Any) -> None:
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    picture = path.read_text("utf-8").replace(_INK, "currentColor").replace("'DejaVu Sans'", "system-ui, sans-serif")
    path.write_text(picture.replace("<defs>", f"{_STYLE}\n <defs>", 1), "utf-8")
    return path
