"""Stream replies by way of hiredis: several times faster than reading them in Python.

hiredis is given the bytes of one reply as they arrive. Whatever it can't tell apart, or the contract refuses,
is left to the complete reader: `Shortcut` then says so, and the bytes are still there to be read again.
"""

from __future__ import annotations

import re
from itertools import chain, repeat
from typing import Any

from ..._gil import may_import_hiredis
from ..interface import INCOMPLETE, Acknowledge, EventBatch, Incomplete
from .decoding import ORDINARY_IDS, checked_id
from .events import new_event

try:
    if not may_import_hiredis():
        raise ImportError
    import hiredis
except ImportError:
    hiredis = None

# Types that hiredis turns into the same Python values as others, and lengths that need a closer look: it makes a list
# for as many elements as are announced, before they come. (Those are looked for everywhere, because hiredis does not
# mind which two bytes stand before them. What is found in a body by chance only takes the slower way.)
_ODD = re.compile(rb"[*%~>|]\d{6,}|\r\n(?:[+=(~,#|!>.;]|\$(?:\d{9,}|\?)|\*\?|%[?-])")
_ODD_LENGTH = 16  # bytes that one match can span at most


class NotForHiredisError(Exception):
    """The complete reader has to look at this reply."""


class Shortcut:
    """Reads one reply with hiredis.

    Args:
        begin: where the reply begins in the reader's buffer.
    """

    __slots__ = ("_fed", "_reader", "_reply")

    def __init__(self, begin: int) -> None:
        self._fed = begin
        self._reader = hiredis.Reader(notEnoughData=INCOMPLETE)
        self._reply: Any = INCOMPLETE

    @staticmethod
    def possible(buffer: bytearray, begin: int, end: int) -> bool:
        """Whether the reply at `begin` is of a kind that hiredis may read.

        Of maps those with one key: it makes dicts of them, and a key that comes twice would lose its first entries.
        """
        if hiredis is None or begin == end:
            return False
        return buffer[begin] in b"*_$" or buffer.startswith(b"%1\r\n", begin, end)

    def moved(self, distance: int) -> None:
        """The buffer dropped that many bytes at its beginning."""
        self._fed -= distance

    def gets(self, buffer: bytearray, begin: int, end: int) -> Any:
        """The reply that fills the buffer from `begin` to `end`, or INCOMPLETE.

        Raises:
            NotForHiredisError: if the reply is none of the ordinary ones, or if more than one is there.
        """
        if self._fed < end:
            looked = max(begin, self._fed - _ODD_LENGTH)
            if _ODD.search(buffer, looked, end) or buffer.startswith((b"*?", b"$?"), begin, end):
                raise NotForHiredisError
            with memoryview(buffer) as view:
                self._reader.feed(view[self._fed : end].tobytes())
            self._fed = end
            try:
                self._reply = self._reader.gets()
            except Exception:
                raise NotForHiredisError from None
        if self._reply is not INCOMPLETE and self._reader.has_data():
            raise NotForHiredisError
        return self._reply


def streams(reply: Any, acknowledge: Acknowledge | None) -> EventBatch:
    """XREADGROUP, XREAD"""
    batch = EventBatch()
    if reply is None:
        return batch
    for name, listed in reply.items() if type(reply) is dict else _list(reply):
        _entries(batch, _text(name), listed, acknowledge)
    return batch


def claimed(reply: Any, stream: str, acknowledge: Acknowledge | None) -> EventBatch:
    """XAUTOCLAIM"""
    batch = EventBatch()
    if reply is None:
        return batch
    cursor, listed, *dropped = _list(reply)
    batch.cursor = checked_id(cursor)
    _entries(batch, stream, listed, acknowledge)
    if dropped:
        (ids,) = dropped
        batch.dropped = len([checked_id(id) for id in _list(ids)])
    return batch


def ranged(reply: Any, stream: str, acknowledge: Acknowledge | None) -> EventBatch:
    """XRANGE"""
    batch = EventBatch()
    _entries(batch, stream, reply, acknowledge)
    return batch


def _entries(batch: EventBatch, stream: str, listed: Any, acknowledge: Acknowledge | None) -> None:
    if listed is None:
        return
    origin = (stream, acknowledge)
    if not _plain_entries(batch, _list(listed), origin):
        for entry in listed:
            if entry is not None:
                _entry(batch, _list(entry), origin)


def _plain_entries(batch: EventBatch, listed: list[Any], origin: tuple[str, Acknowledge | None]) -> bool:
    """The ordinary case, checked as a whole: every entry has an ID, and fields that are names and values."""
    try:
        ids, fields = zip(*listed, strict=True)
        joined = b"\n".join(ids)
        if set(map(type, chain.from_iterable(fields))) - {bytes} or set(map(type, fields)) - {list}:
            return False
    except (TypeError, ValueError):  # none at all, entries of other lengths, null for an entry or for its fields
        return False
    if not ORDINARY_IDS.fullmatch(joined) or any(map((1).__and__, map(len, fields))):
        return False
    batch.events += map(new_event, joined.decode().split("\n"), fields, repeat(origin))
    return True


def _entry(batch: EventBatch, entry: list[Any], origin: tuple[str, Acknowledge | None]) -> None:
    id, fields, *waited = entry
    id = checked_id(id)
    if fields is None:
        batch.deleted.append(id)
        event = None
    else:
        if len(_list(fields)) & 1 or set(map(type, fields)) - {bytes}:
            raise NotForHiredisError
        event = new_event(id, fields, origin)
        batch.events.append(event)
    if waited:
        idle, deliveries = waited
        if type(idle) is not int or type(deliveries) is not int:
            raise NotForHiredisError
        if event is not None:
            event._waited = (idle, deliveries)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise NotForHiredisError
    return value


def _text(name: Any) -> str:
    if type(name) is not bytes:
        raise NotForHiredisError
    return name.decode("utf-8", "surrogateescape")


__all__ = ["Incomplete", "NotForHiredisError", "Shortcut", "claimed", "ranged", "streams"]
