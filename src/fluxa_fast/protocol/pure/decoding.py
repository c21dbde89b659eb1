"""Turns a well-formed reply into Python values or into events. `scanning` has checked its form."""

from __future__ import annotations

import re
from typing import Any

from .. import decode_errors, scalars
from ..interface import Acknowledge, Acknowledges, EventBatch
from ..wire import PACKED_FIELD_BYTES
from .events import Event, new_event, split_entry
from .scanning import NULL_LENGTH, STREAMED_LENGTH, length_of

_ID = re.compile(rb"(\d{1,20})-(\d{1,20})")
_NUMBER = rb"(?:[1-9][0-9]{0,18}+|0)"
# Lines with an ID each, as every server writes it: two numbers of at most 19 digits, without leading zeros.
ORDINARY_IDS = re.compile(rb"%b-%b(?:\n%b-%b)*+" % ((_NUMBER,) * 4))
_LARGEST = 2**64 - 1


class Decoder:
    """Reads a reply from its beginning to its end."""

    __slots__ = ("_at", "_reply")

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self._at = 0

    @property
    def size(self) -> int:
        """Of the reply in bytes."""
        return len(self._reply)

    # ---- replies of any form ----

    def value(self) -> Any:
        marker = self.next_marker()
        if marker == b"$":
            return self._payload()
        if marker == b"+":
            return self._line()[1:]
        if marker == b":":
            return scalars.integer(self._line()[1:])
        if marker in b"*~>":
            count = length_of(self._line())
            return None if count == NULL_LENGTH else self._elements(count)
        if marker == b"%":
            return self._pairs(length_of(self._line()))
        if marker == b"-":
            return scalars.error(self._line()[1:])
        if marker == b"!":
            return scalars.error(self._payload() or b"")
        if marker == b"_":
            return scalars.null(self._line()[1:])
        if marker == b"#":
            return scalars.boolean(self._line()[1:])
        if marker == b",":
            return scalars.double(self._line()[1:])
        if marker == b"(":
            return scalars.big_number(self._line()[1:])
        return scalars.verbatim(self._payload() or b"")

    def next_marker(self) -> bytes:
        """Skip the attributes in front of the next element, and return the marker of its type."""
        while self._reply[self._at] == 0x7C:
            for _ in range(2 * length_of(self._line())):
                self.value()
        return self._reply[self._at : self._at + 1]

    def _line(self) -> bytes:
        end = self._reply.index(b"\n", self._at)
        line = self._reply[self._at : end - 1]
        self._at = end + 1
        return line

    def _payload(self) -> bytes | None:
        """Return the bytes of a bulk string. The chunks of a streamed one are joined."""
        length = length_of(self._line())
        if length == NULL_LENGTH:
            return None
        if length == STREAMED_LENGTH:
            chunks = []
            while length := length_of(self._line()):
                chunks.append(self._bytes(length))
            return b"".join(chunks)
        return self._bytes(length)

    def _bytes(self, length: int) -> bytes:
        begin = self._at
        self._at += length + 2
        return self._reply[begin : begin + length]

    def _elements(self, count: int) -> list[Any]:
        if count != STREAMED_LENGTH:
            return [self.value() for _ in range(count)]
        items = []
        while self.next_marker() != b".":
            items.append(self.value())
        self._line()
        return items

    def _pairs(self, count: int) -> dict[Any, Any]:
        items: dict[Any, Any] = {}
        streamed = count == STREAMED_LENGTH
        while streamed or count:
            if streamed and self.next_marker() == b".":
                self._line()
                break
            key = self.value()
            if streamed and self.next_marker() == b".":
                raise decode_errors.misplaced_end()
            item = self.value()
            try:
                items[key] = item
            except TypeError:
                raise decode_errors.unhashable_reply_key() from None
            count -= 1
        return items

    # ---- replies of stream reads ----

    def streams(self, batch: EventBatch, acknowledge: Acknowledges) -> None:
        """Read the reply to XREADGROUP or XREAD. RESP2: [[stream, entries], ...]; RESP3: {stream: entries, ...}"""
        paired = self.next_marker() == b"*"
        if paired:
            count = self._take_array("an array of streams")
        else:
            if self.next_marker() != b"%":
                raise self._unexpected("an array or a map of streams")
            count = length_of(self._line())
        if count < 0:
            raise decode_errors.unexpected_reply("an array or a map of streams", "a streamed aggregate")
        for _ in range(count):
            if paired and self._take_array("a stream and its entries") != 2:
                raise decode_errors.unexpected_reply("a stream and its entries", "an array of another length")
            name = self._take_bulk("the name of a stream").decode("utf-8", "surrogateescape")
            self.entries(batch, name, acknowledge.get(name) if isinstance(acknowledge, dict) else acknowledge)

    def claimed(self, batch: EventBatch, stream: str, acknowledge: Acknowledge | None) -> None:
        """Read the reply to XAUTOCLAIM: [cursor, entries] and, since Redis 7.0, the IDs of deleted entries."""
        count = self._take_array("a cursor and entries")
        if count not in (2, 3):
            raise decode_errors.unexpected_reply("a cursor and entries", "an array of another length")
        batch.cursor = self._take_id()
        self.entries(batch, stream, acknowledge)
        if count == 3:
            batch.dropped = self._take_array("the IDs of deleted entries")
            for _ in range(batch.dropped):
                self._take_id()

    def entries(self, batch: EventBatch, stream: str, acknowledge: Acknowledge | None) -> None:
        """Read entries: the whole reply to XRANGE, or a part of the other replies."""
        if self.peek_null():
            self.value()
            return
        for _ in range(self._take_array("an array of entries")):
            if self.peek_null():  # XAUTOCLAIM of Redis 6.2 does not even tell the ID of a deleted entry
                self.value()
                continue
            self._entry(batch, stream, acknowledge)

    def _entry(self, batch: EventBatch, stream: str, acknowledge: Acknowledge | None) -> None:
        """Read [id, fields] or, with CLAIM, [id, fields, idle ms, deliveries]. A deleted entry has null fields."""
        parts = self._take_array("an entry")
        if parts not in (2, 4):
            raise decode_errors.unexpected_reply("an entry of 2 or 4 elements", "an array of another length")
        id = self._take_id()
        events: list[Event] = []
        if self.peek_null():
            self.value()
            batch.deleted.append(id)
        else:
            count = self._take_array("the fields of an entry")
            if count & 1:
                raise decode_errors.unexpected_reply("names and values in turn", "an odd number of fields")
            fields = [self._take_bulk("a field") for _ in range(count)]
            events = add_entry(batch, id, fields, (stream, acknowledge))
        if parts == 4:
            idle = self._take_integer("milliseconds of being idle")
            deliveries = self._take_integer("a number of deliveries")
            for event in events:
                event._waited = (idle, deliveries)

    def peek_null(self) -> bool:
        """Whether the next element is null: ``_``, ``$-1`` or ``*-1``."""
        marker = self.next_marker()
        return marker == b"_" or (marker in b"$*" and self._reply[self._at + 1 : self._at + 3] == b"-1")

    def _take_array(self, expected: str) -> int:
        if self.next_marker() != b"*":
            raise self._unexpected(expected)
        count = length_of(self._line())
        if count < 0:
            raise decode_errors.unexpected_reply(expected, "an array without a length")
        return count

    def _take_bulk(self, expected: str) -> bytes:
        if self._reply[self._at] != 0x24:
            raise self._unexpected(expected)
        length = length_of(self._line())
        if length < 0:
            raise decode_errors.unexpected_reply(expected, "a string without a length")
        return self._bytes(length)

    def _take_integer(self, expected: str) -> int:
        if self.next_marker() != b":":
            raise self._unexpected(expected)
        return scalars.integer(self._line()[1:])

    def _take_id(self) -> str:
        return checked_id(self._take_bulk("the ID of an entry"))

    def _unexpected(self, expected: str) -> Exception:
        return decode_errors.unexpected_reply(expected, self.value())


def add_entry(batch: EventBatch, id: str, fields: list[bytes], origin: tuple[str, Acknowledge | None]) -> list[Event]:
    """Add the event or the events of an entry to a batch. Returns them."""
    if len(fields) >= 4 and fields[0] == PACKED_FIELD_BYTES:
        events = split_entry(id, fields, origin)
        batch.extra += len(events) - 1
    else:
        events = [new_event(id, fields, origin)]
    batch.events += events
    return events


def checked_id(text: bytes) -> str:
    """Return an ID, ``<milliseconds>-<sequence>`` of two 64-bit numbers, as a str without leading zeros.

    Raises:
        ProtocolError: if it is not an ID.
    """
    match = _ID.fullmatch(text)
    if match is None:
        raise decode_errors.not_an_id(text)
    milliseconds, sequence = map(int, match.groups())
    if milliseconds > _LARGEST or sequence > _LARGEST:
        raise decode_errors.not_an_id(text)
    return f"{milliseconds}-{sequence}"
