"""An incremental reader of RESP2 and RESP3, and the replies to pipelines of XADDs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...errors import ProtocolError
from .. import decode_errors
from ..entry_ids import is_id
from ..interface import INCOMPLETE, Acknowledge, Acknowledges, ErrorReply, EventBatch, Incomplete
from ..limits import KEEP_BUFFER
from . import hiredis_entries
from .decoding import ORDINARY_IDS, Decoder, checked_id
from .events import new_events
from .hiredis_entries import NotForHiredisError, Shortcut
from .lines import read_alike
from .scanning import Scanner
from .small_replies import read_small

_RECEIVE = 64 * 1024  # bytes: the least room of a receive

_Decode = Callable[[Decoder, EventBatch, Acknowledge | None], None]
_FromHiredis = Callable[[Any, Acknowledge | None], EventBatch]


class ReplyReader:
    """`..interface.ReplyReader`, in pure Python."""

    __slots__ = ("_begin", "_broken", "_buffer", "_end", "_scanner", "_shortcut")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.reset()

    def reset(self) -> None:
        self._begin = self._end = 0
        self._broken = False
        self._start_reply()

    def _start_reply(self) -> None:
        self._scanner = Scanner(self._begin)
        self._shortcut: Shortcut | None = None

    # ---- receiving ----

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        self._make_room(sizehint if sizehint > 0 else _RECEIVE)
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        if not 0 <= nbytes <= len(self._buffer) - self._end:
            raise ValueError("more bytes than get_buffer() had room for")
        self._end += nbytes

    def feed(self, received: Any) -> None:
        with memoryview(received) as view, view.cast("B") as octets:
            self._make_room(len(octets))
            self._buffer[self._end : self._end + len(octets)] = octets
            self._end += len(octets)

    def _make_room(self, wanted: int) -> None:
        if len(self._buffer) - self._end >= wanted:
            return
        try:
            if self._begin:
                del self._buffer[: self._begin]
                self._scanner.moved(self._begin)
                if self._shortcut:
                    self._shortcut.moved(self._begin)
                self._end -= self._begin
                self._begin = 0
            capacity = max(len(self._buffer), _RECEIVE)
            while capacity - self._end < wanted:
                capacity *= 2
            self._buffer.extend(bytes(capacity - len(self._buffer)))
        except BufferError:
            raise BufferError("the reader can't make room while a view of it is held") from None

    @property
    def unread(self) -> int:
        return self._end - self._begin

    @property
    def capacity(self) -> int:
        return len(self._buffer)

    # ---- reading ----

    def _ready(self) -> bool:
        """True if the reply at `_begin` has arrived in full. Skips pushes."""
        if self._broken:
            raise decode_errors.reader_broken()
        self._shortcut = None
        try:
            while self._begin < self._end and self._scanner.scan(self._buffer, self._end):
                if self._buffer[self._begin] != 0x3E:
                    return True
                self._finish(self._scanner.scanned)
        except ProtocolError:
            self._broken = True
            raise
        return False

    def _finish(self, end: int) -> None:
        """Drop the reply that ends at `end`."""
        self._begin = end
        if self._begin == self._end:
            self._begin = self._end = 0
            if len(self._buffer) > KEEP_BUFFER:
                self._buffer = bytearray()
        self._start_reply()

    def _decode(self, decode: Callable[[Decoder], Any]) -> Any:
        end = self._scanner.scanned
        with memoryview(self._buffer) as view:
            reply = view[self._begin : end].tobytes()
        value: Any
        try:
            value = decode(Decoder(reply))
        except ProtocolError:
            self._broken = True
            raise
        self._finish(end)
        return value

    def read(self) -> object:
        if self._untouched() and not self._broken:
            small = read_small(self._buffer, self._begin, self._end)
            if small is not None:
                value, end = small
                self._finish(end)
                return value
        if not self._ready():
            return INCOMPLETE
        return self._decode(Decoder.value)

    def read_id(self) -> str | ErrorReply | Incomplete:
        reply = self._read_as(is_id, "the ID of an entry")
        return reply.decode("ascii") if type(reply) is bytes else reply

    def read_number(self) -> int | ErrorReply | Incomplete:
        number: int | ErrorReply | Incomplete = self._read_as(_is_number, "a number")
        return number

    def _read_as(self, fits: Callable[[Any], bool], expected: str) -> Any:
        reply = self.read()
        if reply is INCOMPLETE or isinstance(reply, ErrorReply) or fits(reply):
            return reply
        self._broken = True
        raise decode_errors.unexpected_reply(expected, reply)

    def read_streams(self, acknowledge: Acknowledges = None) -> EventBatch | ErrorReply | Incomplete:
        if self._shortcut is None and self._untouched() and not self._broken:
            entries = read_alike(self._buffer, self._begin, self._end)
            if entries is not None:
                own = acknowledge.get(entries.stream) if isinstance(acknowledge, dict) else acknowledge
                batch = EventBatch()
                ids = entries.ids.split("\n")
                batch.events = new_events(ids, entries.bodies, entries.tag_fields, (entries.stream, own))
                self._finish(entries.end)
                return batch
        return self._read_batch(Decoder.streams, hiredis_entries.streams, acknowledge)

    def read_claimed(self, stream: str, acknowledge: Acknowledge | None = None) -> EventBatch | ErrorReply | Incomplete:
        def decode(decoder: Decoder, batch: EventBatch, acknowledge: Acknowledge | None) -> None:
            decoder.claimed(batch, stream, acknowledge)

        def from_hiredis(reply: Any, acknowledge: Acknowledge | None) -> EventBatch:
            return hiredis_entries.claimed(reply, stream, acknowledge)

        return self._read_batch(decode, from_hiredis, acknowledge)

    def read_range(self, stream: str, acknowledge: Acknowledge | None = None) -> EventBatch | ErrorReply | Incomplete:
        def decode(decoder: Decoder, batch: EventBatch, acknowledge: Acknowledge | None) -> None:
            decoder.entries(batch, stream, acknowledge)

        def from_hiredis(reply: Any, acknowledge: Acknowledge | None) -> EventBatch:
            return hiredis_entries.ranged(reply, stream, acknowledge)

        return self._read_batch(decode, from_hiredis, acknowledge)

    def _read_batch(
        self, decode: _Decode, from_hiredis: _FromHiredis, acknowledge: Any
    ) -> EventBatch | ErrorReply | Incomplete:
        if not self._broken and (self._shortcut or self._at_a_beginning()):
            try:
                if self._shortcut is None:
                    self._shortcut = Shortcut(self._begin)
                reply: object = self._shortcut.gets(self._buffer, self._begin, self._end)
                if reply is INCOMPLETE:
                    return INCOMPLETE
                batch = from_hiredis(reply, acknowledge)
            except (NotForHiredisError, ProtocolError, TypeError, ValueError):
                pass  # the complete reader below reads it, or raises the error
            else:
                self._finish(self._end)
                return batch
        if not self._ready():
            return INCOMPLETE
        decoded: EventBatch | ErrorReply = self._decode(partial(_batch, decode, acknowledge))
        return decoded

    def _untouched(self) -> bool:
        return self._scanner.untouched and self._scanner.scanned == self._begin

    def _at_a_beginning(self) -> bool:
        return self._untouched() and Shortcut.possible(self._buffer, self._begin, self._end)


def _is_number(reply: Any) -> bool:
    return type(reply) is int


def _batch(decode: _Decode, acknowledge: Acknowledge | None, decoder: Decoder) -> EventBatch | ErrorReply:
    if decoder.next_marker() in b"-!":
        error: ErrorReply = decoder.value()
        return error
    batch = EventBatch()
    if decoder.peek_null():
        decoder.value()
    else:
        decode(decoder, batch, acknowledge)
        if batch.extra:
            batch.size = decoder.size
    return batch


class Confirmations:
    """`..interface.Confirmations`, in pure Python."""

    __slots__ = ("_ids", "errors", "expected", "received")

    def __init__(self, expected: int) -> None:
        self.expected: int = expected
        self.received: int = 0
        self.errors: list[tuple[int, str]] = []
        self._ids: list[bytes] = []  # each item has one ID or more, a line each; an empty line is null

    def take(self, reader: ReplyReader) -> bool:
        while self.received < self.expected:
            if not self._take_many(reader) and not self._take_one(reader):
                return False
        return True

    def _take_many(self, reader: ReplyReader) -> bool:
        """Take the replies that have arrived, if all of them are IDs of entries. Returns whether they were taken."""
        if reader._broken or not reader._at_a_beginning() or reader._buffer[reader._begin] != 0x24:
            return False
        with memoryview(reader._buffer) as view:
            received = view[reader._begin : reader._end].tobytes()
        lines = received.split(b"\r\n")
        count = min((len(lines) - 1) // 2, self.expected - self.received)
        headers, ids = lines[: 2 * count : 2], lines[1 : 2 * count : 2]
        if not count or [b"$%d" % len(id) for id in ids] != headers:
            return False
        joined = b"\n".join(ids)
        if not ORDINARY_IDS.fullmatch(joined) or received.count(b"\n") != len(lines) - 1:
            return False
        self._ids.append(joined)
        self.received += count
        reader._finish(reader._begin + sum(map(len, headers)) + sum(map(len, ids)) + 4 * count)
        return True

    def _take_one(self, reader: ReplyReader) -> bool:
        if not reader._ready():
            return False
        bulk = reader._buffer[reader._begin] == 0x24 and reader._buffer[reader._begin + 1] != 0x3F  # $, not $?
        try:
            reply = reader._decode(Decoder.value)
            if isinstance(reply, ErrorReply):
                self.errors.append((self.received, reply.message))
            elif type(reply) is bytes and bulk:
                self._ids.append(checked_id(reply).encode())
            elif reply is None:
                self._ids.append(b"")
            else:
                raise decode_errors.unexpected_reply("the ID of an entry", reply)
        except ProtocolError:
            reader._broken = True
            raise
        self.received += 1
        return True

    def ids(self) -> list[str | None]:
        if not self._ids:
            return []
        return [id.decode("utf-8", "surrogateescape") or None for id in b"\n".join(self._ids).split(b"\n")]
