"""``python -m benchmarks compare``"""

import click

from fluxa_fast.cli.commands import bench


@click.group()
def benchmarks() -> None:
    """Measure fluxa_fast."""


benchmarks.add_command(bench, "compare")
benchmarks(prog_name="python -m benchmarks")
