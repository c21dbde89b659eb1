"""Appends commands of plain arguments to a buffer for the drop-in: `..compiled.staging`, in pure Python."""

from __future__ import annotations

from typing import Any

from ..limits import MAX_BULK
from ..resp import bulk
from .commands import CommandBuffer


class _NotPlainError(Exception):
    pass


def _argument(value: Any, utf8: bool) -> bytes:
    kind = type(value)
    if kind is str:
        try:
            encoded: bytes = value.encode("utf-8" if utf8 else "ascii")
        except UnicodeEncodeError:
            raise _NotPlainError from None
    elif kind is bytes:
        encoded = value
    elif kind is int or kind is float:
        try:
            encoded = repr(value).encode()
        except ValueError:  # an int of thousands of digits
            raise _NotPlainError from None
    else:
        raise _NotPlainError
    if len(encoded) > MAX_BULK:
        raise _NotPlainError
    return bulk(encoded)


def stage_command(out: CommandBuffer, arguments: tuple[Any, ...], utf8: bool) -> bool:
    """Append a command of plain arguments. If one of them is not plain, append nothing and return False."""
    try:
        pieces = [_argument(value, utf8) for value in arguments]
    except _NotPlainError:
        return False
    out._append(b"*%d\r\n%b" % (len(pieces), b"".join(pieces)), 1)
    return True


def stage_entry(
    out: CommandBuffer, name: Any, options: bytes, option_count: int, id: Any, fields: dict[Any, Any], utf8: bool
) -> bool:
    """Append an XADD. `options` is the RESP of the `option_count` arguments between the name and the ID.

    If the name, the ID or a field is not plain, append nothing and return False.
    """
    try:
        pieces = [_argument(name, utf8), options, _argument(id, utf8)]
        pieces += [_argument(part, utf8) for field in fields.items() for part in field]
    except _NotPlainError:
        return False
    count = 3 + option_count + 2 * len(fields)
    out._append(b"*%d\r\n$4\r\nXADD\r\n%b" % (count, b"".join(pieces)), 1)
    return True


def same_objects(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    """True if both dicts have the same objects as keys and as values, in the same order."""
    return [*map(id, one), *map(id, one.values())] == [*map(id, other), *map(id, other.values())]
