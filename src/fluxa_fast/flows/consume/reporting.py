"""What a session reports to hooks about each batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...hooks import BatchReport, HandledReport, Hooks
from .partition_state import ReadEvents

__all__ = ["BatchReporter"]


class BatchReporter:
    """Reports one batch: that it is about to be handed over, and what came of it.

    A batch that turns out to be too late to hand over has no second report.

    Args:
        hooks: that are told.
        consumer: the name of the consumer.
        parts: of the batch.
        events: how many the handler is given.
    """

    __slots__ = ("_began", "_consumer", "_events", "_hooks", "_stream")

    def __init__(self, hooks: Hooks, consumer: str, parts: Sequence[ReadEvents], events: int) -> None:
        self._hooks = hooks
        self._consumer = consumer
        self._stream = parts[0].partition.member.stream
        self._events = events
        hooks.on_batch(BatchReport(self._stream, consumer, self._events, all(part.new for part in parts)))
        self._began = time.perf_counter()

    def handled(self) -> None:
        """The handler is done with the batch."""
        self._hooks.on_handled(self._report(None))

    def failed(self, error: BaseException) -> None:
        """The handler has raised, or the loop over batches was left."""
        self._hooks.on_failed(self._report(error))

    def _report(self, error: BaseException | None) -> HandledReport:
        return HandledReport(self._stream, self._consumer, self._events, time.perf_counter() - self._began, error)
