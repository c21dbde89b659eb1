"""What became of every event of a flush: confirmed, refused or unconfirmed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any, NamedTuple

from ...errors import FlushError, RefusedEvent, UnconfirmedEvents
from ...protocol.interface import ErrorReply
from ..replies import error_of, in_a_cluster
from .pipeline import BufferFlush, FlushReplies, Outcome

__all__ = ["FlushAccount", "FlushResult", "Order"]

Order = Iterable[tuple[int, int]]
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
    fate: Outcome

    @property
    def positions(self) -> range:
        return range(self.position, self.position + self.size)

    @property
    def places(self) -> range:
        return range(self.place, self.place + self.size)


def _parts(order: Order, answers: Sequence[FlushReplies]) -> Iterator[_Part]:
    """Few of them, however many events there are: as many as runs and refusals, and one where a connection broke."""
    position = 0
    places = [0] * len(answers)
    outcomes = [one.outcomes() for one in answers]
    current: list[tuple[Outcome, int]] = [("unconfirmed", 0)] * len(answers)  # and how many more events share it
    for index, count in order:
        end = places[index] + count
        while (place := places[index]) < end:
            fate, left = current[index]
            if not left:
                current[index] = next(outcomes[index])
                continue
            size = 1 if fate == "refused" else min(left, end - place)
            current[index] = fate, left - size
            yield _Part(position, index, place, size, fate)
            places[index] += size
            position += size


class Unsettled(NamedTuple):
    """What stays for the next flush.

    Attributes:
        order: of it.
        refused: the places in each pool's buffer of what the server refused.
    """

    order: list[tuple[int, int]]
    refused: list[list[int]]


class FlushResult(Sequence[str]):
    """The IDs of the events that a flush confirmed, in the order of publishing. They are decoded when first used.

    A copy, or one that was pickled, has them decoded.
    """

    def __init__(self, order: Order, answers: Sequence[FlushReplies]) -> None:
        self._order = order
        self._answers = answers
        self._count = sum(one.confirmed for one in answers)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def ids(self) -> list[str]:
        """The ID of every confirmed event."""
        if len(self._answers) == 1 and self._count:
            return list(self._answers[0].replies.ids())
        confirmed = [iter(one.replies.ids()) for one in self._answers]
        found: list[Any] = []
        for part in _parts(self._order, self._answers):
            if part.fate == "confirmed":
                found += islice(confirmed[part.pool], part.size)
        return found

    def __getitem__(self, index: Any) -> Any:
        return self.ids[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return _decoded, (list(self.ids),)

    def __repr__(self) -> str:
        return f"<FlushResult: {len(self)} events>"


def _decoded(ids: list[str]) -> FlushResult:
    """A result that has these IDs."""
    result = FlushResult((), ())
    result.__dict__.update(ids=ids, _count=len(ids))
    return result


class FlushAccount:
    """The account of one flush.

    Args:
        order: of publishing.
        flushes: of the pools. Their buffers still hold all events.
    """

    def __init__(self, order: Order, flushes: Sequence[BufferFlush]) -> None:
        self._order = order
        self._flushes = flushes
        self._answers = [flush.answers for flush in flushes]
        self.result: FlushResult = FlushResult(order, self._answers)

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed."""
        return all(flush.complete for flush in self._flushes)

    @cached_property
    def _unsettled(self) -> list[_Part]:
        return [part for part in _parts(self._order, self._answers) if part.fate != "confirmed"]

    def keep_unsettled(self) -> Unsettled:
        """Keep in the buffers what was not confirmed."""
        places: list[list[range]] = [[] for _ in self._flushes]
        refused: list[list[int]] = [[] for _ in self._flushes]
        sizes = [0] * len(self._flushes)
        runs: list[tuple[int, int]] = []
        for part in self._unsettled:
            places[part.pool].append(part.places)
            if part.fate == "refused":
                refused[part.pool].append(sizes[part.pool])
            sizes[part.pool] += part.size
            before = runs.pop()[1] if runs and runs[-1][0] == part.pool else 0
            runs.append((part.pool, before + part.size))
        for flush, kept in zip(self._flushes, places, strict=True):
            flush.buffer.keep(_joined(kept))
        return Unsettled(runs, refused)

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
                flush = self._flushes[part.pool]
                reply = ErrorReply(messages[part.pool][part.place])
                error = error_of(reply)
                told = in_a_cluster(error, flush.pool) if flush.of_one_server else error
                yield RefusedEvent(part.position, streams[part.pool][part.place], flush.pool, told, reply.code)

    def _unconfirmed(self) -> Iterator[UnconfirmedEvents]:
        lost: dict[tuple[str, int], list[range]] = {}  # of a cluster's node many buffers may share an error
        errors: dict[int, Exception] = {}
        for part in self._unsettled:
            flush = self._flushes[part.pool]
            if part.fate == "unconfirmed" and flush.error is not None:
                errors[id(flush.error)] = flush.error
                lost.setdefault((flush.pool, id(flush.error)), []).append(part.positions)
        for (pool, error), positions in lost.items():
            yield UnconfirmedEvents(pool, _joined(positions), errors[error])


def _joined(ranges: Sequence[range]) -> Sequence[int]:
    """One range, where they follow each other without a gap."""
    if not ranges:
        return range(0)
    whole = range(ranges[0].start, ranges[-1].stop)
    return whole if len(whole) == sum(map(len, ranges)) else list(chain.from_iterable(ranges))
