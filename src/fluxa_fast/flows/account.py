"""What became of every event of a flush: confirmed, refused or unconfirmed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

from ..errors import FlushError, RefusedEvent, UnconfirmedEvents
from ..protocol.interface import Confirmations, ErrorReply
from .publish import PoolFlush
from .replies import error_of

__all__ = ["FlushAccount", "FlushResult", "Order"]

Order = Sequence[tuple[int, int]]
"""Runs of (index of the pool, number of events), in the order of publishing."""


class _Part(NamedTuple):
    """Events of one pool, published one after the other, that share a fate; a refused one stands for itself.

    Attributes:
        position: of the first one, in the order of publishing.
        pool: its index.
        place: of the first one in the pool's buffer.
        size: how many they are.
    """

    position: int
    pool: int
    place: int
    size: int
    fate: Literal["confirmed", "refused", "unconfirmed"]

    @property
    def positions(self) -> range:
        return range(self.position, self.position + self.size)

    @property
    def places(self) -> range:
        return range(self.place, self.place + self.size)


def _parts(order: Order, replies: Sequence[Confirmations]) -> Iterator[_Part]:
    """Few of them, however many events there are: as many as runs and refusals, and one where a connection broke."""
    position = 0
    places = [0] * len(replies)
    refusals = [iter(reply.errors) for reply in replies]
    refused = [next(one, (-1, ""))[0] for one in refusals]
    for index, count in order:
        end = places[index] + count
        while (place := places[index]) < end:
            received = replies[index].received
            if place == refused[index]:
                part = _Part(position, index, place, 1, "refused")
                refused[index] = next(refusals[index], (-1, ""))[0]
            elif place < received:
                next_refused = refused[index] if refused[index] >= 0 else end
                part = _Part(position, index, place, min(end, received, next_refused) - place, "confirmed")
            else:
                part = _Part(position, index, place, end - place, "unconfirmed")
            yield part
            places[index] += part.size
            position += part.size


class FlushResult(Sequence[str]):
    """The IDs of the events that a flush confirmed, in the order of publishing. They are decoded when first used."""

    def __init__(self, order: Order, replies: Sequence[Confirmations]) -> None:
        self._order = order
        self._replies = replies
        self._count = sum(reply.received - len(reply.errors) for reply in replies)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def ids(self) -> list[str]:
        """The ID of every confirmed event."""
        if len(self._replies) == 1:
            return list(self._replies[0].ids())  # type: ignore[arg-type]
        confirmed = [iter(reply.ids()) for reply in self._replies]
        found: list[Any] = []
        for part in _parts(self._order, self._replies):
            if part.fate == "confirmed":
                found += islice(confirmed[part.pool], part.size)
        return found

    def __getitem__(self, index: Any) -> Any:
        return self.ids[index]

    def __repr__(self) -> str:
        return f"<FlushResult: {len(self)} events>"


class FlushAccount:
    """The account of one flush.

    Args:
        order: of publishing.
        flushes: of the pools. Their buffers still hold all events.
    """

    def __init__(self, order: Order, flushes: Sequence[PoolFlush]) -> None:
        self._order = order
        self._flushes = flushes
        self.result = FlushResult(order, [flush.replies for flush in flushes])

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed."""
        return all(flush.complete for flush in self._flushes)

    @cached_property
    def _unsettled(self) -> list[_Part]:
        parts = _parts(self._order, [flush.replies for flush in self._flushes])
        return [part for part in parts if part.fate != "confirmed"]

    def keep_unsettled(self) -> list[tuple[int, int]]:
        """Keep in the buffers what was not confirmed. Returns the order of that."""
        places: list[list[range]] = [[] for _ in self._flushes]
        runs: list[tuple[int, int]] = []
        for part in self._unsettled:
            places[part.pool].append(part.places)
            before = runs.pop()[1] if runs and runs[-1][0] == part.pool else 0
            runs.append((part.pool, before + part.size))
        for flush, kept in zip(self._flushes, places, strict=True):
            flush.buffer.keep(_joined(kept))
        return runs

    def error(self) -> FlushError:
        """The fate of every event, as an exception."""
        return FlushError(self.result, list(self._refused()), list(self._unconfirmed()))

    def _refused(self) -> Iterator[RefusedEvent]:
        messages = [dict(flush.replies.errors) for flush in self._flushes]
        streams = [
            dict(zip(refused, flush.buffer.keys(refused), strict=True))
            for flush, refused in zip(self._flushes, messages, strict=True)
        ]
        for part in self._unsettled:
            if part.fate == "refused":
                error = error_of(ErrorReply(messages[part.pool][part.place]))
                stream = streams[part.pool][part.place]
                yield RefusedEvent(part.position, stream, self._flushes[part.pool].pool, error)

    def _unconfirmed(self) -> Iterator[UnconfirmedEvents]:
        for index, flush in enumerate(self._flushes):
            lost = [part.positions for part in self._unsettled if part.pool == index and part.fate == "unconfirmed"]
            if lost and flush.error is not None:
                yield UnconfirmedEvents(flush.pool, _joined(lost), flush.error)


def _joined(ranges: Sequence[range]) -> Sequence[int]:
    """One range, where they follow each other without a gap."""
    if not ranges:
        return range(0)
    whole = range(ranges[0].start, ranges[-1].stop)
    return whole if len(whole) == sum(map(len, ranges)) else list(chain.from_iterable(ranges))
