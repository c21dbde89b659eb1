"""Packs and unpacks with msgpack-python, within the limits of the contract.

What msgpack-python refuses goes through the complete writer and reader (`writing`, `reading`). They handle it, or raise
the error that the contract wants.
"""

from __future__ import annotations

import re
from collections import deque
from datetime import datetime
from typing import Any, NamedTuple

from msgpack import ExtType, Packer, Timestamp, unpackb

from ..conversions import (
    Default,
    as_key,
    extension_of,
    fields_of,
    from_extension,
    replacement_for,
)
from ..encode_errors import body_too_large
from ..limits import MAX_BULK, MAX_DEPTH
from ..wire import TIMESTAMP_EXT
from . import reading, writing


class BodyPacker:
    """Packs one body after the other."""

    __slots__ = ("_answers", "_default", "_levels", "_odd_keys", "_packer", "_replaced")

    def __init__(self, default: Default | None = None) -> None:
        self._default = default
        self._packer = Packer(default=self._replace)
        self._replaced = False  # whether there was a value that msgpack has no type for
        self._levels = 0  # of replacements in this body
        self._odd_keys = False  # whether there may be a key that is not read back as it is
        self._answers: deque[_Answer] = deque()  # of the hook, about this body

    def pack(self, value: object) -> bytes:
        if self._replaced:
            self._replaced = False
            self._levels = 0
            self._odd_keys = False
            self._answers.clear()
        packed: bytes | None
        try:
            packed = self._packer.pack(value)
        except Exception as error:
            # Whatever msgpack refused: the complete writer returns the bytes, or raises an error with the path.
            if isinstance(error, RuntimeError):
                self._answers.clear()  # a hook has changed a dict: let the complete writer see that
            self._packer = Packer(default=self._replace)
            packed = None
        if packed is not None and len(packed) <= MAX_DEPTH and not self._replaced:
            return packed
        if packed is None or self._needs_care(packed):
            packed = writing.write(value, None if self._default is None else self._ask_again)
        if len(packed) > MAX_BULK:
            raise body_too_large(len(packed))._located("body")
        return packed

    def _needs_care(self, packed: bytes) -> bool:
        """Whether the complete writer has to see to something that msgpack-python does not."""
        if self._odd_keys and not _has_readable_keys(packed):
            return True
        if len(packed) + self._levels <= MAX_DEPTH or _containers_in(packed) + self._levels <= MAX_DEPTH:
            return False
        return bool(self._levels) or not _within_depth(unpackb(packed, object_pairs_hook=_flat, **_SHAPE))

    def _replace(self, value: object) -> object:
        """msgpack-python's hook: return the replacement of a value that it has no type for."""
        self._replaced = True
        replaced = False
        while True:
            extension = extension_of(value)
            if extension is not None:
                code, payload = extension
                if code == TIMESTAMP_EXT:
                    self._odd_keys = self._odd_keys or type(value) is not datetime
                    return Timestamp.from_bytes(payload)
                return tuple.__new__(ExtType, extension)
            self._odd_keys = True
            fields = fields_of(type(value))
            if fields is not None:
                return {wire_name: getattr(value, attribute) for attribute, wire_name in fields}
            if replaced:
                return value
            value, levels = replacement_for(value, None if self._default is None else self._ask)
            self._levels += levels
            replaced = True

    def _ask(self, value: object) -> object:
        """Ask the hook, and keep its answer for the case that the complete writer needs it."""
        assert self._default is not None
        try:
            answer = self._default(value)
        except Exception as error:
            self._answers.append(_Answer(value, None, error))
            raise
        self._answers.append(_Answer(value, answer, None))
        return answer

    def _ask_again(self, value: object) -> object:
        """Return the hook's answer about this value. It is asked only if it was not asked before."""
        assert self._default is not None
        if not self._answers or self._answers[0].value is not value:
            return self._default(value)
        known = self._answers.popleft()
        if known.error is not None:
            raise known.error
        return known.answer


