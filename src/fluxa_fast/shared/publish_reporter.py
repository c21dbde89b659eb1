"""What a broker reports to hooks about each call of `publish`."""

from __future__ import annotations

import time

from ..hooks import Hooks, PublishReport

__all__ = ["PublishReporter"]


class PublishReporter:
    """A context around one call, on both faces: reports how it ended.

    Args:
        hooks: that are told.
        stream: that is published to.
        pool: the name of its pool.

    Attributes:
        id: that the server gave the event; None as long as it has not.
    """

    __slots__ = ("_began", "_hooks", "_pool", "_stream", "id")

    def __init__(self, hooks: Hooks, stream: str, pool: str) -> None:
        self._hooks = hooks
        self._stream = stream
        self._pool = pool
        self._began = 0.0
        self.id: str | None = None

    def __enter__(self) -> PublishReporter:
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        seconds = time.perf_counter() - self._began
        self._hooks.on_publish(PublishReport(self._stream, self._pool, self.id, error, seconds))
