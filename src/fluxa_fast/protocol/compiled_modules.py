"""The names of the compiled modules: one for each .pyx file in `compiled/`, which a test compares with this list.

The list stands outside of that package, because importing the package needs all of its modules.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

__all__ = ["COMPILED_MODULES", "PACKAGE", "missing_modules"]

PACKAGE: Final = f"{__package__}.compiled"

COMPILED_MODULES: Final = (
    "batches",
    "buffer",
    "commands",
    "events",
    "hashing",
    "open_entries",
    "packed_reading",
    "packing",
    "plain_replies",
    "plain_socket",
    "replies",
    "staging",
    "unpacking",
)


def missing_modules() -> list[str]:
    """Return the full names of the compiled modules that are not there."""
    names = [f"{PACKAGE}.{module}" for module in COMPILED_MODULES]
    folder = [str(Path(__file__).with_name("compiled"))]  # asked directly: importing the package needs its modules
    return [name for name in names if PathFinder.find_spec(name, folder) is None]
