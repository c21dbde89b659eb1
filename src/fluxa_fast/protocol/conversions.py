"""Decides how a value is written that msgpack has no type for: as a map of its fields, an extension, or another value.

Both implementations ask this module. So an enum, a dataclass or a datetime is written the same by both, and both refuse
a value with the same words.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from msgpack import ExtType, Timestamp

from ..errors import SerializationError
from . import msgspec_structs, pydantic_models
from .encode_errors import (
    key_is_a_map,
    keys_are_equal,
    naive_datetime,
    named,
    not_a_time,
    short,
    too_deep,
    unsupported,
)
from .limits import MAX_DEPTH
from .naming import wire_name_of
from .standard_forms import nanoseconds, standard_form
from .wire import COMPLEX_EXT, TIMESTAMP_EXT

Default = Callable[[Any], Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


# ---- fields -------------------------------------------------------------------------------------------


def _fields_of(cls: Any) -> tuple[tuple[str, str], ...] | None:
    """Return the (attribute, name on the wire) pairs of a class that is written as a map, or None for other classes.

    Recognises dataclasses and classes of msgspec, attrs and pydantic by their attributes, without importing those.
    """
    if pydantic_models.is_model(cls):
        return pydantic_models.plain_fields(cls)
    if msgspec_structs.is_struct(cls):
        return msgspec_structs.plain_fields(cls)
    if dataclasses.is_dataclass(cls):
        return tuple((field.name, wire_name_of(cls, field.name)) for field in dataclasses.fields(cls))
    if hasattr(cls, "__attrs_attrs__"):
        return tuple((attribute.name, wire_name_of(cls, attribute.name)) for attribute in cls.__attrs_attrs__)
    return None


fields_of: Callable[[Any], tuple[tuple[str, str], ...] | None] = lru_cache(maxsize=1024)(_fields_of)


# ---- extensions ---------------------------------------------------------------------------------------


def extension_of(value: object) -> tuple[int, bytes] | None:
    """Return the msgpack extension (type, payload) that a value is written as, or None if it is no extension.

    Raises:
        SerializationError: for a datetime without a time zone, and for an ExtType of a wrong type or payload.
    """
    if isinstance(value, datetime):
        if type(value) is not datetime and value != value:
            raise not_a_time(value)
        if value.utcoffset() is None:
            raise naive_datetime(value)
        since = datetime.__sub__(value, EPOCH)  # subclasses may return a subclass, or cut
        finer = getattr(value, "nanosecond", 0)  # of pandas' Timestamp, below a microsecond
        return TIMESTAMP_EXT, _timestamp(since // _SECOND, since.microseconds * 1000 + finer)
    if isinstance(value, Timestamp):
        return TIMESTAMP_EXT, _timestamp(value.seconds, value.nanoseconds)
    if isinstance(value, ExtType):
        code, payload = value
        if type(code) is not int or not -128 <= code <= 127:
            raise SerializationError(f"an extension type is a number from -128 to 127, not {short(code)}")
        if not isinstance(payload, bytes):
            raise SerializationError(f"an extension's payload is bytes, not {type(payload).__name__}")
        return code, payload
    if isinstance(value, complex):
        return COMPLEX_EXT, struct.pack(">dd", value.real, value.imag)
    return None


def _timestamp(seconds: int, nanoseconds: int) -> bytes:
    """Return msgpack's timestamp 32, 64 or 96: the shortest that holds the value."""
    if 0 <= seconds < 1 << 34:
        if not nanoseconds and seconds < 1 << 32:
            return struct.pack(">I", seconds)
        return struct.pack(">Q", nanoseconds << 34 | seconds)
    return struct.pack(">Iq", nanoseconds, seconds)