class _Answer(NamedTuple):
    value: object
    answer: object
    error: Exception | None


def pack(value: object, default: Default | None = None) -> bytes:
    """Return the msgpack bytes of a value. `default` replaces values that msgpack has no type for."""
    return BodyPacker(default).pack(value)


_LARGE_HEADERS = (b"\xdc", b"\xdd", b"\xde", b"\xdf")  # array 16, array 32, map 16, map 32
_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
# Finds timestamps that may have 1 000 000 000 nanoseconds or more, which msgpack-python before 1.2 accepts.
_ODD_TIMES = re.compile(rb"\xd7\xff[\xee-\xff]|\xc7\x0c\xff[\x3b-\xff]")
_TRUSTED_BYTES = 1024 * 1024  # the most memory that msgpack-python may allocate for elements that are only announced
_HARMLESS_BYTES = 360  # in so few bytes, headers can't make it allocate more than that, and nothing is nested too deep


_TRUSTED: dict[str, Any] = {"strict_map_key": False, "timestamp": 3, "ext_hook": from_extension}


def unpack(data: Any) -> Any:
    """Return the value that msgpack bytes (any contiguous bytes-like) hold."""
    if type(data) is bytes and len(data) <= _HARMLESS_BYTES and 0xFF not in data:  # so there is no timestamp
        try:
            return unpackb(data, strict_map_key=False, ext_hook=from_extension)
        except Exception:
            return reading.read(data)
    return _unpack_with_care(data)


def _unpack_with_care(data: Any) -> Any:
    if type(data) is not bytes:
        with memoryview(data) as view:
            data = view.tobytes()
    if len(data) > _HARMLESS_BYTES:
        headers = sum(map(data.count, _LARGE_HEADERS))
        if headers * len(data) * 8 > _TRUSTED_BYTES:
            # msgpack-python allocates room for as many elements as a header announces, for every nested header.
            return reading.read(data)
    if 0xFF in data and _ODD_TIMES.search(data):
        return reading.read(data)
    try:
        value = unpackb(data, **_TRUSTED)
    except Exception:
        return reading.read(data)
    if len(data) > MAX_DEPTH and _containers_in(data) > MAX_DEPTH and not _within_depth(value):
        return reading.read(data)
    return value


def unpack_array(data: bytes, longest: int) -> list[Any] | None:
    """Return the values of an array whose headers tell the truth; None: each of them has to be read by itself.

    Args:
        data: the msgpack of the array, which was walked over: so no header in it announces more than there is.
        longest: bytes of the longest value. In few bytes, values can't be nested too deep.
    """
    if longest > MAX_DEPTH or (0xFF in data and _ODD_TIMES.search(data)):
        return None
    try:
        values: list[Any] = unpackb(data, **_TRUSTED)
    except Exception:  # one of them is poison
        return None
    return values


def _containers_in(data: bytes) -> int:
    """Return the number of bytes that could open a container."""
    return len(data) - len(data.translate(None, _CONTAINERS))


# Reads the shape only: no value in it can be refused.
_SHAPE: dict[str, Any] = {"strict_map_key": False, "timestamp": 0, "raw": True, "ext_hook": lambda code, payload: None}


def _flat(pairs: list[tuple[object, object]]) -> list[object]:
    return [part for pair in pairs for part in pair]


def _has_readable_keys(packed: bytes) -> bool:
    """Whether no map has a key that can't be a key, or two keys that are equal."""

    def check(pairs: list[tuple[Any, Any]]) -> dict[object, object]:
        if len({as_key(key, key) for key, _ in pairs}) != len(pairs):
            raise ValueError
        return {}

    try:
        unpackb(packed, object_pairs_hook=check, **{**_TRUSTED, "strict_map_key": False})
    except Exception:
        return False
    return True


def _within_depth(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if type(item) is list:
                below += item
            elif type(item) is dict:
                below += item.values()
        if not below:
            return True
        level = below
    return not any(type(item) in (list, dict) for item in level)
