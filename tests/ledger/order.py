"""Checks the records of consumers that own partitions: events of a key in order, one consumer in a partition at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.ledger.audit import Balance
from tests.ledger.records import read
from tests.ledger.worker import key_of

__all__ = ["check_order"]


def check_order(folder: Path, balance: Balance, paused: Sequence[tuple[int, float, float]]) -> None:
    """Add to the balance what is out of order.

    Args:
        folder: with the records.
        balance: to add problems to.
        paused: consumers that were stopped for a while, and from when to when: what was being handled then is excused.
    """
    handlings: list[tuple[float, Sequence[str]]] = []
    spans: dict[str, list[tuple[float, float, int]]] = defaultdict(list)  # of each partition: begin, end, consumer
    for path in folder.glob("consumer-*.records"):
        consumer = int(path.stem.partition("-")[2])
        begun: dict[str, float] = {}
        for line in read(path):
            if line.kind == "handled":
                handlings.append((line.time, line.words))
                partitions = {word.partition(":")[0].partition("@")[2] for word in line.words}
                for partition in partitions:
                    begun[partition] = line.time
            elif line.kind == "done":
                for partition in line.words:
                    if partition in begun:
                        spans[partition].append((begun.pop(partition), line.time, consumer))
    _check_keys(handlings, balance)
    for partition, all_of_it in spans.items():
        _check_alone(partition, sorted(all_of_it), balance, paused)


def _check_keys(handlings: list[tuple[float, Sequence[str]]], balance: Balance) -> None:
    """What is handled for the first time comes behind everything of its key that was published before it."""
    seen: set[tuple[int, int]] = set()
    last: dict[str, int] = {}
    for when, words in sorted(handlings, key=lambda one: one[0]):
        for word in words:
            _, producer, number = word.split(":")
            event = int(producer), int(number)
            if event in seen:
                continue
            seen.add(event)
            key = key_of(*event)
            if last.get(key, -1) > event[1]:
                balance.problem(f"event {event} of key {key} was handled at {when:.3f}, after event {last[key]}")
            last[key] = max(last.get(key, -1), event[1])


def _check_alone(
    partition: str,
    spans: Sequence[tuple[float, float, int]],
    balance: Balance,
    paused: Sequence[tuple[int, float, float]],
) -> None:
    for before, after in pairwise(spans):
        if before[1] <= after[0] or before[2] == after[2]:
            continue
        if not any(
            who in (before[2], after[2]) and since < before[1] and until > before[0] for who, since, until in paused
        ):
            balance.problem(f"partition {partition}: {before} and {after} overlap")
