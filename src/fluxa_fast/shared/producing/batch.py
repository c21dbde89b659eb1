"""One batch of a producer on its way: what is left of it after each attempt, and what is told of it in the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...delivery import DeliveryReport
from ...errors import RefusedEvent, UnconfirmedEvents
from ...flows.publish.cluster_flush import Attempts
from ...flows.publish.outcome import FlushAccount, FlushResult, order_without, result_of
from ...flows.publish.pipeline import BufferFlush
from ...flows.publish.undelivered import Undelivered
from ...flows.server_errors import rule_of_code
from ...protocol.interface import CommandBuffer, ErrorReply, Implementation
from ...protocol.sealed_batch import SealedBatch

__all__ = ["Batch"]

_REFUSED = "FLUXA refused"  # stands for the error of a stream that may not be published to


class Batch:
    """The events of a sealed batch that are not settled yet.

    Args:
        sealed: the events.
        pool: the name of their pool.
        implementation: of the protocol.
        lanes: as `BufferTargets.lanes`.
        readers: what makes the bodies of each Redis key that has a type of them.

    Attributes:
        events: how many the batch had at first.
        size: of all of them, in bytes.
        began: when the first of them was published, in monotonic seconds.
        attempts: to send it.
        error: what the last attempt met, and what may pass; None: nothing.
        refused: the events that were refused for good.
        given_up: the events that were given up.
    """

    def __init__(
        self,
        sealed: SealedBatch,
        pool: str,
        implementation: Implementation,
        lanes: Mapping[int, int],
        readers: Mapping[str, Any],
    ) -> None:
        self.events: int = sealed.events
        self.size: int = sealed.size
        self.began: float = sealed.began
        self.attempts: int = 0
        self.error: Exception | None = None
        self.refused: list[RefusedEvent] = []
        self.given_up: list[UnconfirmedEvents] = []
        self._pool = pool
        self._implementation = implementation
        self._lanes = lanes
        self._undelivered = Undelivered(implementation, readers)
        self._order: Iterable[tuple[int, int]] = sealed.order
        self._buffers = sealed.buffers
        self._receipts = sealed.receipts
        self._places: Sequence[int] = range(sealed.events)  # of the events that are left, in the batch
        self._result: FlushResult | None = None  # of the only attempt
        self._ids: list[str | None] = []  # after several attempts

    # ---- sending ----

    @property
    def left(self) -> int:
        """How many events are not settled yet."""
        return len(self._places)

    def flushes(self, errors: Mapping[int, Exception]) -> dict[int, BufferFlush]:
        """Return the flush of each target, for the next attempt.

        Args:
            errors: why a target is not to be sent to.
        """
        confirmations = self._implementation.Confirmations
        found = {index: BufferFlush(self._pool, buffer, confirmations(0)) for index, buffer in self._buffers.items()}
        for index, error in errors.items():
            if index in found:
                found[index].error, found[index].held_back = error, True
        return found

    def settle(self, flushing: Mapping[int, BufferFlush]) -> None:
        """Take what became of an attempt: only events that may be sent again are left."""
        self.attempts += 1
        self.error = None
        account = FlushAccount(self._order, flushing, self._lanes)
        if account.complete and self.attempts == 1:
            self._result = account.result
            self._places, self._buffers = (), {}
            return
        self._settle_some(account, flushing)

    def _settle_some(self, account: FlushAccount, flushing: Mapping[int, BufferFlush]) -> None:
        told = account.error()
        lasting = {one.position for one in told.refused if not rule_of_code(one.code).passes}
        refused = {one.position for one in told.refused}
        not_confirmed = refused.union(*(lost.positions for lost in told.unconfirmed))
        self._note_confirmed(account.result, not_confirmed)
        for one in told.refused:
            if one.position in lasting:
                self.refused.append(replace(one, position=self._places[one.position]))
            else:
                self.error = one.error
        for lost in told.unconfirmed:
            self.error = lost.error
        unsettled = account.keep_unsettled()
        self._order = unsettled.order
        for index, places in unsettled.refused.items():
            codes = [ErrorReply(message).code for _, message in sorted(flushing[index].replies.errors)]
            gone = {place for place, code in zip(places, codes, strict=True) if not rule_of_code(code).passes}
            self._take_out(index, gone)
        self._places = [self._places[position] for position in sorted(not_confirmed - lasting)]
        self._buffers = {index: buffer for index, buffer in self._buffers.items() if buffer.command_count}

    def _note_confirmed(self, result: FlushResult, elsewhere: set[int]) -> None:
        """Keep the IDs of an attempt. `elsewhere`: the positions of the events that have none."""
        if not self._ids:
            self._ids = [None] * self.events
        places = (place for position, place in enumerate(self._places) if position not in elsewhere)
        for place, id in zip(places, result.ids, strict=True):
            self._ids[place] = id

    def _take_out(self, index: int, gone: set[int]) -> None:
        """Drop commands of one target, which are not to be sent again."""
        buffer = self._buffers[index]
        if gone:
            self._note_undelivered(buffer, sorted(gone))
            self._order = order_without(self._order, index, gone, buffer, self._lanes)
            buffer.keep(place for place in range(buffer.command_count) if place not in gone)

    def refuse(self, keys: Sequence[str], error: Exception) -> None:
        """Refuse all events for these Redis keys: nothing of them is sent."""
        flushing = {}
        wanted = set(keys)
        for index, buffer in self._buffers.items():
            attempts = Attempts(buffer.command_count)
            for place, key in enumerate(buffer.keys(range(buffer.command_count))):
                if key in wanted:
                    attempts.refuse(place, _REFUSED)
            # The others are told as unconfirmed, and so they stay.
            flushing[index] = BufferFlush(self._pool, buffer, attempts, error=error)
        before = len(self.refused)
        self._settle_some(FlushAccount(self._order, flushing, self._lanes), flushing)
        self.refused[before:] = [replace(one, error=error, code="") for one in self.refused[before:]]
        self.error = None

    def give_up(self, error: Exception) -> None:
        """Send nothing of what is left any more, because of that error."""
        if self._places:
            for buffer in self._buffers.values():
                self._undelivered.add(buffer)
            self.given_up.append(UnconfirmedEvents(self._pool, self._places, error))
        self._places, self._buffers = (), {}

    @property
    def buffers(self) -> Iterable[CommandBuffer]:
        """The commands that are left."""
        return self._buffers.values()

    # ---- telling ----

    @property
    def confirmed(self) -> int:
        """How many events the server has confirmed."""
        return self.events - len(self.refused) - self.left - sum(map(len, self.given_up))

    @property
    def failed(self) -> bool:
        """Whether events were refused or given up."""
        return bool(self.refused or self.given_up)

    def report(self, dropped: int) -> DeliveryReport:
        """Return what became of all events."""
        result = self._result or result_of([id for id in self._ids if id is not None])
        return DeliveryReport(
            self._pool,
            self.events,
            result,
            tuple(self.refused),
            tuple(self.given_up),
            self._undelivered,
            dropped,
            self.attempts,
            time.monotonic() - self.began,
        )

    def receipts(self) -> Iterable[tuple[Any, str | Exception]]:
        """Return for each event that was published with a receipt: the receipt, and its ID or the error."""
        if not self._receipts:
            return []
        errors: dict[int, Exception] = {one.position: one.error for one in self.refused}
        for lost in self.given_up:
            errors |= dict.fromkeys(lost.positions, lost.error)
        ids = self._result.ids if self._result is not None else self._ids
        return [(receipt, errors.get(place) or ids[place] or "") for place, receipt in self._receipts]

    def _note_undelivered(self, buffer: CommandBuffer, places: Sequence[int]) -> None:
        own = self._implementation.CommandBuffer()
        own.extend(buffer)
        own.keep(places)
        self._undelivered.add(own)
