"""The ``fluxa-fast`` command. It needs the extra ``cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command."""
    try:
        import click
        import rich
    except ImportError as error:
        sys.exit(f"the fluxa-fast command needs {error.name}: pip install 'fluxa-fast[cli]'")
    del click, rich
    from .commands import fluxa_fast

    fluxa_fast(prog_name="fluxa-fast")
