"""Servers that do not respond: their processes are stopped, and their connections stay open."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from fluxa_fast.embedded import EmbeddedServer

__all__ = ["unresponsive"]


@contextmanager
def unresponsive(*servers: EmbeddedServer) -> Iterator[None]:
    """Stop the processes of these servers for as long as the block lasts."""
    for server in servers:
        os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            os.kill(server.pid, signal.SIGCONT)
