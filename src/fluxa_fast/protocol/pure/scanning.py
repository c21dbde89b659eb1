"""Finds the end of a RESP reply without decoding it. No byte is looked at twice."""

from __future__ import annotations

from .. import decode_errors
from ..limits import MAX_BULK, MAX_ITEMS, MAX_LINE, MAX_REPLY_DEPTH

# Stand for the number of missing elements of a streamed aggregate of RESP3, which has an end instead of a length.
STREAMED_ITEMS = -1
STREAMED_BYTES = -2

NULL_LENGTH = -1
STREAMED_LENGTH = -3

_MARKERS = b"+-:$*_,(!=#%~|>;."
_SIZED = b"$=!;"
_COUNTED = b"*%~>|"


def length_of(line: bytes) -> int:
    """Return the length in ``$3``, ``*-1`` or ``*?``: a number, NULL_LENGTH or STREAMED_LENGTH."""
    digits = line[1:]
    if digits == b"?":
        return STREAMED_LENGTH
    if digits == b"-1":
        return NULL_LENGTH
    if not digits.isdigit() or len(digits) > 18:
        raise decode_errors.bad_length(line)
    return int(digits)


class Scanner:
    """Walks over the headers of a reply.

    Attributes:
        scanned: the position up to which the reply is well-formed.
    """

    __slots__ = ("_missing", "_searched", "scanned")

    def __init__(self, at: int) -> None:
        self.scanned: int = at
        self._searched = at
        self._missing: list[
            tuple[int, bool]
        ] = []  # of each open aggregate: how many elements it misses, and whether it is an attribute

    def moved(self, distance: int) -> None:
        """Take note that the buffer dropped `distance` bytes at its beginning."""
        self.scanned -= distance
        self._searched -= distance

    @property
    def untouched(self) -> bool:
        """Whether no aggregate is open."""
        return not self._missing

    def scan(self, buffer: bytearray, end: int) -> bool:
        """Continue in `buffer`, which holds `end` received bytes. True if the reply has arrived in full."""
        while True:
            state = self._element(buffer, end)
            if state is not None:
                return state

    def _element(self, buffer: bytearray, end: int) -> bool | None:
        """Pass an element. True: the reply is complete; False: more bytes are needed; None: more elements follow."""
        line = self.scanned
        in_chunks = bool(self._missing) and self._missing[-1][0] == STREAMED_BYTES
        if line < end and ((buffer[line] == 0x3B) != in_chunks or buffer[line] not in _MARKERS):
            raise decode_errors.unknown_type(buffer[line])
        newline = buffer.find(b"\n", max(self._searched, line), end)
        if newline < 0:
            self._searched = end
            if end - line > MAX_LINE:
                raise decode_errors.line_too_long()
            return False
        after = newline + 1
        if after - line < 3 or buffer[newline - 1] != 0x0D:
            raise decode_errors.no_line_end("a line")
        if after - line > MAX_LINE:
            raise decode_errors.line_too_long()
        marker = buffer[line]
        if marker in _SIZED:
            return self._bulk(buffer, end, bytes(buffer[line : newline - 1]), after)
        if marker in _COUNTED:
            return self._aggregate(bytes(buffer[line : newline - 1]), after)
        if marker == 0x2E:  # . ends a streamed aggregate
            if after - line != 3 or not self._missing or self._missing[-1][0] != STREAMED_ITEMS:
                raise decode_errors.misplaced_end()
            self._missing.pop()
        self.scanned = after
        return self._close_element()

    def _bulk(self, buffer: bytearray, end: int, line: bytes, after: int) -> bool | None:
        """``$<length>``, ``=<length>``, ``!<length>``, ``;<length>``, ``$-1``, ``$?``"""
        length = length_of(line)
        if length < 0:
            if line[:1] != b"$":
                raise decode_errors.bad_length(line)
            self.scanned = after
            if length == NULL_LENGTH:
                return self._close_element()
            self._open(STREAMED_BYTES, False)
            return None
        if length > MAX_BULK:
            raise decode_errors.bulk_too_long(length)
        in_chunks = line[:1] == b";"
        if in_chunks and length == 0:
            self.scanned = after
            self._missing.pop()
            return self._close_element()
        if end - after < length + 2:
            return False
        if buffer[after + length : after + length + 2] != b"\r\n":
            raise decode_errors.no_line_end("a bulk string")
        self.scanned = after + length + 2
        return None if in_chunks else self._close_element()

    def _aggregate(self, line: bytes, after: int) -> bool | None:
        """``*<count>``, ``%<count>``, ``~<count>``, ``><count>``, ``|<count>``, ``*-1``, ``*?``"""
        count = length_of(line)
        marker = line[:1]
        if count < 0:
            if (marker != b"*") if count == NULL_LENGTH else (marker in b">|"):
                raise decode_errors.bad_length(line)
            self.scanned = after
            if count == NULL_LENGTH:
                return self._close_element()
            self._open(STREAMED_ITEMS, False)
            return None
        if count > MAX_ITEMS:
            raise decode_errors.too_many_items(count)
        self.scanned = after
        attribute = marker == b"|"
        if count == 0:
            return None if attribute else self._close_element()
        self._open(2 * count if marker in b"%|" else count, attribute)
        return None

    def _open(self, count: int, attribute: bool) -> None:
        if len(self._missing) == MAX_REPLY_DEPTH:
            raise decode_errors.reply_too_deep()
        self._missing.append((count, attribute))

    def _close_element(self) -> bool | None:
        """Count a complete element, and close the aggregates whose last one it was. True if the reply is complete."""
        while self._missing:
            count, attribute = self._missing[-1]
            if count < 0:
                return None
            if count > 1:
                self._missing[-1] = (count - 1, attribute)
                return None
            self._missing.pop()
            if attribute:  # an attribute stands before an element, and does not count as one
                return None
        return True
