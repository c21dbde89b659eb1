"""Private Redis and Valkey servers for demos, tests and benchmarks. None outlives the process that started it."""

from __future__ import annotations

from .server import EmbeddedServer, find_server

__all__ = ["EmbeddedServer", "find_server"]
