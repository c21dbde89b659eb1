"""Packs and unpacks with msgpack-python, within the limits of the contract.

What msgpack-python refuses goes through the complete writer and reader (`writing`, `reading`). They handle it, or raise
the error that the contract wants.
"""

from __future__ import annotations

import re
from typing import Any

from msgpack import ExtType, Packer, Timestamp, unpackb

from ..conversions import (
    Default,
    body_too_large,
    extension_of,
    fields_of,
    from_extension,
    replacement_for,
)
from ..limits import MAX_BULK, MAX_DEPTH
from ..wire import TIMESTAMP_EXT
from . import reading, writing


class BodyPacker:
    """Packs one body after the other."""

    __slots__ = ("_default", "_packer")

    def __init__(self, default: Default | None = None) -> None:
        self._default = default
        self._packer = Packer(default=self._replace)

    def pack(self, value: object) -> bytes:
        try:
            packed: bytes = self._packer.pack(value)
        except Exception:
            # Whatever msgpack refused: the complete writer returns the bytes, or raises an error with the path.
            self._packer = Packer(default=self._replace)
            packed = writing.write(value, self._default)
        if len(packed) > MAX_BULK:
            raise body_too_large(len(packed))._located("body")
        if len(packed) > MAX_DEPTH and _may_be_deep(packed) and not _within_depth(unpackb(packed, **_TRUSTED)):
            writing.write(value, self._default)  # raises an error with the path
        return packed

    def _replace(self, value: object) -> object:
        """msgpack-python's hook: return the replacement of a value that it has no type for."""
        for _ in range(2):  # the second time for what the user's hook returned
            extension = extension_of(value)
            if extension is not None:
                code, payload = extension
                if code == TIMESTAMP_EXT:
                    return Timestamp.from_bytes(payload)
                return tuple.__new__(ExtType, extension)
            fields = fields_of(type(value))
            if fields is not None:
                return {wire_name: getattr(value, attribute) for attribute, wire_name in fields}
            value = replacement_for(value, self._default)
        return value


def pack(value: object, default: Default | None = None) -> bytes:
    """Return the msgpack bytes of a value. `default` replaces values that msgpack has no type for."""
    return BodyPacker(default).pack(value)


_LARGE_HEADERS = (b"\xdc", b"\xdd", b"\xde", b"\xdf")  # array 16, array 32, map 16, map 32
_CONTAINERS = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
# Finds timestamps that may have 1 000 000 000 nanoseconds or more, which msgpack-python before 1.2 accepts.
_ODD_TIMES = re.compile(rb"\xd7\xff[\xee-\xff]|\xc7\x0c\xff[\x3b-\xff]")
_TRUSTED_BYTES = 1024 * 1024  # the most memory that msgpack-python may allocate for elements that are only announced
_HARMLESS_BYTES = 360  # in so few bytes, headers can't make it allocate more than that


_TRUSTED: dict[str, Any] = {"strict_map_key": False, "timestamp": 3, "ext_hook": from_extension}


def unpack(data: Any) -> Any:
    """Return the value that msgpack bytes (any contiguous bytes-like) hold."""
    if type(data) is not bytes:
        with memoryview(data) as view:
            data = view.tobytes()
    if len(data) > _HARMLESS_BYTES:
        headers = sum(map(data.count, _LARGE_HEADERS))
        if headers * len(data) * 8 > _TRUSTED_BYTES:
            # msgpack-python allocates room for as many elements as a header announces, for every nested header.
            return reading.read(data)
    if b"\xff" in data and _ODD_TIMES.search(data):
        return reading.read(data)
    try:
        value = unpackb(data, **_TRUSTED)
    except Exception:
        return reading.read(data)
    if len(data) > MAX_DEPTH and _may_be_deep(data) and not _within_depth(value):
        return reading.read(data)
    return value


def _may_be_deep(data: bytes) -> bool:
    """Whether enough bytes could open a container to exceed the depth."""
    return len(data) - len(data.translate(None, _CONTAINERS)) > MAX_DEPTH


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
