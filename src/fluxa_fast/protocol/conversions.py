"""Converts Python values that msgpack has no type for, and makes the errors for values that can't be written.

Both implementations call this module. So an enum, a dataclass or a datetime is written the same by both, and both
refuse a value with the same words.
"""

from __future__ import annotations

import dataclasses
import enum
import reprlib
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from msgpack import ExtType, Timestamp

from ..errors import SerializationError
from .limits import MAX_BULK, MAX_DEPTH
from .naming import wire_name_of
from .wire import BODY_FIELD, COMPLEX_EXT, TIMESTAMP_EXT

Default = Callable[[Any], Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_short = reprlib.Repr()
_short.maxother = _short.maxstring = _short.maxlong = 40


# ---- conversion ---------------------------------------------------------------------------------------


def _fields_of(cls: Any) -> tuple[tuple[str, str], ...] | None:
    """Return the (attribute, name on the wire) pairs of a class that is written as a map, or None for other classes.

    Recognises dataclasses and classes of msgspec, attrs and pydantic by their attributes, without importing those.
    """
    if hasattr(cls, "__pydantic_fields__"):
        return None if _dumps_itself(cls) else tuple(map(_pydantic_name, cls.__pydantic_fields__.items()))
    if hasattr(cls, "__struct_encode_fields__"):  # msgspec.Struct
        if _is_special_struct(cls):
            return None
        return tuple(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
    if dataclasses.is_dataclass(cls):
        return tuple((field.name, wire_name_of(cls, field.name)) for field in dataclasses.fields(cls))
    if hasattr(cls, "__attrs_attrs__"):
        return tuple((attribute.name, wire_name_of(cls, attribute.name)) for attribute in cls.__attrs_attrs__)
    return None


def _pydantic_name(named: tuple[str, Any]) -> tuple[str, str]:
    """Return the attribute and its alias, because pydantic reads the alias as well."""
    name, field = named
    return name, field.serialization_alias or field.alias or name


def _dumps_itself(cls: Any) -> bool:
    """True for a pydantic class that is not written as its fields: it has serialisers, or accepts further fields."""
    decorators = getattr(cls, "__pydantic_decorators__", None)
    written_otherwise = ("field_serializers", "model_serializers", "computed_fields")
    return (
        any(getattr(decorators, kind, None) for kind in written_otherwise)
        or getattr(cls, "__pydantic_root_model__", False)
        or getattr(cls, "model_config", {}).get("extra") == "allow"
    )


def _is_special_struct(cls: Any) -> bool:
    """True for a msgspec.Struct that is written with a tag, as an array, or without its defaults."""
    config = cls.__struct_config__
    return config.tag is not None or config.array_like or config.omit_defaults


def _by_its_library(value: Any) -> object | None:
    """Return a pydantic model or a msgspec.Struct as plain values, or None for a value of another class."""
    cls: Any = type(value)
    if hasattr(cls, "__pydantic_serializer__"):
        return cls.__pydantic_serializer__.to_python(value, by_alias=True)  # type: ignore[no-any-return]
    if hasattr(cls, "__struct_encode_fields__"):
        return _special_struct(value, cls.__struct_config__)
    return None


def _special_struct(value: Any, config: Any) -> object:
    cls = type(value)
    fields = [getattr(value, name) for name in cls.__struct_fields__]
    if config.array_like:
        return fields if config.tag is None else [config.tag, *fields]
    written = dict(zip(cls.__struct_encode_fields__, fields, strict=True))
    if config.omit_defaults:
        for name, default in _defaults_of(cls):
            if written[name] == default and type(written[name]) is type(default):
                del written[name]
    return written if config.tag is None else {config.tag_field: config.tag, **written}


def _defaults_of(cls: Any) -> list[tuple[str, object]]:
    """Return (name on the wire, default) of each field of a msgspec.Struct that has a default. Factories are called."""
    defaults = cls.__struct_defaults__
    names = cls.__struct_encode_fields__[len(cls.__struct_encode_fields__) - len(defaults) :]
    made = [one.factory() if hasattr(one, "factory") else one for one in defaults]
    return list(zip(names, made, strict=True))


fields_of: Callable[[Any], tuple[tuple[str, str], ...] | None] = lru_cache(maxsize=1024)(_fields_of)


def extension_of(value: object) -> tuple[int, bytes] | None:
    """Return the msgpack extension (type, payload) that a value is written as, or None if it is no extension.

    Raises:
        SerializationError: for a datetime without a time zone, and for an ExtType of a wrong type or payload.
    """
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise naive_datetime(value)
        since = value - EPOCH
        return TIMESTAMP_EXT, _timestamp(since // _SECOND, since.microseconds * 1000)
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


def replacement_for(value: object, default: Default | None) -> object:
    """Return what is written in place of a value that msgpack has no type for.

    An enum becomes its value, a timedelta its nanoseconds, a class of pydantic or msgspec what its library says. For
    all others the hook is called, once. What it returns must have a msgpack type, or be an enum or a timedelta.

    Raises:
        SerializationError: if there is no replacement.
    """
    asked = False
    while True:
        if isinstance(value, enum.Enum):
            value = value.value
        elif (written := _by_its_library(value)) is not None:
            return written
        elif isinstance(value, timedelta):  # Go's time.Duration: nanoseconds
            value = (value.days * 86_400 + value.seconds) * 1_000_000_000 + value.microseconds * 1000
        elif asked:
            raise SerializationError(f"the default hook returned {_named(value)}, which is not a msgpack type either")
        elif default is None:
            raise unsupported(value)
        else:
            value = _ask(default, value)
            asked = True
        if isinstance(value, _WRITTEN_AS_THEY_ARE) or fields_of(type(value)) is not None:
            return value


_WRITTEN_AS_THEY_ARE = (
    str, int, float, type(None), dict, list, tuple, bytes, bytearray, memoryview, datetime, Timestamp, complex,
)  # fmt: skip


def _ask(default: Default, value: object) -> object:
    try:
        return default(value)
    except SerializationError:
        raise
    except Exception as error:
        reason = f"the default hook raised {type(error).__name__} for {_named(value)}: {error}"
        raise SerializationError(reason) from error


def _named(value: object) -> str:
    return f"a value of type {type(value).__qualname__}"


# ---- errors -------------------------------------------------------------------------------------------


def short(value: object) -> str:
    """Return a repr for an error message: it is short, and never raises."""
    try:
        return _short.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def key_step(key: object) -> str:
    """Return the step of a path that leads to a mapping's value."""
    return f"[{short(key)}]"


def in_key_step(key: object) -> str:
    """Return the step of a path that leads to a mapping's key."""
    return f" key {short(key)}"


def unsupported(value: object) -> SerializationError:
    name = type(value).__qualname__
    return SerializationError(
        f"{name} is not a msgpack type; convert it first, or give the Registry a default= hook that does"
    )


def int_too_large(value: object) -> SerializationError:
    return SerializationError(
        f"int {short(value)} is outside of msgpack's range -2**63 to 2**64-1; write it as str or bytes"
    )


def naive_datetime(value: object) -> SerializationError:
    return SerializationError(
        f"datetime {short(value)} has no time zone; use one with tzinfo, such as datetime.now(UTC)"
    )


def surrogates(error: UnicodeEncodeError) -> SerializationError:
    return SerializationError(
        f"str {short(error.object)} has a lone surrogate at index {error.start}, which UTF-8 can't hold; "
        "write such text as bytes"
    )


def too_deep() -> SerializationError:
    return SerializationError(f"nested deeper than {MAX_DEPTH} levels")


def changed() -> SerializationError:
    return SerializationError("changed its size while it was being written")


def missing_field(value: object, attribute: str, error: Exception) -> SerializationError:
    return SerializationError(f"field {attribute!r} of {type(value).__qualname__} can't be read: {error}")


def body_too_large(size: int) -> SerializationError:
    return SerializationError(f"{size} bytes are more than the {MAX_BULK} that a Redis string can hold")


def empty_event() -> SerializationError:
    return SerializationError("an event needs a body or at least one tag: None without tags has nothing to write")


def tags_as_dict(tags: object) -> dict[Any, Any]:
    """Return tags that are another mapping than a dict as a dict.

    Raises:
        SerializationError: if they are not a mapping.
    """
    if not isinstance(tags, Mapping):
        raise SerializationError(f"tags are a mapping of str to str, not {type(tags).__qualname__}", "tags")
    return dict(tags.items())


def refused_tag(tag: object, value: object, error: UnicodeEncodeError | None = None) -> SerializationError:
    """Return the error for a tag that can't be written."""
    step = f"tags[{short(tag)}]"
    if error is not None:
        return SerializationError(surrogates(error).reason, step)
    for part, text in (("name", tag), ("value", value)):
        if not isinstance(text, str):
            kind = type(text).__qualname__
            return SerializationError(f"a tag's {part} is a str, not {kind}; use str() on it", step)
    if tag != BODY_FIELD:
        return SerializationError(f"a tag's value has more than the {MAX_BULK} bytes that Redis holds", step)
    return SerializationError(
        f"the name {BODY_FIELD!r} is taken by the event's body; choose another name for this tag", step
    )


def in_use() -> SerializationError:
    return SerializationError(
        "the buffer is being written to: neither a default hook nor the bodies of publish_many use it"
    )


def check_bodies(bodies: object) -> None:
    """Refuse a single body where an iterable of bodies is expected: its letters, keys or fields would become events.

    An object of a class with its own `__iter__` is accepted, unless it is a mapping.

    Raises:
        TypeError: for a str, bytes, a mapping, a NamedTuple, a pydantic model, and for what can't be iterated over.
    """
    cls: Any = type(bodies)
    if _is_one_body(cls):
        name = cls.__qualname__
        raise TypeError(f"publish_many takes an iterable of bodies, not a single {name}: call publish() for one body")


_ONE_BODY = (str, bytes, bytearray, memoryview, Mapping)


@lru_cache(maxsize=1024)
def _is_one_body(cls: Any) -> bool:
    """True also for a class that can't be iterated over."""
    if issubclass(cls, _ONE_BODY):
        return True
    if issubclass(cls, tuple):
        return hasattr(cls, "_fields")
    iterates = getattr(cls, "__iter__", None)
    if iterates is None:
        return not hasattr(cls, "__getitem__")
    return hasattr(cls, "__pydantic_fields__") and getattr(iterates, "__module__", "").startswith("pydantic.")


def locate_in_many(error: SerializationError, index: int) -> None:
    """Add to an error which of many bodies could not be written."""
    if error.path.startswith("body") or not error.path:
        error.path = f"bodies[{index}]{error.path[4:]}"
