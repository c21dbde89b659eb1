"""Reads what consumers get for their acknowledgements: an integer, or a short array of integers and short strings."""

from __future__ import annotations

import re

__all__ = ["read_small"]

_INTEGER = rb":(0|-?[1-9][0-9]{0,17})\r\n"
_BEGINNING = re.compile(rb"%b|\*([1-9])\r\n" % _INTEGER)
_ELEMENT = re.compile(rb"%b|\$([0-9]{1,2})\r\n([^\r\n]*+)\r\n" % _INTEGER)


def read_small(buffer: bytearray, begin: int, end: int) -> tuple[int | list[int | bytes], int] | None:
    """Return the reply that begins at `begin`, and its end; None if it is of another kind, or has not arrived."""
    found = _BEGINNING.match(buffer, begin, end)
    if found is None:
        return None
    if found[1]:
        return int(found[1]), found.end()
    values: list[int | bytes] = []
    for _ in range(int(found[2])):
        found = _ELEMENT.match(buffer, found.end(), end)
        if found is None:
            return None
        if found[1]:
            values.append(int(found[1]))
        elif len(found[3]) == int(found[2]):
            values.append(bytes(found[3]))
        else:
            return None
    return values, found.end()
