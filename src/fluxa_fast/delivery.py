"""What a producer tells of the events that it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import RefusedEvent, UnconfirmedEvents
from .flows.publish.outcome import FlushResult

__all__ = ["DeliveryReport", "ProducerCounters"]


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became of one batch of a producer. Each accepted event is in one report.

    Attributes:
        pool: the name of the Redis pool.
        events: how many events the batch had.
        confirmed: the IDs of the events that the server has, in the order of publishing.
        refused: the events that the server refused for good (WRONGTYPE, NOPERM...), or that may not be sent.
        given_up: the events that could not be delivered within ``delivery_timeout``. If their replies were lost, the
            server may have them all the same.
        undelivered: the refused events, and those that were given up, with body and tags, in the order of publishing.
            Their IDs are ``0-0``.
        dropped: how many events ``on_full="drop"`` has dropped since the last report. They are not in the batch.
        attempts: how often the batch, or what was left of it, was sent.
        seconds: from the first event of the batch to the report.
    """

    pool: str
    events: int
    confirmed: FlushResult
    refused: tuple[RefusedEvent, ...]
    given_up: tuple[UnconfirmedEvents, ...]
    undelivered: Sequence[Any]
    dropped: int
    attempts: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether the server has all events of the batch, and none was dropped."""
        return not (self.refused or self.given_up or self.dropped)


@dataclass(slots=True)
class ProducerCounters:
    """How many events a producer has had since it was made: ``accepted`` is the sum of all but ``dropped``.

    Attributes:
        accepted: by `publish` and its relatives.
        confirmed: by the server.
        refused: by the server, for good.
        given_up: after ``delivery_timeout``.
        waiting: to be sent, or to be confirmed; or left over in a producer that was closed.
        dropped: because there was no room: ``on_full="drop"``.
    """

    accepted: int = 0
    confirmed: int = 0
    refused: int = 0
    given_up: int = 0
    waiting: int = 0
    dropped: int = 0
