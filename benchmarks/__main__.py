"""``python -m benchmarks compare`` and ``lag``"""

import click
from rich.console import Console

from fluxa_fast.cli.commands import bench


@click.group()
def benchmarks() -> None:
    """Measure fluxa_fast."""


@benchmarks.command()
@click.option("--events", default=1_000_000, show_default=True, help="Events to publish and to flush.")
@click.option("--many", default=100_000, show_default=True, help="Events to consume in one batch.")
def lag(events: int, many: int) -> None:
    """How long fluxa_fast.asyncio holds the event loop at a time."""
    from .lag import run_lag

    run_lag(Console(), events, many)


benchmarks.add_command(bench, "compare")
benchmarks(prog_name="python -m benchmarks")
