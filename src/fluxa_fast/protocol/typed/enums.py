"""Enums and Literal: a member is written as its value, and found by it."""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Iterable
from typing import Any

from ...errors import SerializationError
from .forms import ANYTHING, Form, Scalar, Shape
from .nodes import Node, Types

__all__ = ["make_enum"]

_SCALARS = (str, int, float, bool, bytes, type(None))


def make_enum(types: Types, node: Node) -> bool:
    wanted = node.wanted
    if typing.get_origin(wanted) is typing.Literal:
        members = typing.get_args(wanted)
        told = f"expected one of {members!r}, not {{!r}}"
        found = _by_written(members)
        node.is_made(_finder(found, told, _refuse), _form(found), is_plain=not _has_enums(members))
    elif isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        found = _by_written(wanted)
        convert = _finder(found, f"{{!r}} is not a value of {wanted.__qualname__}", wanted)
        # The members of a Flag are combined, so there are more values than members.
        form = tuple(_all_values(_form(found))) if issubclass(wanted, enum.Flag) else _form(found)
        node.is_made(_or_member(wanted, convert), form)
    else:
        return False
    return True


def _has_enums(members: Iterable[Any]) -> bool:
    return any(isinstance(member, enum.Enum) for member in members)


def _refuse(value: Any) -> Any:
    raise ValueError


def _by_written(members: Iterable[Any]) -> dict[tuple[type, Any], Any]:
    """Return the members by type and value of what they are written as."""
    found: dict[tuple[type, Any], Any] = {}
    for member in members:
        written = _written(member)
        found.setdefault((type(written), written), member)
    return found


def _written(member: Any) -> Any:
    value = member.value if isinstance(member, enum.Enum) else member
    if type(value) in _SCALARS:
        return value
    from ..pure.msgpack import pack, unpack

    try:
        return _hashable(unpack(pack(value)))
    except SerializationError:  # a hook writes it; the enum itself may know what that is
        return member


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return tuple((key, _hashable(item)) for key, item in value.items()) if isinstance(value, dict) else value


def _finder(found: dict[tuple[type, Any], Any], told: str, otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the converter. `otherwise` is asked about values that no member is written as."""

    def find(value: Any) -> Any:
        try:
            key = _hashable(value)
            return found[type(key), key]
        except (KeyError, TypeError):
            pass
        try:
            return otherwise(value)
        except Exception as error:
            cause = None if isinstance(error, ValueError) else error
            raise SerializationError(told.format(value)) from cause

    return find


def _or_member(wanted: type, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def to_member(value: Any) -> Any:
        return value if isinstance(value, wanted) else convert(value)

    return to_member


def _form(found: dict[tuple[type, Any], Any]) -> Form:
    """Return a shape for each type of values."""
    if any(kind not in _SCALARS for kind, _ in found):
        return ANYTHING
    values: dict[type, set[Any]] = {}
    for kind, written in found:
        values.setdefault(kind, set()).add(written)
    return tuple(Scalar(kind, frozenset(written)) for kind, written in values.items())


def _all_values(form: Form) -> Iterable[Shape]:
    return (Scalar(shape.kind) if isinstance(shape, Scalar) else shape for shape in form)
