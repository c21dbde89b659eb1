"""Types that bodies are read as. A type is looked at once: its node converts values, and knows their forms.

`Types.node` asks one maker after the other until one knows the type. A node is kept before it is complete, so that a
type may refer to itself.
"""

from __future__ import annotations

import threading
import types
import typing
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args, get_origin

from ...errors import SerializationError
from ..encode_errors import name_of
from .forms import ANYTHING, Form, overlap

__all__ = ["UNIONS", "Converter", "Maker", "Node", "Types", "at", "check_unions", "mismatch", "refused"]

Converter = Callable[[Any], Any]
UNIONS = (typing.Union, types.UnionType)


class Node:
    """How values of one type are read.

    Attributes:
        wanted: the type.
        name: the type's name in errors.
        convert: makes a value of the type of a decoded value. A value of the type is left as it is.
        form: what values of the type are on the wire.
        is_plain: whether a decoded value of this form is left as it is, in all its parts.
        parts: the types that it is made of.
        members: of a union, without None.
    """

    __slots__ = ("convert", "form", "is_plain", "members", "name", "parts", "wanted")

    def __init__(self, wanted: Any) -> None:
        self.wanted: Any = wanted
        self.name: str = name_of(wanted)
        self.convert: Converter = self._not_made
        self.form: Form = ANYTHING
        self.is_plain: bool = False
        self.parts: tuple[Node, ...] = ()
        self.members: tuple[Node, ...] = ()

    def _not_made(self, value: Any) -> Any:
        """Convert, if `convert` was taken from this node before it was complete."""
        return self.convert(value)

    def is_made(self, convert: Converter, form: Form, *parts: Node, is_plain: bool = False) -> None:
        """Complete the node."""
        self.convert = convert
        self.form = form
        self.parts = parts
        self.is_plain = is_plain and all(part.is_plain for part in parts)

    def become(self, other: Node) -> None:
        """Be another type's node under another name."""
        self.is_made(other.convert, other.form, other)
        self.is_plain = other.is_plain
        self.members = other.members


Maker = Callable[["Types", Node], bool]  # completes a node, if it knows the type


class Types:
    """The nodes of types, each made once.

    Args:
        makers: are asked in this order.
    """

    def __init__(self, makers: tuple[Maker, ...]) -> None:
        self._makers = makers
        self._nodes: dict[Any, Node] = {}
        self._new: list[Any] = []
        self._depth = 0
        self._lock = threading.RLock()

    def node(self, wanted: Any) -> Node:
        """Return the node of a type, and make it if there is none.

        Raises:
            TypeError: if values can't be converted to this type, or to a type in it.
        """
        key = ("members", get_args(wanted)) if get_origin(wanted) in UNIONS else wanted  # unions are equal in any order
        with self._lock:
            with suppress(TypeError):  # it is not hashable
                if (known := self._nodes.get(key)) is not None:
                    return known
            node = Node(wanted)
            with suppress(TypeError):
                self._nodes[key] = node
                self._new.append(key)
            self._depth += 1
            try:
                if not any(make(self, node) for make in self._makers):
                    raise TypeError(f"unserialize() can't make {node.name} of a msgpack value")
            except BaseException:
                while self._new:  # they may refer to what could not be made
                    self._nodes.pop(self._new.pop(), None)
                raise
            finally:
                self._depth -= 1
            if not self._depth:
                self._new.clear()
            return node


def check_unions(node: Node) -> None:
    """Refuse a type with a union, in it or in a part of it, whose members may be written as the same value.

    Raises:
        TypeError: with the two members, and what to add.
    """
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        waiting += one.parts
        for index, left in enumerate(one.members):
            for right in one.members[index + 1 :]:
                if not (left.is_plain and right.is_plain) and overlap(left, right):
                    raise TypeError(
                        f"{one.name} is ambiguous: a body may be read as {left.name} and as {right.name}; give classes "
                        "a field of their own, such as kind: Literal['...'], and wrap other types in such classes"
                    )


# ---- errors -------------------------------------------------------------------------------------------


def mismatch(value: object, expected: str) -> SerializationError:
    return SerializationError(f"expected {expected}, not {type(value).__name__}")


def refused(name: str, error: Exception) -> SerializationError:
    """Return the error for a class that did not take its fields."""
    kind = "" if type(error) in (ValueError, TypeError) else f"{type(error).__name__}: "
    return SerializationError(f"{name} refused its fields: {kind}{error}")


def at(convert: Converter, value: Any, owner: Any, step: str) -> Any:
    """Convert a part of a value. An error gets the step that leads there."""
    try:
        return convert(value)
    except SerializationError as error:
        error._inside(owner, step)
        raise