def from_extension(code: int, payload: bytes) -> object:
    """Return the Python value of a msgpack extension: datetime (UTC), complex, or `msgpack.ExtType` for all others.

    A datetime has microseconds, so nanoseconds are cut off. A time that no datetime can hold (before the year 1, or
    after the year 9999) becomes a `msgpack.Timestamp`.
    """
    size = len(payload)
    if code == TIMESTAMP_EXT and size in (4, 8, 12):
        nanoseconds = 0
        if size == 4:
            (seconds,) = struct.unpack(">I", payload)
        elif size == 8:
            (both,) = struct.unpack(">Q", payload)
            seconds, nanoseconds = both & 0x3FFFFFFFF, both >> 34
        else:
            nanoseconds, seconds = struct.unpack(">Iq", payload)
        if nanoseconds > 999_999_999:
            raise SerializationError(f"a timestamp with {nanoseconds} nanoseconds: there are at most 999999999")
        try:
            return EPOCH + timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
        except OverflowError:
            return Timestamp(seconds, nanoseconds)
    if code == COMPLEX_EXT and size in (8, 16):
        return complex(*struct.unpack(">ff" if size == 8 else ">dd", payload))
    # ExtType() refuses the codes below zero. The specification reserves them, but other libraries write them.
    return tuple.__new__(ExtType, (code, payload))


# ---- replacements -------------------------------------------------------------------------------------


def replacement_for(value: object, default: Default | None) -> tuple[object, int]:
    """Return what is written in place of a value that msgpack has no type for, and by how many levels that is deeper.

    An enum becomes its value, a timedelta its nanoseconds, a class of pydantic or msgspec what its library says. The
    hook is asked about all others, once. A standard type has a form for the case that there is no hook, or that the
    hook does not know the type: it raised TypeError, or returned NotImplemented. Every step counts as a level, so no
    chain of replacements is endless.

    Raises:
        SerializationError: if there is no replacement.
    """
    asked = default is None
    for level in range(1, MAX_DEPTH + 1):
        cls: Any = type(value)
        if isinstance(value, enum.Enum):
            value = value.value
        elif (write := _library_form(cls)) is not None:
            value = write(value)
        elif isinstance(value, timedelta):
            value = nanoseconds(value)
        elif not asked:
            assert default is not None
            value = _ask(default, value)
            asked = True
        elif (form := standard_form(cls)) is not None:
            value = form(value)
        elif default is None:
            raise unsupported(value)
        else:
            raise SerializationError(f"the default hook returned {named(value)}, which is not a msgpack type either")
        if isinstance(value, _WRITTEN_AS_THEY_ARE) or fields_of(type(value)) is not None:
            return value, level
    raise too_deep()


_WRITTEN_AS_THEY_ARE = (
    str, int, float, type(None), dict, list, tuple, bytes, bytearray, memoryview, datetime, Timestamp, complex,
)  # fmt: skip


@lru_cache(maxsize=1024)
def _library_form(cls: Any) -> Callable[[Any], object] | None:
    """Return the function that makes plain values of a class of pydantic or msgspec; None for other classes."""
    if pydantic_models.is_model(cls):
        return pydantic_models.plain
    return msgspec_structs.plain if msgspec_structs.is_struct(cls) else None


def _ask(default: Default, value: object) -> object:
    """Return the hook's answer. What the hook does not know comes back as it is, if it has a standard form."""
    try:
        answer = default(value)
    except SerializationError:
        raise
    except Exception as error:
        cls: Any = type(value)
        if isinstance(error, TypeError) and standard_form(cls) is not None:
            return value
        raise SerializationError(
            f"the default hook raised {type(error).__name__} for {named(value)}: {error}"
        ) from error
    return value if answer is NotImplemented else answer


# ---- keys ---------------------------------------------------------------------------------------------

# Keys of these types are read back as they are. Others may become a value that is no key, or that is another key too.
PLAIN_KEYS = (str, int, float, bytes, type(None))


def plain_keys(owner: dict[Any, Any]) -> set[Any]:
    """Return the keys of a dict that are read back as they are."""
    return {key for key in owner if isinstance(key, PLAIN_KEYS)}


def note_key(read_back: object, key: object, others: set[Any]) -> None:
    """Add a key to the keys of its dict, all of them as they are read back.

    Raises:
        SerializationError: if it can't be read back as a key, or not beside the others.
    """
    found = as_key(read_back, key)
    if found in others:
        raise keys_are_equal(key)
    others.add(found)


def as_key(read_back: object, key: object) -> Any:
    """Return a value that was read, as the key of a dict: an array is a tuple."""
    if type(read_back) is list:
        return tuple([as_key(item, key) for item in read_back])
    if type(read_back) is dict:
        raise key_is_a_map(key)
    return read_back
