"""Reads stream replies with hiredis, several times faster than in Python.

hiredis is fed the bytes of a reply as they arrive. Replies that it can't tell apart, or that the contract refuses, are
left to the complete reader: `Shortcut` raises `NotForHiredisError`, and the bytes are still in the buffer.
"""

from __future__ import annotations

import re
from itertools import chain, repeat
from typing import Any

from ..._gil import may_import_hiredis
from ..interface import INCOMPLETE, Acknowledge, Acknowledges, EventBatch, Incomplete
from ..wire import BODY_FIELD_BYTES, PACKED_FIELD_RESP
from .decoding import ORDINARY_IDS, checked_id
from .events import new_event, new_events

try:
    if not may_import_hiredis():
        raise ImportError
    import hiredis
except ImportError:
    hiredis = None

# Find types that hiredis turns into the same Python values as other types, and large lengths: hiredis makes a list of
# as many elements as a header announces, before they arrive. Lengths are looked for at any place, because hiredis does
# not check which two bytes stand before a header. If a body matches by chance, the reply is read in the slower way.
# (Each begins with bytes that are always the same, because Python looks for these in C.)
_ODD = [
    re.compile(pattern).search
    for pattern in (
        *(rb"%b\d{6}" % marker for marker in (rb"\*", b"%", b"~", b">", rb"\|")),
        rb"\r\n(?:[+=(~,#|!>.;]|\$(?:\d{9}|\?)|\*\?|%[?-])",
    )
]
_ODD_LENGTH = 16  # bytes of the longest match
_BEGINNING = 512  # bytes in which the first entry of a reply begins


class NotForHiredisError(Exception):
    """The complete reader has to read this reply."""


class Shortcut:
    """Reads a reply with hiredis.

    Args:
        begin: the position of the reply in the reader's buffer.
    """

    __slots__ = ("_fed", "_reader", "_reply")

    def __init__(self, begin: int) -> None:
        self._fed = begin
        self._reader = hiredis.Reader(notEnoughData=INCOMPLETE)
        self._reply: Any = INCOMPLETE

    @staticmethod
    def possible(buffer: bytearray, begin: int, end: int) -> bool:
        """Whether hiredis may read the reply at `begin`, by its type.

        A map must have one key: hiredis makes a dict of it, in which a key that comes twice would lose its first value.
        Packed entries are few and large, so the complete reader is faster.
        """
        if hiredis is None or begin == end or buffer.find(PACKED_FIELD_RESP, begin, min(end, begin + _BEGINNING)) >= 0:
            return False
        return buffer[begin] in b"*_$" or buffer.startswith(b"%1\r\n", begin, end)

    def moved(self, distance: int) -> None:
        """Take note that the buffer dropped `distance` bytes at its beginning."""
        self._fed -= distance

    def gets(self, buffer: bytearray, begin: int, end: int) -> Any:
        """Return the reply that fills the buffer from `begin` to `end`, or INCOMPLETE.

        Raises:
            NotForHiredisError: if the reply is not an ordinary one, has a packed entry, or if more than one reply has
                arrived.
        """
        if self._fed < end:
            looked = max(begin, self._fed - _ODD_LENGTH)
            odd = any(search(buffer, looked, end) for search in _ODD)
            if odd or buffer.startswith((b"*?", b"$?"), begin, end):
                raise NotForHiredisError
            with memoryview(buffer) as view:
                self._reader.feed(view[self._fed : end].tobytes())
            self._fed = end
            try:
                self._reply = self._reader.gets()
            except Exception:
                raise NotForHiredisError from None
        if self._reply is INCOMPLETE:
            return INCOMPLETE
        if self._reader.has_data() or buffer.find(PACKED_FIELD_RESP, begin, end) >= 0:
            raise NotForHiredisError
        return self._reply


def streams(reply: Any, acknowledge: Acknowledges) -> EventBatch:
    """Make a batch of the reply to XREADGROUP or XREAD."""
    batch = EventBatch()
    if reply is None:
        return batch
    for name, listed in reply.items() if type(reply) is dict else _list(reply):
        stream = _text(name)
        own = acknowledge.get(stream) if isinstance(acknowledge, dict) else acknowledge
        _entries(batch, stream, listed, own)
    return batch


def claimed(reply: Any, stream: str, acknowledge: Acknowledge | None) -> EventBatch:
    """Make a batch of the reply to XAUTOCLAIM."""
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
    """Make a batch of the reply to XRANGE."""
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
    """Add the entries if all are ordinary: an ID, and fields of names and values. Returns whether they were added."""
    try:
        ids, fields = zip(*listed, strict=True)
        joined = b"\n".join(ids)
        if set(map(type, chain.from_iterable(fields))) - {bytes} or set(map(type, fields)) - {list}:
            return False
    except (TypeError, ValueError):  # no entries, entries of other lengths, null for an entry or for its fields
        return False
    if not ORDINARY_IDS.fullmatch(joined) or any(map((1).__and__, map(len, fields))):
        return False
    texts = joined.decode().split("\n")
    if all(fields) and [names[0] for names in fields].count(BODY_FIELD_BYTES) == len(fields):
        bodies = [values[1] for values in fields]
        batch.events += new_events(texts, bodies, [rest[2:] for rest in fields], origin)
    else:
        batch.events += map(new_event, texts, fields, repeat(origin))
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
