"""`SealedBatch`: the events that a producer sends together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["SealedBatch"]


class SealedBatch(NamedTuple):
    """The events that were taken out of a `BatchWriter`. Nothing is added to them any more.

    Attributes:
        order: of publishing, as runs of (lane, number of events).
        buffers: the commands, by the index of the target that they are for.
        receipts: of events whose publisher waits for the outcome: their places, from 0, and what is to be told of it.
        events: how many there are.
        size: of all commands, in bytes.
        began: when the first event was added, in monotonic seconds.
    """

    order: Iterable[tuple[int, int]]
    buffers: dict[int, Any]
    receipts: list[tuple[int, Any]]
    events: int
    size: int
    began: float
