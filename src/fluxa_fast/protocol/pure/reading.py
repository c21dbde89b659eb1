"""A complete msgpack reader in Python. It has its own stack, and allocates nothing for what a header announces."""

from __future__ import annotations

import struct
from typing import Any

from .. import decode_errors
from ..conversions import from_extension
from ..limits import MAX_DEPTH

_NUMBERS = {
    0xCA: struct.Struct(">f"),
    0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"),
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}
_SIZES = {1: struct.Struct(">B"), 2: struct.Struct(">H"), 4: struct.Struct(">I")}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NOTHING = object()


class _Container:
    """A list or dict whose elements have not all been read."""

    __slots__ = ("key", "missing", "value")

    def __init__(self, value: list[Any] | dict[Any, Any], missing: int) -> None:
        self.value = value
        self.missing = missing
        self.key: Any = _NOTHING

    def add(self, item: object, begin: int) -> None:
        self.missing -= 1
        if type(self.value) is list:
            self.value.append(item)
        elif self.key is _NOTHING:
            self.key = _hashable(item, begin)
        else:
            self.value[self.key] = item
            self.key = _NOTHING


def read(data: bytes) -> Any:
    """Return the value that `data` holds.

    Raises:
        SerializationError: tells at which byte `data` is not msgpack.
    """
    if not data:
        raise decode_errors.empty()
    at = 0
    owed = 0  # values that open containers still need; each takes a byte at least
    stack: list[tuple[_Container, int]] = []
    while True:
        begin = at
        if stack:
            owed -= 1
        value, count, at = _read_one(data, begin)
        if count >= 0:
            per_element = 1 if type(value) is list else 2
            owed += count * per_element
            if len(stack) >= MAX_DEPTH:
                raise decode_errors.nested_too_deep(begin)
            if owed > len(data) - at:
                raise decode_errors.truncated(begin, owed, len(data) - at)
            if count:
                stack.append((_Container(value, count * per_element), begin))
                continue
        while stack:
            container, container_begin = stack[-1]
            container.add(value, begin)
            if container.missing:
                break
            stack.pop()
            value, begin = container.value, container_begin
        else:
            if at != len(data):
                raise decode_errors.trailing(at, len(data) - at)
            return value


def _read_one(data: bytes, begin: int) -> tuple[Any, int, int]:
    """Read the scalar or the header at `begin`.

    Returns:
        The scalar or an empty container; the number of elements of the container, -1 for a scalar; the next position.
    """
    if begin >= len(data):
        raise decode_errors.truncated(begin, 1, 0)
    marker = data[begin]
    at = begin + 1
    if marker < 0x80:
        return marker, -1, at
    if marker >= 0xE0:
        return marker - 0x100, -1, at
    if marker < 0x90:
        return {}, marker & 0x0F, at
    if marker < 0xA0:
        return [], marker & 0x0F, at
    if marker < 0xC0:
        return _text(data, begin, at, marker & 0x1F)
    if marker in _CONSTANTS:
        return _CONSTANTS[marker], -1, at
    if marker in _NUMBERS:
        number = _NUMBERS[marker]
        return number.unpack(_take(data, begin, at, number.size))[0], -1, at + number.size
    if 0xD9 <= marker <= 0xDB:
        size, at = _size(data, begin, at, 1 << (marker - 0xD9))
        return _text(data, begin, at, size)
    if 0xC4 <= marker <= 0xC6:
        size, at = _size(data, begin, at, 1 << (marker - 0xC4))
        return _take(data, begin, at, size), -1, at + size
    if 0xDC <= marker <= 0xDF:
        size, at = _size(data, begin, at, 2 << (marker & 1))
        return [] if marker < 0xDE else {}, size, at
    if 0xC7 <= marker <= 0xC9:
        size, at = _size(data, begin, at, 1 << (marker - 0xC7))
        return _extension(data, begin, at, size)
    if 0xD4 <= marker <= 0xD8:
        return _extension(data, begin, at, 1 << (marker - 0xD4))
    raise decode_errors.never_used(begin)


def _take(data: bytes, begin: int, at: int, size: int) -> bytes:
    if size > len(data) - at:
        raise decode_errors.truncated(begin, size, len(data) - at)
    return data[at : at + size]


def _size(data: bytes, begin: int, at: int, width: int) -> tuple[int, int]:
    return _SIZES[width].unpack(_take(data, begin, at, width))[0], at + width


def _text(data: bytes, begin: int, at: int, size: int) -> tuple[str, int, int]:
    try:
        return _take(data, begin, at, size).decode(), -1, at + size
    except UnicodeDecodeError as error:
        raise decode_errors.not_utf8(begin, error) from None


def _extension(data: bytes, begin: int, at: int, size: int) -> tuple[object, int, int]:
    taken = _take(data, begin, at, 1 + size)
    (code,) = struct.unpack_from(">b", taken)
    return from_extension(code, taken[1:]), -1, at + 1 + size


def _hashable(key: object, begin: int) -> object:
    """Make a tuple of an array that is a key; refuse a map. No recursion: Python's limit is lower than ours."""
    if type(key) is not list:
        if type(key) is dict:
            raise decode_errors.unhashable_key(begin, key)
        return key
    arrays: list[list[Any]] = [key]
    for array in arrays:
        for item in array:
            if type(item) is list:
                arrays.append(item)
            elif type(item) is dict:
                raise decode_errors.unhashable_key(begin, item)
    tuples: dict[int, tuple[Any, ...]] = {}
    for array in reversed(arrays):
        tuples[id(array)] = tuple([tuples[id(item)] if type(item) is list else item for item in array])
    return tuples[id(key)]
