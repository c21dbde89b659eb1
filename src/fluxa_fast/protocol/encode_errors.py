"""The errors for values that can't be written. Both implementations raise these, with the same words."""

from __future__ import annotations

import reprlib
from typing import Any

from ..errors import SerializationError
from .limits import MAX_BULK, MAX_DEPTH
from .wire import BODY_FIELD, RESERVED_PREFIX

_short = reprlib.Repr()
_short.maxother = _short.maxstring = _short.maxlong = 40


def short(value: object) -> str:
    """Return a repr for an error message: it is short, and never raises."""
    try:
        return _short.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def named(value: object) -> str:
    """Return how an error names a value by its type."""
    return f"a value of type {type(value).__qualname__}"


def name_of(wanted: Any) -> str:
    """Return how an error names a type."""
    return getattr(wanted, "__qualname__", None) or str(wanted)


def described(error: Exception) -> str:
    """Return an exception's type and text, for the text of another error."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
    return SerializationError(f"field {attribute!r} of {type(value).__qualname__} can't be read: {described(error)}")


def value_failed(value: object, error: Exception) -> SerializationError:
    """Return the error for an exception of a value's own code, such as a property or a time zone."""
    return SerializationError(f"{type(value).__qualname__} can't be written: it raised {described(error)}")


def key_is_a_map(key: object) -> SerializationError:
    return SerializationError(
        f"the key {short(key)} is written as a map, which can't be read back as a key; write it as str or tuple"
    )


def keys_are_equal(key: object) -> SerializationError:
    return SerializationError(f"the key {short(key)} is written as another key of the same dict is: one would be lost")


def body_too_large(size: int) -> SerializationError:
    return SerializationError(f"{size} bytes are more than the {MAX_BULK} that a Redis string can hold")


def empty_event() -> SerializationError:
    return SerializationError("an event needs a body or at least one tag: None without tags has nothing to write")


def refused_tag(tag: object, value: object, error: UnicodeEncodeError | None = None) -> SerializationError:
    """Return the error for a tag that can't be written."""
    step = f"tags[{short(tag)}]"
    if error is not None:
        return SerializationError(surrogates(error).reason, step)
    for part, text in (("name", tag), ("value", value)):
        if not isinstance(text, str):
            kind = type(text).__qualname__
            return SerializationError(f"a tag's {part} is a str, not {kind}; use str() on it", step)
    if str(tag).startswith(RESERVED_PREFIX):
        return SerializationError(
            f"names that begin with {RESERVED_PREFIX!r} are fluxa_fast's own; choose another name for this tag", step
        )
    if tag != BODY_FIELD:
        return SerializationError(f"a tag's value has more than the {MAX_BULK} bytes that Redis holds", step)
    return SerializationError(
        f"the name {BODY_FIELD!r} is taken by the event's body; choose another name for this tag", step
    )


def in_use() -> SerializationError:
    return SerializationError(
        "the buffer is being written to: neither a default hook nor the bodies of publish_many use it"
    )


def locate_in_many(error: SerializationError, index: int) -> None:
    """Add to an error which of many bodies could not be written."""
    if error.path.startswith("body") or not error.path:
        error.path = f"bodies[{index}]{error.path[4:]}"


def not_a_time(value: object) -> SerializationError:
    return SerializationError(f"{short(value)} is not a time; write None where there is none")
