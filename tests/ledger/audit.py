"""Compares the records of consumers with those of producers: what was promised, and what was done."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ledger.records import read, unspan

__all__ = ["Balance", "audit"]

_EXPLAINS = frozenset({"failed", "left", "outage", "error", "started", "claiming"})
_WITHIN_ENTRY = frozenset({"stopped", "cleared"})  # explain it for packed entries that were not handled to their end
_SHOWN = 20  # problems


@dataclass
class Balance:
    """The result.

    Attributes:
        confirmed: events.
        handled: events, each counted once.
        published_again: copies of an event beyond the first.
        delivered_again: times that a copy was handled beyond the first.
        explanations: how many of these each kind of line explains.
        problems: whatever does not balance; the first few of them, and how many there are.
    """

    confirmed: int = 0
    handled: int = 0
    published_again: int = 0
    delivered_again: int = 0
    explanations: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    def problem(self, text: str) -> None:
        self.problem_count += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(text)


@dataclass
class _Produced:
    """The records of one producer."""

    confirmed: bytearray  # 1 for each number that was
    tries: dict[int, int]  # how often a number was sent without an answer


@dataclass
class _Consumed:
    """The records of one consumer."""

    times: list[float]  # of what may explain that an event comes again, ascending
    kinds: list[str]


def audit(folder: Path, *, added: int | None = None, repeating: Sequence[tuple[float, float]] = ()) -> Balance:
    """Compare the records in a folder.

    Args:
        added: entries that the server says were ever added to the stream; None if that can't be known.
        repeating: from when to when faults made the server deliver again what was acknowledged.
    """
    balance = Balance()
    producers = [_producer(path, balance) for path in _by_number(folder, "producer")]
    consumers: list[_Consumed] = []
    # ID -> (when it was handled last, by which consumer)
    last: dict[tuple[int, int], tuple[float, int]] = {}
    copies_of: list[dict[int, int]] = [defaultdict(int) for _ in producers]
    handlings: list[tuple[float, int, list[str]]] = []
    for number, path in enumerate(_by_number(folder, "consumer")):
        records = _Consumed([], [])
        for line in read(path):
            if line.kind == "handled":
                handlings.append((line.time, number, line.words))  # type: ignore[arg-type]
            elif line.kind in _EXPLAINS | _WITHIN_ENTRY:
                records.times.append(line.time)
                records.kinds.append(line.kind)
        consumers.append(records)
    handlings.sort(key=lambda one: one[0])
    events_of: dict[int, int] = defaultdict(int)  # entry -> a bit for each of its events
    for _, _, words in handlings:
        for word in words:
            entry, place = _numbers_of(word.partition(":")[0])
            events_of[entry] |= 1 << place
    done: dict[tuple[int, int], int] = defaultdict(int)  # entry, consumer -> a bit for each event that it has handled
    for time, number, words in handlings:
        for word in words:
            id, producer, event = word.split(":")
            entry, place = key = _numbers_of(id)
            before = last.get(key)
            if before is None:
                copies_of[int(producer)][int(event)] += 1
            else:
                balance.delivered_again += 1
                kinds = _EXPLAINS if done[entry, before[1]] == events_of[entry] else _EXPLAINS | _WITHIN_ENTRY
                why = _explained(before, (time, number), consumers, repeating, kinds)
                if why:
                    balance.explanations[why] += 1
                else:
                    balance.problem(f"{word} was handled at {before} and again at {(time, number)}, for no reason")
            last[key] = time, number
            done[entry, number] |= 1 << place
    for producer, (records, copies) in enumerate(zip(producers, copies_of, strict=True)):
        balance.confirmed += sum(records.confirmed)
        balance.handled += len(copies)
        for number, confirmed in enumerate(records.confirmed):
            if confirmed and number not in copies:
                balance.problem(f"event {producer}:{number} was confirmed and never handled")
        for number, count in copies.items():
            balance.published_again += count - 1
            if count > 1 + records.tries.get(number, 0):
                balance.problem(
                    f"event {producer}:{number} is there {count} times, for {records.tries.get(number, 0)} retries"
                )
    if added is not None and added != len(events_of):
        balance.problem(f"{added} entries were added to the stream, and {len(events_of)} were handled")
    return balance


def _by_number(folder: Path, role: str) -> list[Path]:
    return sorted(folder.glob(f"{role}-*.records"), key=lambda path: int(path.stem.partition("-")[2]))


def _producer(path: Path, balance: Balance) -> _Produced:
    records = _Produced(bytearray(), defaultdict(int))
    for line in read(path):
        if line.kind == "begun":
            records.confirmed.extend(bytes(int(line.words[0].partition("-")[2]) + 1 - len(records.confirmed)))
        elif line.kind == "confirmed":
            for number in unspan(line.words):
                if records.confirmed[number]:
                    balance.problem(f"{path.stem}: event {number} was confirmed twice")
                records.confirmed[number] = 1
        elif line.kind == "unconfirmed":
            for number in unspan(line.words):
                records.tries[number] += 1
        elif line.kind == "error":
            balance.problem(f"{path.stem}: {' '.join(line.words)}")
    return records


def _explained(
    before: tuple[float, int],
    again: tuple[float, int],
    consumers: list[_Consumed],
    repeating: Sequence[tuple[float, float]],
    kinds: Set[str],
) -> str | None:
    """What makes it right that an entry handled `before` was handled `again`."""
    for number in {before[1], again[1]}:
        records = consumers[number]
        place = bisect_left(records.times, before[0])
        while place < len(records.times) and records.times[place] <= again[0]:
            if records.kinds[place] in kinds:
                return records.kinds[place]
            place += 1
    if any(begin - 1.0 <= again[0] and before[0] <= end + 1.0 for begin, end in repeating):
        return "the server forgot"
    return None


def _numbers_of(id: str) -> tuple[int, int]:
    """A number for the entry, and the place of the event in it."""
    event, _, partition = id.partition("@")
    entry, _, place = event.partition("/")
    milliseconds, _, sequence = entry.partition("-")
    return (int(milliseconds) << 32 | int(sequence)) << 16 | int(partition or 0), int(place or 0)


def report(balance: Balance, **more: Any) -> dict[str, Any]:
    """The balance as JSON."""
    return {
        "confirmed": balance.confirmed,
        "handled": balance.handled,
        "published again": balance.published_again,
        "delivered again": balance.delivered_again,
        "explained by": dict(balance.explanations),
        "problems": balance.problem_count,
        **more,
    }
