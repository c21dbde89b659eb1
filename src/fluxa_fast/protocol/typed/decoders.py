"""msgspec's decoders, for types that they read from bytes with the same result: that is faster than in two steps."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any, Literal, get_args, get_origin

from ..conversions import from_extension
from ..msgspec_structs import is_struct
from ..naming import has_wire_names
from .durations import durations_of
from .nodes import Converter, Node, Types
from .records import is_ordinary

__all__ = ["decoder_of"]


def decoder_of(types: Types, node: Node) -> Converter | None:
    """Return the function that makes a value of bytes; None if msgspec is not there, or would do it otherwise.

    Where it raises an exception, the caller decodes the bytes and converts the value: that names what is wrong.
    """
    base = get_origin(node.wanted) or node.wanted
    if is_struct(base):
        if durations_of(node.wanted) is not None:
            return None
    elif not _has_class(node, set()) or not _reads_the_same(node, set()):
        return None
    try:
        import msgspec
    except ImportError:
        return None

    def own(kind: Any, value: Any) -> Any:
        return types.node(kind).convert(value)

    def extension(code: int, data: Any) -> object:
        return from_extension(code, bytes(data))

    decoder: Any = msgspec.msgpack.Decoder(node.wanted, ext_hook=extension, dec_hook=own)
    decode: Converter = decoder.decode
    return decode


def _has_class(node: Node, seen: set[int]) -> bool:
    """Whether a dataclass is in it. Other types are as fast without msgspec."""
    if id(node) in seen:
        return False
    seen.add(id(node))
    return dataclasses.is_dataclass(node.wanted) or any(_has_class(part, seen) for part in node.parts)


_SCALARS = (str, int, float, bool, bytes, None, type(None), uuid.UUID)
_CONTAINERS = (list, dict, set, frozenset, tuple)


def _reads_the_same(node: Node, seen: set[int]) -> bool:
    """Whether msgspec makes the same of all bytes that it takes for a value of the type."""
    if id(node) in seen:
        return True
    seen.add(id(node))
    wanted = node.wanted
    origin = get_origin(wanted)
    if wanted in _SCALARS:
        return True
    if origin is Literal:
        return all(type(one) in (str, int) for one in get_args(wanted))
    if (
        origin in _CONTAINERS
        or len(node.members) == 1
        or (not origin and is_ordinary(wanted) and not has_wire_names(wanted))
    ):
        return bool(node.parts) and all(_reads_the_same(part, seen) for part in node.parts)
    return False
