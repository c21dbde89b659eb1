"""Hooks: what an engine reports while it works, for metrics, traces and logs.

An engine calls each hook at one place, once for a flush, a batch or a change, and never for a single event of them.
An engine without hooks does nothing of that: it does not even look at the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "BatchReport",
    "FlushReport",
    "HandledReport",
    "Hooks",
    "LeaseReport",
    "OutageReport",
    "PublishReport",
    "combined",
]

log: logging.Logger = logging.getLogger("fluxa_fast")


@dataclass(frozen=True, slots=True)
class PublishReport:
    """One call of `publish` has ended.

    Attributes:
        stream: as it is registered.
        pool: the name of the pool that it is on.
        id: that the server gave the event; None: the call has failed.
        error: what the caller is told; None: the server has the event.
        seconds: how long the call took.
    """

    stream: str
    pool: str
    id: str | None
    error: BaseException | None
    seconds: float


@dataclass(frozen=True, slots=True)
class FlushReport:
    """One flush has ended.

    Attributes:
        confirmed: how many events the server has confirmed.
        refused: how many events the server has refused; they stay in the flusher.
        unconfirmed: how many replies were lost, or how many events too few replicas have; they stay in the flusher.
        bytes: of all commands that the flush had.
        seconds: how long it took.
    """

    confirmed: int
    refused: int
    unconfirmed: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The handler, or the loop over batches, is about to be given a batch.

    Attributes:
        stream: the Redis key of the stream or partition; of the first one, if the batch has events of several.
        consumer: its name.
        events: how many events the batch has.
        new: false if the events were delivered before, to this consumer or another one.
    """

    stream: str
    consumer: str
    events: int
    new: bool


@dataclass(frozen=True, slots=True)
class HandledReport:
    """The handler is done with a batch, or has failed; or the loop over batches has asked for the next one.

    Attributes:
        stream: the Redis key of the stream or partition; of the first one, if the batch has events of several.
        consumer: its name.
        events: how many events the batch has.
        seconds: how long the handler took.
        error: what the handler has raised: the events stay pending. None: they will be acknowledged.
    """

    stream: str
    consumer: str
    events: int
    seconds: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class OutageReport:
    """An outage of a consumer has begun or ended. Conversations of one consumer that meet the same outage count once.

    Attributes:
        who: which consumer of which stream.
        error: what it has met; None: the outage is over.
        seconds: how long it has lasted.
        attempts: how many attempts have failed.
    """

    who: str
    error: BaseException | None
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """A consumer owns a partition from now on, or does not any more.

    Attributes:
        stream: the Redis key of the partition.
        owner: the name of the consumer in the lease.
        change: ``"taken"``; ``"released"`` by itself; or ``"lost"`` to another consumer, or because it came too late.
    """

    stream: str
    owner: str
    change: Literal["taken", "released", "lost"]


class Hooks:
    """What an engine reports. Override what you want to know; each method does nothing here.

    The thread or task that does the work calls them, on both faces: so they must be quick, must not wait, and must be
    safe for threads where threads share the engine. What they raise is logged, and changes nothing.
    """

    def on_publish(self, report: PublishReport) -> None:
        """A call of `publish` has ended."""

    def on_flush(self, report: FlushReport) -> None:
        """A flush has ended."""

    def on_batch(self, report: BatchReport) -> None:
        """A batch is about to be handed over."""

    def on_handled(self, report: HandledReport) -> None:
        """A batch was handled: it will be acknowledged."""

    def on_failed(self, report: HandledReport) -> None:
        """A batch was not handled: it stays pending."""

    def on_outage(self, report: OutageReport) -> None:
        """An outage of a consumer has begun or ended."""

    def on_lease(self, report: LeaseReport) -> None:
        """A consumer has taken, released or lost a partition."""


class _Guarded(Hooks):
    """Calls several hooks, and logs what they raise."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self._hooks = tuple(hooks)

    def _call(self, name: str, report: object) -> None:
        for hooks in self._hooks:
            try:
                getattr(hooks, name)(report)
            except Exception:
                log.exception("a hook has failed: %s of %r", name, hooks)

    def on_publish(self, report: PublishReport) -> None:
        self._call("on_publish", report)

    def on_flush(self, report: FlushReport) -> None:
        self._call("on_flush", report)

    def on_batch(self, report: BatchReport) -> None:
        self._call("on_batch", report)

    def on_handled(self, report: HandledReport) -> None:
        self._call("on_handled", report)

    def on_failed(self, report: HandledReport) -> None:
        self._call("on_failed", report)

    def on_outage(self, report: OutageReport) -> None:
        self._call("on_outage", report)

    def on_lease(self, report: LeaseReport) -> None:
        self._call("on_lease", report)


def combined(hooks: Hooks | Sequence[Hooks]) -> Hooks | None:
    """Return one object that calls all of these, and guards the engine against what they raise; None for none.

    Raises:
        TypeError: for anything else.
    """
    several = [hooks] if isinstance(hooks, Hooks) else hooks
    if not isinstance(several, (list, tuple)) or not all(isinstance(one, Hooks) for one in several):
        raise TypeError(f"hooks= is an object of a subclass of Hooks, or a list of these, not {type(hooks).__name__}")
    return _Guarded(several) if several else None
