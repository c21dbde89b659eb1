"""Converts decoded values to the types that a caller asks for.

msgspec and pydantic build their own classes. All other types need no library: dataclasses, TypedDict, NamedTuple,
unions, enums, scalars and the built-in containers.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

from .containers import make_container
from .decoders import decoder_of
from .enums import make_enum
from .forms import ANYTHING
from .hints import alias_value, is_alias
from .libraries import make_of_library
from .nodes import UNIONS, Converter, Node, Types, check_unions, mismatch
from .records import make_record
from .scalars import make_scalar
from .unions import make_union

if TYPE_CHECKING:
    from ..body_codec import BodyCodec

__all__ = ["Reader", "checker", "reader", "with_hook"]


class Reader(NamedTuple):
    """Reads the body of an event as a certain type.

    Attributes:
        from_bytes: converts msgpack bytes, if the type's library can do that directly; else None.
        from_value: converts the decoded value.
        codec: decodes bodies, and makes the readers of other types; None: there are no hooks for that.
    """

    from_bytes: Converter | None
    from_value: Converter
    codec: BodyCodec | None = None


_WRAPPERS = {
    typing.Annotated, typing.Required, typing.NotRequired, typing.Final, getattr(typing, "ReadOnly", typing.Required),
}  # fmt: skip


def _make_special(types: Types, node: Node) -> bool:
    """Complete the node of a form that is no class: Any, a wrapper, a name for another type, a type variable."""
    wanted = node.wanted
    origin = get_origin(wanted)
    if wanted in (Any, object, typing.Final) or isinstance(wanted, typing.TypeVar):
        node.is_made(lambda value: value, ANYTHING, is_plain=True)
    elif origin in _WRAPPERS:
        node.become(types.node(get_args(wanted)[0]))
    elif isinstance(wanted, typing.NewType):
        node.become(types.node(wanted.__supertype__))
    elif is_alias(wanted) or is_alias(origin):
        node.become(types.node(alias_value(wanted)))
    elif isinstance(wanted, (str, typing.ForwardRef)) or (
        not isinstance(origin or wanted, type) and origin not in (*UNIONS, typing.Literal) and wanted is not None
    ):
        raise TypeError(f"unserialize() can't make {wanted!r}: it is not a type")
    else:
        return False
    return True


_MAKERS = (_make_special, make_scalar, make_union, make_enum, make_of_library, make_record, make_container)
_TYPES = Types(_MAKERS)


def with_hook(decode: Callable[[Any, Any], Any]) -> Types:
    """Return the types of a registry whose hook makes values of the classes that are not known otherwise."""

    def make_by_hook(types: Types, node: Node) -> bool:
        wanted = node.wanted
        base: Any = get_origin(wanted) or wanted

        def convert(value: Any) -> Any:
            return value if isinstance(value, base) else decode(wanted, value)

        node.is_made(convert, ANYTHING)
        return True

    return Types((*_MAKERS, make_by_hook))


def reader(wanted: Any, types: Types | None = None, *, registered: bool = False) -> Reader:
    """Return the reader of a type.

    Args:
        wanted: the type.
        types: of the registry; None: it has no hook for more types.
        registered: whether it is the type of a stream's bodies, and so must not be ambiguous.

    Raises:
        TypeError: if values can't be converted to the type, or if it is ambiguous.
    """
    types = types or _TYPES
    node = types.node(wanted)
    if registered:
        check_unions(node)
    return Reader(decoder_of(types, node), node.convert)


def checker(wanted: Any, types: Types | None = None) -> tuple[Callable[[Any], None], type | None]:
    """Return the check of a type: a function, and a class whose instances need no check.

    The function raises a SerializationError for a body that is not a `wanted`. If `wanted` is a class, the check is
    isinstance. For other types (TypedDict, unions, list[T]) the check converts the whole body, and the class is None.
    """
    node = (types or _TYPES).node(wanted)
    if _is_class(wanted):

        def check_class(body: Any) -> None:
            if not isinstance(body, wanted):
                raise mismatch(body, node.name)

        return check_class, wanted
    classes = tuple(filter(_is_class, get_args(wanted))) if get_origin(wanted) in UNIONS else ()

    def check_form(body: Any) -> None:
        if not isinstance(body, classes):
            node.convert(body)

    return check_form, None


def _is_class(wanted: Any) -> bool:
    """True for a type that isinstance accepts."""
    return isinstance(wanted, type) and not typing.is_typeddict(wanted) and get_origin(wanted) is None
