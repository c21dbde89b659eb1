"""``fluxa-fast version``"""

from __future__ import annotations

import json

from rich.console import Console

from .. import implementation
from .facts import facts

__all__ = ["show_version"]


def show_version(console: Console, url: str | None, *, as_json: bool) -> None:
    """Print `facts` as lines or as JSON."""
    found = facts(url)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    spoken = {"c": "compiled", "python": "pure Python"}[implementation]
    lines = [f"fluxa_fast {found['fluxa_fast']} ({spoken})"]
    if found["build"]:
        lines.append("built by {compiler} with {flags}, Cython {cython}".format_map(found["build"]))
    python = found["python"]
    lines.append(f"{python['implementation']} {python['version']}{'' if python['gil'] else ', without its GIL'}")
    lines.append(found["platform"])
    lines += [f"{name} {version or 'is not installed'}" for name, version in found["packages"].items()]
    if found["server"]:
        lines.append("server: {name} {version}, {mode}".format_map(found["server"]))
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
