"""The ledger records of producers and consumers. The kernel has a line before its process goes on: kill -9 loses none.

| line | by | meaning |
|---|---|---|
| ``begun FIRST LAST`` | producer | these numbers are about to be flushed for the first time |
| ``confirmed NUMBER...`` | producer | the server has these; ranges are written FIRST-LAST |
| ``unconfirmed NUMBER...`` | producer | these will be sent again, and may be there already |
| ``why TEXT`` | producer | what a flush said |
| ``handled ID:PRODUCER:NUMBER...`` | consumer | a handler was given these |
| ``done PARTITION...`` | consumer | the handler of events of these partitions returned |
| ``started``, ``failed``, ``left``, ``outage``, ``error``, ``claiming`` | consumer | why events may come again from here on |
| ``stopped`` | consumer | the events of a packed entry that was not handled to its end may come again from here on |
| ``cleared PENDING`` | consumer | it left its group with that many entries pending |
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Line", "RecordFile", "read", "spans", "unspan"]


class RecordFile:
    """The file with the records of one process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, kind: str, *words: object) -> None:
        """Add a line: the time (of a clock that all processes of the machine share), the kind and the words."""
        line = " ".join([f"{time.monotonic():.6f}", kind, *map(str, words)])
        os.write(self._file, line.replace("\n", " ").encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Line:
    time: float
    kind: str
    words: Sequence[str]


def read(path: Path) -> Iterator[Line]:
    """All complete lines."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            if text.endswith("\n"):
                when, kind, *words = text.split()
                yield Line(float(when), kind, words)


def spans(numbers: Iterable[int]) -> Iterator[str]:
    """Ascending numbers as FIRST-LAST."""
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            yield f"{first}-{last}"
        first = last = number
    if first is not None:
        yield f"{first}-{last}"


def unspan(words: Iterable[str]) -> Iterator[int]:
    """The numbers again."""
    for word in words:
        first, _, last = word.partition("-")
        yield from range(int(first), int(last) + 1)
