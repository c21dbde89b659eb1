"""The events of commands that were not delivered, as a consumer would have been given them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from ...protocol.entries import origin_without_consumer
from ...protocol.interface import CommandBuffer, Implementation

__all__ = ["Undelivered"]

_NO_ID = b"*2\r\n$3\r\n0-0\r\n"


class Undelivered(Sequence[Any]):
    """Events that the server does not have, in the order of publishing of each Redis key. Their IDs are ``0-0``.

    They are decoded when they are first used.

    Args:
        implementation: of the protocol.
        readers: what makes the bodies of each Redis key; where there is none, they are plain values.
    """

    def __init__(self, implementation: Implementation, readers: Mapping[str, Any]) -> None:
        self._implementation = implementation
        self._readers = readers
        self._parts: list[CommandBuffer] = []

    def add(self, commands: CommandBuffer) -> None:
        """Add the events of XADDs. The buffer belongs to this object from now on."""
        self._parts.append(commands)

    @cached_property
    def _events(self) -> list[Any]:
        found: list[Any] = []
        for key, entry in chain.from_iterable(map(_entries, self._parts)):
            reader = self._implementation.ReplyReader()
            reader.feed(b"*1\r\n" + _NO_ID + entry)
            batch: Any = reader.read_range(key, origin_without_consumer(self._readers.get(key)))
            found += batch.events
        return found

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: Any) -> Any:
        return self._events[index]


def _entries(commands: CommandBuffer) -> Iterator[tuple[str, bytes]]:
    """Yield the Redis key of each XADD, and the array of its fields."""
    with commands.view() as view:
        written = bytes(view)
    at = 0
    for _ in range(commands.command_count):
        arguments, at = _number(written, at)
        _, at = _bulk(written, at)
        key, at = _bulk(written, at)
        _, at = _bulk(written, at)
        begin = at
        for _field in range(arguments - 3):
            _, at = _bulk(written, at)
        fields = b"*%d\r\n" % (arguments - 3) + written[begin:at]
        yield key.decode("utf-8", "surrogateescape"), fields


def _number(written: bytes, at: int) -> tuple[int, int]:
    """Return the number in the line at `at`, and the position behind it."""
    end = written.index(b"\r\n", at)
    return int(written[at + 1 : end]), end + 2


def _bulk(written: bytes, at: int) -> tuple[bytes, int]:
    size, begin = _number(written, at)
    return written[begin : begin + size], begin + size + 2
