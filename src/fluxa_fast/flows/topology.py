"""What flows over several nodes of a cluster have in common."""

from __future__ import annotations

import time
from typing import Protocol

from redis.exceptions import AskError

from ..protocol.interface import Default, Implementation

__all__ = ["ClusterMap", "NodeMap", "Patience"]

_PATIENCE = 3.0  # seconds to wait until somebody has the slots that are asked for
_FIRST_PAUSE = 0.02  # seconds; each following one is twice as long
_LONGEST_PAUSE = 0.3


class NodeMap(Protocol):
    """What a flow has to know of where keys are: on one server, or on the nodes of a cluster."""

    @property
    def generation(self) -> int: ...
    def place(self, key: str) -> str | None: ...
    def redirected(self, error: AskError, asked: str) -> str: ...


class ClusterMap(NodeMap, Protocol):
    """What a flow has to know of a cluster."""

    @property
    def name(self) -> str: ...
    @property
    def implementation(self) -> Implementation: ...
    @property
    def default(self) -> Default | None: ...


class Patience:
    """How long one call goes on trying: for three seconds from its first failure."""

    def __init__(self) -> None:
        self._end = 0.0
        self._pause = 0.0

    @property
    def over(self) -> bool:
        return bool(self._end) and time.monotonic() >= self._end

    def next_pause(self) -> float:
        """Seconds to wait before the next try; the first comes at once."""
        if not self._end:
            self._end = time.monotonic() + _PATIENCE
        pause, self._pause = self._pause, min(_LONGEST_PAUSE, 2 * self._pause or _FIRST_PAUSE)
        return pause
