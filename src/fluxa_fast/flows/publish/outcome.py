"""What became of every event of a flush: confirmed, refused or unconfirmed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import FlushError, RefusedEvent, UnconfirmedEvents
from ...protocol.interface import CommandBuffer, ErrorReply
from ...protocol.packed_log import PackedLog
from ..replies import error_of, in_a_cluster
from .pipeline import BufferFlush, FlushReplies, Outcome

__all__ = ["FlushAccount", "FlushResult", "Order", "Unsettled", "order_without", "result_of"]

Order = Iterable[tuple[int, int]]
"""Runs of (lane, number of events), in the order of publishing.

A lane is the index of a target, or has the events of one packed Redis key.
"""


_NOTHING: Mapping[int, Any] = MappingProxyType({})


class _Commands(NamedTuple):
    """Commands of a target that have the same outcome, and follow each other in their lane.

    Attributes:
        outcome: what became of them.
        place: of the first command in the target's buffer.
        events: how many they have.
        packed: whether it is one command with all these events; else each event is a command.
    """

    outcome: Outcome
    place: int
    events: int
    packed: bool


Outcomes = Iterable[tuple[Outcome, int]]
"""The outcome of the commands in a buffer, and how many in a row have each. The last may be for any number."""


def _by_lane(target: int, outcomes: Outcomes, log: PackedLog | None) -> dict[int, Iterator[_Commands]]:
    """Return what became of the commands of a target, for each lane of it."""
    if log is None:
        return {target: _plain(outcomes)}
    lanes: dict[int, list[_Commands]] = {target: []}
    packed = iter(log.commands)
    next_packed = next(packed, None)
    place = 0
    for outcome, count in outcomes:
        end = place + count
        while place < end:
            if next_packed is None or next_packed.position >= end:
                lanes[target].append(_Commands(outcome, place, end - place, packed=False))
                break
            if place < next_packed.position:
                lanes[target].append(_Commands(outcome, place, next_packed.position - place, packed=False))
            place, lane, events = next_packed
            lanes.setdefault(lane, []).append(_Commands(outcome, place, events, packed=events > 1))
            place += 1
            next_packed = next(packed, None)
        place = end
    return {lane: iter(commands) for lane, commands in lanes.items()}


def _plain(outcomes: Outcomes) -> Iterator[_Commands]:
    place = 0
    for outcome, count in outcomes:
        yield _Commands(outcome, place, count, packed=False)
        place += count


class _Part(NamedTuple):
    """Events of one lane, published one after the other, that have the same outcome.

    Every refused command has a part of its own.

    Attributes:
        position: the place of the first event in the order of publishing.
        lane: the lane of the events.
        target: the index of the target.
        place: the place of the first command in the target's buffer.
        within: the place of the first event in its entry; None: each event is a command.
        size: the number of events.
        outcome: what became of them.
    """

    position: int
    lane: int
    target: int
    place: int
    within: int | None
    size: int
    outcome: Outcome

    @property
    def positions(self) -> range:
        return range(self.position, self.position + self.size)


def _parts(
    order: Order, outcomes: Mapping[int, Outcomes], logs: Mapping[int, PackedLog | None], lanes: Mapping[int, int]
) -> Iterator[_Part]:
    """Yield few parts, however many events there are: one for each run, each refusal, and where a connection broke.

    Args:
        order: of publishing.
        outcomes: of the commands of each target.
        logs: the packed entries in the buffer of each target.
        lanes: the target of each lane that is not the index of one.
    """
    position = 0
    waiting: dict[int, Iterator[_Commands]] = {}
    for target, of_target in outcomes.items():
        waiting |= _by_lane(target, of_target, logs.get(target))
    nothing = _Commands("unconfirmed", 0, 0, packed=False)
    current: dict[int, tuple[_Commands, int]] = {}  # of each lane: commands, and how many of their events are done
    for lane, count in order:
        target = lanes.get(lane, lane)
        while count:
            commands, done = current.get(lane, (nothing, 0))
            if done == commands.events:
                current[lane] = next(waiting[lane]), 0
                continue
            left = commands.events - done
            size = 1 if commands.outcome == "refused" and not commands.packed else min(left, count)
            place = commands.place if commands.packed else commands.place + done
            within = done if commands.packed else None
            yield _Part(position, lane, target, place, within, size, commands.outcome)
            current[lane] = commands, done + size
            position += size
            count -= size


def order_without(
    order: Order, target: int, gone: set[int], buffer: CommandBuffer, lanes: Mapping[int, int]
) -> list[tuple[int, int]]:
    """Return the order of the events that are left when some commands of one target are dropped.

    Args:
        order: of all events.
        target: the index of the target.
        gone: the places of these commands in its buffer.
        buffer: of the target.
        lanes: as `BufferTargets.lanes`.
    """
    outcomes: dict[int, Outcomes] = {lane: (("unconfirmed", sys.maxsize),) for lane, _ in order}
    for lane, of in lanes.items():
        if of == target:
            outcomes.pop(lane, None)
    outcomes[target] = (("confirmed" if place in gone else "unconfirmed", 1) for place in range(buffer.command_count))
    return _order_of(_parts(order, outcomes, {target: buffer.packed}, lanes))


def _order_of(parts: Iterable[_Part]) -> list[tuple[int, int]]:
    """Return the order of the events that are not confirmed."""
    runs: list[tuple[int, int]] = []
    for part in parts:
        if part.outcome != "confirmed":
            before = runs.pop()[1] if runs and runs[-1][0] == part.lane else 0
            runs.append((part.lane, before + part.size))
    return runs


class Unsettled(NamedTuple):
    """The events that stay for the next flush.

    Attributes:
        order: their order of publishing.
        refused: the places of the commands that the server refused, in the buffers of their targets.
    """

    order: list[tuple[int, int]]
    refused: dict[int, list[int]]


class FlushResult(Sequence[str]):
    """The IDs of the events that a flush confirmed, in the order of publishing. They are decoded when first used.

    Events that share an entry have its ID, with their place in it: ``1709136000000-0/17``. A copy, or a result that was
    pickled, has the IDs decoded.
    """

    def __init__(
        self,
        order: Order,
        replies: Mapping[int, FlushReplies],
        logs: Mapping[int, PackedLog | None] = _NOTHING,
        lanes: Mapping[int, int] = _NOTHING,
    ) -> None:
        self._order = order
        self._replies = replies
        self._logs = logs
        self._lanes = lanes

    def _parts(self) -> Iterator[_Part]:
        return _parts(self._order, _outcomes(self._replies), self._logs, self._lanes)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        if self._logs:
            return sum([_confirmed(one, self._logs[index]) for index, one in self._replies.items()])
        return sum([one.confirmed for one in self._replies.values()])

    @cached_property
    def ids(self) -> list[str]:
        """The ID of every confirmed event."""
        packed = bool(self._logs) and any(self._logs.values())
        if len(self._replies) == 1 and self._count and not packed:
            (only,) = self._replies.values()
            return list(only.replies.ids())
        if packed:
            return self._packed_ids()
        ids = {index: iter(one.replies.ids()) for index, one in self._replies.items()}
        found: list[Any] = []
        for part in self._parts():
            if part.outcome == "confirmed":
                found += islice(ids[part.target], part.size)
        return found

    def _packed_ids(self) -> list[str]:
        ids = {index: _ids_by_place(one) for index, one in self._replies.items()}
        found: list[str] = []
        for part in self._parts():
            if part.outcome != "confirmed":
                continue
            of_target = ids[part.target]
            if part.within is None:
                found += [of_target[place] for place in range(part.place, part.place + part.size)]
            else:
                head = f"{of_target[part.place]}/"
                found += [f"{head}{place}" for place in range(part.within, part.within + part.size)]
        return found

    def __getitem__(self, index: Any) -> Any:
        return self.ids[index]

    def __reduce__(self) -> tuple[Any, ...]:
        return result_of, (list(self.ids),)

    def __repr__(self) -> str:
        return f"<FlushResult: {len(self)} events>"


def _confirmed(replies: FlushReplies, log: PackedLog | None) -> int:
    """Return how many events of a target were confirmed."""
    count = replies.confirmed
    if log is None or not count:
        return count
    ends = iter(replies.outcomes())
    outcome, end = next(ends)
    for command in log.commands:
        while command.position >= end:
            outcome, more = next(ends)
            end += more
        if outcome == "confirmed":
            count += command.events - 1
    return count


def _outcomes(replies: Mapping[int, FlushReplies]) -> dict[int, Outcomes]:
    return {index: one.outcomes() for index, one in replies.items()}


def _ids_by_place(replies: FlushReplies) -> dict[int, str]:
    """Return the ID of each confirmed command, by its place in the buffer."""
    ids = iter(replies.replies.ids())
    found: dict[int, str] = {}
    place = 0
    for outcome, count in replies.outcomes():
        if outcome == "confirmed":
            found |= zip(range(place, place + count), ids, strict=False)
        elif count == sys.maxsize:
            break
        place += count
    return found


def result_of(ids: list[str]) -> FlushResult:
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

    def __init__(self, order: Order, flushes: Mapping[int, BufferFlush], lanes: Mapping[int, int]) -> None:
        self._order = order
        self._flushes = flushes
        self._lanes = lanes
        self._replies = {index: flush.replies_so_far for index, flush in flushes.items()}
        self._logs: Mapping[int, PackedLog | None] = _NOTHING
        if lanes:
            self._logs = {index: flush.buffer.packed for index, flush in flushes.items()}
        self.result: FlushResult = FlushResult(order, self._replies, self._logs, lanes)

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed."""
        return all(flush.complete for flush in self._flushes.values())

    @cached_property
    def _unsettled(self) -> list[_Part]:
        parts = _parts(self._order, _outcomes(self._replies), self._logs, self._lanes)
        return [part for part in parts if part.outcome != "confirmed"]

    def keep_unsettled(self) -> Unsettled:
        """Keep in the buffers what was not confirmed."""
        refused: dict[int, list[int]] = {}
        for index, flush in self._flushes.items():
            kept: list[range] = []
            place = size = 0
            for outcome, count in self._replies[index].outcomes():
                count = min(count, flush.buffer.command_count - place)
                if outcome != "confirmed" and count:
                    kept.append(range(place, place + count))
                    if outcome == "refused":
                        refused.setdefault(index, []).extend(range(size, size + count))
                    size += count
                place += count
            flush.buffer.keep(_joined(kept))
        return Unsettled(_order_of(self._unsettled), refused)

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
                for position in part.positions:  # all events of a refused entry
                    yield RefusedEvent(position, streams[part.target][part.place], flush.pool, told, reply.code)

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
