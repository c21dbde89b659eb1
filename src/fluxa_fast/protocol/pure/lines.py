"""Reads stream replies whose entries are alike by their lines: a few calls for the whole reply, and none per byte.

Entries are alike if each has the same number of fields, and the body comes first. No value may have a line end in it.
Most replies are like that. The others are left to the other readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

from ..wire import BODY_FIELD_BYTES, BODY_FIELD_RESP
from .decoding import ORDINARY_IDS

__all__ = ["Entries", "read_alike"]

# The beginning of a reply about one stream, up to the stream's name.
_STREAM = re.compile(rb"(?:\*1\r\n\*2|%1)\r\n\$(\d{1,5})\r\n")
# What follows the name: the number of entries, and the first one up to its body, with the number of its fields.
_FIRST_ENTRY = re.compile(
    rb"\r\n\*([1-9]\d{0,6})\r\n\*2\r\n\$\d\d?\r\n[0-9-]+\r\n\*(\d\d?)\r\n" + re.escape(BODY_FIELD_RESP)
)

_BODY_HEADER = b"$%d" % len(BODY_FIELD_BYTES)
_LINES = 4  # of an entry, in front of its fields: of an array, an ID, and an array of fields
_MOST_HEADERS = 4096  # that are kept


class Entries(NamedTuple):
    """The entries of a reply.

    Attributes:
        stream: they are of.
        ids: of the entries, a line each.
        bodies: of the entries.
        tag_fields: of each entry, the names and values of its other fields in turn.
        end: of the reply, in the buffer.
    """

    stream: str
    ids: str
    bodies: list[bytes]
    tag_fields: Iterable[Sequence[bytes]]
    end: int


class _Headers(dict[int, bytes]):
    """The line in front of a bulk string, by its length."""

    def __missing__(self, length: int) -> bytes:
        header = b"$%d" % length
        if len(self) < _MOST_HEADERS:
            self[length] = header
        return header


_HEADERS = _Headers()


def read_alike(buffer: bytearray, begin: int, end: int) -> Entries | None:
    """Read the reply to XREADGROUP or XREAD that begins at `begin`, if it has arrived, and its entries are alike."""
    stream = _STREAM.match(buffer, begin, end)
    if stream is None:
        return None
    name_end = stream.end() + int(stream[1])
    first = _FIRST_ENTRY.match(buffer, name_end, end)
    if first is None:
        return None
    count, fields = int(first[1]), int(first[2])
    lines_each = _LINES + 2 * fields
    entries_begin = first.end(1) + 2
    with memoryview(buffer) as view:
        name = view[stream.end() : name_end].tobytes()
        lines = view[entries_begin:end].tobytes().split(b"\r\n", count * lines_each)
    if len(lines) <= count * lines_each or fields & 1:
        return None
    rest = lines.pop()
    columns = [lines[column::lines_each] for column in range(lines_each)]
    ids = b"\n".join(columns[2])
    alike = (
        columns[0].count(b"*2") == columns[3].count(b"*%d" % fields) == count
        and columns[4].count(_BODY_HEADER) == columns[5].count(BODY_FIELD_BYTES) == count
        and all(map(_told, columns[1:2] + columns[6::2], columns[2:3] + columns[7::2]))
    )
    if not (alike and ORDINARY_IDS.fullmatch(ids)):
        return None
    return Entries(
        name.decode("utf-8", "surrogateescape"),
        ids.decode(),
        columns[7],
        zip(*columns[9::2], strict=True) if fields > 2 else repeat(()),
        end - len(rest),
    )


def _told(headers: list[bytes], values: list[bytes]) -> bool:
    """Whether the headers tell the lengths of the values."""
    lengths = list(map(len, values))
    if headers.count(headers[0]) == len(headers):
        return lengths.count(lengths[0]) == len(lengths) and headers[0] == _HEADERS[lengths[0]]
    return headers == list(map(_HEADERS.__getitem__, lengths))
