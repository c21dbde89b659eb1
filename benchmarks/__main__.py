"""``python -m benchmarks compare``, ``lag``, ``dropin``, ``cluster``..."""

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


@benchmarks.command()
@click.option("--events", default=50_000, show_default=True, help="Events of each measurement; a multiple of 1000.")
def dropin(events: int) -> None:
    """What each step of a migration from redis-py gains."""
    from .dropin import run_dropin

    run_dropin(Console(), events)


@benchmarks.command()
@click.option("--events", default=200_000, show_default=True, help="Events of each measurement.")
def cluster(events: int) -> None:
    """What an event costs the client on clusters of 1, 3 and 6 nodes."""
    from .cluster import run_cluster

    run_cluster(Console(width=160), events)


@benchmarks.command()
@click.option("--lease", default=10.0, show_default=True, help="Seconds that a lease lasts.")
@click.option("--rate", default=5000, show_default=True, help="Events a second while a primary is killed.")
@click.option("--rounds", default=3, show_default=True, help="How often each is measured.")
def owners(lease: float, rate: int, rounds: int) -> None:
    """How long partitions take to change owners, and what a failover has handled again."""
    from .owners import run_owners

    run_owners(Console(width=160), lease, rate, rounds)


benchmarks.add_command(bench, "compare")
benchmarks(prog_name="python -m benchmarks")
