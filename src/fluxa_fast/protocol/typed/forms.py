"""The forms that values of a type have on the wire. They tell which member of a union was written.

A form is made of shapes, any of which a value may have. Shapes refer to nodes, whose forms may not be known yet while a
type is read that refers to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .nodes import Node

__all__ = ["ANYTHING", "Anything", "Array", "Form", "Map", "Record", "Scalar", "holds", "kinds", "overlap", "scalar"]


@dataclass(frozen=True, slots=True, eq=False)
class Anything:
    """A value of any type."""


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A value without parts.

    Attributes:
        kind: the type of the decoded value.
        values: all values there are; None: any.
        test: whether a value has the text that the type is written as; None: any text.
        origin: the type that has this test.
    """

    kind: type
    values: frozenset[Any] | None = None
    test: Callable[[Any], bool] | None = None
    origin: type | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """An array of items of one type, or of one type for each item.

    Attributes:
        item: the type of all items; None: `items` has a type for each.
        build: makes the value of the list.
    """

    item: Node | None
    items: Sequence[Node] = ()
    build: Any = list


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A map with keys of one type, and values of one type."""

    key: Node
    item: Node
    build: Any = dict


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A map with certain names.

    Attributes:
        fields: the node of each field, and whether it is always written, by its name on the wire.
    """

    fields: dict[str, tuple[Node, bool]] = field(default_factory=dict)

    @property
    def always(self) -> set[str]:
        return {name for name, (_, always) in self.fields.items() if always}


Shape = Anything | Scalar | Array | Map | Record
Form = tuple[Shape, ...]

ANYTHING: Form = (Anything(),)


def scalar(kind: type, test: Callable[[Any], bool] | None = None, origin: type | None = None) -> Form:
    return (Scalar(kind, None, test, origin),)


def kinds(form: Form) -> Iterable[type | None]:
    """Return the types of decoded values that have a form; None stands for every type."""
    for shape in form:
        if isinstance(shape, Scalar):
            yield shape.kind
        elif isinstance(shape, Array):
            yield list
        else:
            yield None if isinstance(shape, Anything) else dict


# ---- what a value has ---------------------------------------------------------------------------------


def holds(form: Form, value: Any) -> bool:
    """Whether a decoded value has exactly this form."""
    return any(_has(shape, value) for shape in form)


def _has(shape: Shape, value: Any) -> bool:
    if isinstance(shape, Anything):
        return True
    if isinstance(shape, Scalar):
        if type(value) is not shape.kind and not (shape.kind is datetime and isinstance(value, datetime)):
            return False
        return (shape.values is None or value in shape.values) and (shape.test is None or shape.test(value))
    if isinstance(shape, Array):
        if type(value) is not list and type(value) is not tuple:
            return False
        if shape.item is not None:
            form = shape.item.form
            return all(holds(form, item) for item in value)
        return len(value) == len(shape.items) and all(
            holds(node.form, item) for node, item in zip(shape.items, value, strict=True)
        )
    if type(value) is not dict:
        return False
    if isinstance(shape, Map):
        key, item = shape.key.form, shape.item.form
        return all(holds(key, one) and holds(item, other) for one, other in value.items())
    return (
        value.keys() <= shape.fields.keys()
        and shape.always <= value.keys()
        and all(holds(shape.fields[name][0].form, item) for name, item in value.items())
    )


# ---- what two types have in common --------------------------------------------------------------------


def overlap(one: Node, other: Node, seen: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether there may be a value that both types are written as."""
    pair = (id(one), id(other))
    if pair in seen:
        return True
    seen |= {pair}
    return any(_common(left, right, seen) for left in one.form for right in other.form)


def _common(one: Shape, other: Shape, seen: frozenset[tuple[int, int]]) -> bool:
    if isinstance(one, Anything) or isinstance(other, Anything):
        return True
    if isinstance(one, Scalar) and isinstance(other, Scalar):
        return _common_scalars(one, other)
    if isinstance(one, Array) and isinstance(other, Array):
        return _common_arrays(one, other, seen)
    if isinstance(one, Map) and isinstance(other, Map):
        if one.build is not other.build:
            return True  # both may be empty
        return overlap(one.key, other.key, seen) and overlap(one.item, other.item, seen)
    if isinstance(one, Record) and isinstance(other, Record):
        both = one.always | other.always
        if not (both <= one.fields.keys() and both <= other.fields.keys()):
            return False
        return all(overlap(one.fields[name][0], other.fields[name][0], seen) for name in both)
    if isinstance(one, Record) and isinstance(other, Map):
        one, other = other, one
    if isinstance(one, Map) and isinstance(other, Record):
        return _may_be_names(one.key) and all(overlap(one.item, other.fields[name][0], seen) for name in other.always)
    return False


def _may_be_names(key: Node) -> bool:
    return any(kind in (str, None) for kind in kinds(key.form))


def _common_scalars(one: Scalar, other: Scalar) -> bool:
    if one.kind is not other.kind:
        return False
    for values, test in ((one.values, other.test), (other.values, one.test)):
        if values is not None and test is not None:
            return any(map(test, values))
    if one.values is not None and other.values is not None:
        return bool(one.values & other.values)
    # Different types that have a test are never written as the same text.
    return one.test is None or other.test is None or one.origin is other.origin


def _common_arrays(one: Array, other: Array, seen: frozenset[tuple[int, int]]) -> bool:
    if one.item is not None and other.item is not None:
        return one.build is not other.build or overlap(one.item, other.item, seen)
    if one.item is None and other.item is None:
        if len(one.items) != len(other.items):
            return False
        return all(overlap(left, right, seen) for left, right in zip(one.items, other.items, strict=True))
    many, item = (one.items, other.item) if one.item is None else (other.items, one.item)
    assert item is not None
    return all(overlap(node, item, seen) for node in many)
