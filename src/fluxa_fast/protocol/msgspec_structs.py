"""How classes of msgspec are written: as msgspec writes them."""

from __future__ import annotations

import typing
from functools import lru_cache
from typing import Any

__all__ = ["is_struct", "plain", "plain_fields"]


def is_struct(cls: Any) -> bool:
    return hasattr(cls, "__struct_encode_fields__")


def plain_fields(cls: Any) -> tuple[tuple[str, str], ...] | None:
    """Return the (attribute, name on the wire) pairs of a Struct that is written as a map of all its fields, or None.

    A Struct with a tag, an array, and a Struct that leaves fields out are not.
    """
    config = cls.__struct_config__
    if config.tag is not None or config.array_like or config.omit_defaults or _may_be_unset(cls):
        return None
    return tuple(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))


def _may_be_unset(cls: Any) -> bool:
    """True if a field may be UNSET."""
    from msgspec import UNSET, UnsetType

    if UNSET in cls.__struct_defaults__:
        return True
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # a name that can't be resolved
        return True
    return any(hint is UnsetType or UnsetType in typing.get_args(hint) for hint in hints.values())


def plain(value: Any) -> object:
    """Return a Struct as the plain value that msgspec writes; its fields are as they are."""
    from msgspec import UNSET

    cls: Any = type(value)
    config = cls.__struct_config__
    fields = [getattr(value, name) for name in cls.__struct_fields__]
    if config.array_like:
        return fields if config.tag is None else [config.tag, *fields]
    written = {} if config.tag is None else {config.tag_field: config.tag}
    defaults = _defaults_of(cls) if config.omit_defaults else {}
    for name, field in zip(cls.__struct_encode_fields__, fields, strict=True):
        if field is not UNSET and not (name in defaults and _is_default(field, defaults[name])):
            written[name] = field
    return written


@lru_cache(maxsize=1024)
def _defaults_of(cls: Any) -> dict[str, object]:
    """Return the default, or the factory of the default, of each field that has one, by its name on the wire."""
    defaults = cls.__struct_defaults__
    names = cls.__struct_encode_fields__[len(cls.__struct_encode_fields__) - len(defaults) :]
    return dict(zip(names, defaults, strict=True))


def _is_default(value: object, default: Any) -> bool:
    """Whether msgspec leaves the value out: it is the default itself, or an empty container that the factory makes."""
    if value is default:
        return True
    factory = getattr(default, "factory", None)
    return factory is type(value) and factory in (list, dict, set) and not value
