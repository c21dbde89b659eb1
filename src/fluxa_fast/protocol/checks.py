"""Checks of what `publish` and `publish_many` are given, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..errors import SerializationError
from .encode_errors import refused_tag
from .limits import MAX_BULK
from .wire import BODY_FIELD, RESERVED_PREFIX


def tags_as_dict(tags: object) -> dict[Any, Any]:
    """Return tags that are another mapping than a dict as a dict.

    Raises:
        SerializationError: if they are not a mapping.
    """
    if not isinstance(tags, Mapping):
        raise SerializationError(f"tags are a mapping of str to str, not {type(tags).__qualname__}", "tags")
    return dict(tags.items())


def tag_as_bytes(name: object, value: object) -> tuple[bytes, bytes]:
    """Return the bytes of a tag's name and value.

    Raises:
        SerializationError: if they are no str, or can't be written, or if the name is taken.
    """
    if (
        not isinstance(name, str)
        or not isinstance(value, str)
        or name == BODY_FIELD
        or name.startswith(RESERVED_PREFIX)
    ):
        raise refused_tag(name, value)
    try:
        encoded = str.encode(name), str.encode(value)
    except UnicodeEncodeError as error:
        raise refused_tag(name, value, error) from None
    if len(encoded[1]) > MAX_BULK:
        raise refused_tag(name, value)
    return encoded


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
