"""The subcommands and their options."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from redis.exceptions import RedisClusterException, RedisError
from rich.console import Console

from ..benchmark.cases import AWAITED, CASES
from ..benchmark.contenders import NAMES
from ..errors import FluxaError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def fluxa_fast() -> None:
    """A fast event broker on Redis Streams."""


@fluxa_fast.command()
@click.option("--events", default=1_000_000, show_default=True, type=click.IntRange(1), help="Events to publish.")
@click.option("--batch", default=1000, show_default=True, type=click.IntRange(1), help="Events in one batch.")
@click.option("--url", help="A running server, or redis+cluster://... By default one is started.")
@click.option("--cluster", is_flag=True, help="Start a cluster of three nodes, and use streams with partitions.")
@click.option("--packed", is_flag=True, help="Use packed streams: a flush puts many events into one entry.")
@click.option("--producer", is_flag=True, help="Publish with a producer, which sends in the background.")
def demo(events: int, batch: int, url: str | None, *, cluster: bool, packed: bool, producer: bool) -> None:
    """Publish and consume a million events of many shapes, and check that each came back exactly once."""
    from .demo import run_demo

    if cluster and url is not None:
        raise click.UsageError("--cluster starts a cluster of its own: leave --url out")
    with _told():
        sys.exit(0 if run_demo(Console(), events, batch, url, cluster=cluster, packed=packed, producer=producer) else 1)


@fluxa_fast.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--url", default="redis://localhost:6379", show_default=True, help="The server, or redis+cluster://...")
def stats(streams: tuple[str, ...], url: str) -> None:
    """Show the state of streams: all streams of the server or cluster if none are named.

    A stream with partitions has a row with the numbers added up, and one for each partition.
    """
    from .stats import show_statistics

    with _told():
        show_statistics(_wide_console(), url, streams)


@fluxa_fast.command()
@click.option("--quick", is_flag=True, help="Fewer cases and shorter measurements: under a minute.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([*CASES, AWAITED]),
    help=f"Only this case; may be given again. {AWAITED}: the contenders on it, beside a few others.",
)
@click.option(
    "--client", "clients", multiple=True, type=click.Choice(NAMES), help="Only this contender; may be given again."
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write rows.")
@click.option("--charts", type=click.Path(file_okay=False, path_type=Path), help="Draw SVG charts into this folder.")
def bench(
    quick: bool, only: tuple[str, ...], clients: tuple[str, ...], json_file: Path | None, charts: Path | None
) -> None:
    """Compare fluxa_fast with its peers, and with what the server can do, on a private server."""
    from .bench import run_bench

    with _told():
        run_bench(_wide_console(), quick=quick, only=only, clients=clients, json_file=json_file, charts=charts)


@fluxa_fast.command()
@click.option("--json", "as_json", is_flag=True, help="For programs and bug reports.")
@click.option("--url", help="Ask this server for its version as well.")
def version(as_json: bool, url: str | None) -> None:
    """Show the versions of fluxa_fast and of what it works with."""
    from .version import show_version

    with _told():
        show_version(Console(), url, as_json=as_json)


def _wide_console() -> Console:
    """Return a console for tables. In a file its lines are wide enough that nothing is cut off."""
    return Console(width=None if sys.stdout.isatty() else 160)


class _told:  # noqa: N801 (reads as a verb where it is used)
    """Shows errors without a traceback."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ModuleNotFoundError):
            raise click.ClickException(
                f"{error}. Install what this needs: pip install 'fluxa-fast[benchmark]'"
            ) from error
        if isinstance(error, (FluxaError, RedisError, RedisClusterException)):
            raise click.ClickException(str(error)) from error
