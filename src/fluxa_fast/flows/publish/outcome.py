"""What became of every event of a flush: confirmed, refused or unconfirmed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any, NamedTuple

from ...errors import FlushError, RefusedEvent, UnconfirmedEvents
from ...protocol.interface import ErrorReply
from ..replies import error_of, in_a_cluster
from .pipeline import BufferFlush, FlushReplies, Outcome

__all__ = ["FlushAccount", "FlushResult", "Order", "Unsettled"]

Order = Iterable[tuple[int, int]]
"""Runs of (index of the target, number of events), in the order of publishing."""


class _Part(NamedTuple):
    """Events of one target, published one after the other, that have the same outcome.

    Every refused event has a part of its own.

    Attributes:
        position: the place of the first event in the order of publishing.
        target: the index of the target.
        place: the place of the first event in the target's buffer.
        size: the number of events.
        outcome: what became of them.
    """

    position: int
    target: int
    place: int
    size: int
    outcome: Outcome

    @property
    def positions(self) -> range:
        return range(self.position, self.position + self.size)

    @property
    def places(self) -> range:
        return range(self.place, self.place + self.size)


def _parts(order: Order, replies: Mapping[int, FlushReplies]) -> Iterator[_Part]:
    """Yield few parts, however many events there are: one for each run, each refusal, and where a connection broke."""
    position = 0
    places = dict.fromkeys(replies, 0)
    outcomes = {index: of_target.outcomes() for index, of_target in replies.items()}
    # The outcome at each target's place, and how many more events have it.
    current: dict[int, tuple[Outcome, int]] = dict.fromkeys(replies, ("unconfirmed", 0))
    for index, count in order:
        end = places[index] + count
        while (place := places[index]) < end:
            outcome, left = current[index]
            if not left:
                current[index] = next(outcomes[index])
                continue
            size = 1 if outcome == "refused" else min(left, end - place)
            current[index] = outcome, left - size
            yield _Part(position, index, place, size, outcome)
            places[index] += size
            position += size


class Unsettled(NamedTuple):
    """The events that stay for the next flush.

    Attributes:
        order: their order of publishing.
        refused: the places of the events that the server refused, in the buffers of their targets.
    """

    order: list[tuple[int, int]]
    refused: dict[int, list[int]]


class FlushResult(Sequence[str]):
    """The IDs of the events that a flush confirmed, in the order of publishing. They are decoded when first used.

    A copy, or one that was pickled, has them decoded.
    """

    def __init__(self, order: Order, replies: Mapping[int, FlushReplies]) -> None:
        self._order = order
        self._replies = replies
        self._count = sum([one.confirmed for one in replies.values()])

    def __len__(self) -> int:
        return self._count

    @cached_property
    def ids(self) -> list[str]:
        """The ID of every confirmed event."""
        if len(self._replies) == 1 and self._count:
            (only,) = self._replies.values()
            return list(only.replies.ids())
        ids = {index: iter(one.replies.ids()) for index, one in self._replies.items()}
        found: list[Any] = []
        for part in _parts(self._order, self._replies):
            if part.outcome == "confirmed":
                found += islice(ids[part.target], part.size)
        return found

    def __getitem__(self, index: Any) -> Any:
        return self.ids[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return _decoded, (list(self.ids),)

    def __repr__(self) -> str:
        return f"<FlushResult: {len(self)} events>"


def _decoded(ids: list[str]) -> FlushResult:
    """Return a result that has these IDs."""
    result = FlushResult((), {})
    result.__dict__.update(ids=ids, _count=len(ids))
    return result


class FlushAccount:
    """The account of one flush.

    Args:
        order: the order of publishing.
        flushes: the flush of each target. Their buffers still hold all events.
    """

    def __init__(self, order: Order, flushes: Mapping[int, BufferFlush]) -> None:
        self._order = order
        self._flushes = flushes
        self._replies = {index: flush.replies_so_far for index, flush in flushes.items()}
        self.result: FlushResult = FlushResult(order, self._replies)

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed."""
        return all(flush.complete for flush in self._flushes.values())

    @cached_property
    def _unsettled(self) -> list[_Part]:
        return [part for part in _parts(self._order, self._replies) if part.outcome != "confirmed"]

    def keep_unsettled(self) -> Unsettled:
        """Keep in the buffers what was not confirmed."""
        places: dict[int, list[range]] = {index: [] for index in self._flushes}
        refused: defaultdict[int, list[int]] = defaultdict(list)
        sizes = dict.fromkeys(self._flushes, 0)
        runs: list[tuple[int, int]] = []
        for part in self._unsettled:
            places[part.target].append(part.places)
            if part.outcome == "refused":
                refused[part.target].append(sizes[part.target])
            sizes[part.target] += part.size
            before = runs.pop()[1] if runs and runs[-1][0] == part.target else 0
            runs.append((part.target, before + part.size))
        for index, kept in places.items():
            self._flushes[index].buffer.keep(_joined(kept))
        return Unsettled(runs, dict(refused))

    def error(self) -> FlushError:
        """Return the exception that tells the outcome of every event."""
        return FlushError(self.result, list(self._refused()), list(self._unconfirmed()))

    def _refused(self) -> Iterator[RefusedEvent]:
        messages = {index: dict(flush.replies.errors) for index, flush in self._flushes.items()}
        streams = {
            index: dict(zip(refused, self._flushes[index].buffer.keys(refused), strict=True))
            for index, refused in messages.items()
        }
        for part in self._unsettled:
            if part.outcome == "refused":
                flush = self._flushes[part.target]
                reply = ErrorReply(messages[part.target][part.place])
                error = error_of(reply)
                told = in_a_cluster(error, flush.pool) if flush.of_one_server else error
                yield RefusedEvent(part.position, streams[part.target][part.place], flush.pool, told, reply.code)

    def _unconfirmed(self) -> Iterator[UnconfirmedEvents]:
        lost: dict[tuple[str, int], list[range]] = {}  # the buffers that were sent to one node may share an error
        errors: dict[int, Exception] = {}
        for part in self._unsettled:
            flush = self._flushes[part.target]
            if part.outcome == "unconfirmed" and flush.error is not None:
                errors[id(flush.error)] = flush.error
                lost.setdefault((flush.pool, id(flush.error)), []).append(part.positions)
        for (pool, error), positions in lost.items():
            yield UnconfirmedEvents(pool, _joined(positions), errors[error])


def _joined(ranges: Sequence[range]) -> Sequence[int]:
    """Return one range, where the ranges follow each other without a gap."""
    if not ranges:
        return range(0)
    whole = range(ranges[0].start, ranges[-1].stop)
    return whole if len(whole) == sum(map(len, ranges)) else list(chain.from_iterable(ranges))
