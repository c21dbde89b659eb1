"""Types of arrays and maps: list, set, tuple, deque, dict, OrderedDict, defaultdict, Counter."""

from __future__ import annotations

import collections
import collections.abc
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_origin

from ...errors import SerializationError
from .forms import Array, Map
from .nodes import Converter, Node, Types, at, mismatch

__all__ = ["make_container"]

_LISTS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
    collections.abc.MutableSet: set,
    collections.deque: collections.deque,
}
_MAPPINGS = (
    dict, collections.abc.Mapping, collections.abc.MutableMapping, collections.OrderedDict, collections.defaultdict,
    collections.Counter,
)  # fmt: skip
_ITERABLES = (list, tuple, set, frozenset, collections.deque)


def make_container(types: Types, node: Node) -> bool:
    base: Any = get_origin(node.wanted) or node.wanted
    arguments = get_args(node.wanted)
    if base in _LISTS:
        build = _LISTS[base]
        item = types.node(arguments[0] if arguments else Any)
        node.is_made(_items(build, item, node.name), (Array(item, build=build),), item, is_plain=build is list)
    elif base is tuple and arguments and arguments[-1] is not ...:
        items = [types.node(argument) for argument in arguments]
        node.is_made(_fixed_tuple(items, node.name), (Array(None, items, tuple),), *items)
    elif base is tuple:
        item = types.node(arguments[0] if arguments else Any)
        node.is_made(_items(tuple, item, node.name), (Array(item, build=tuple),), item)
    elif base in _MAPPINGS:
        if base is collections.Counter:
            arguments = (*arguments, int) if arguments else (Any, int)
        key, item = (types.node(argument) for argument in arguments or (Any, Any))
        maker = _mapping_maker(base, item)
        form = (Map(key, item, dict if maker is None else base),)
        node.is_made(_mapping(maker, key, item, node.name), form, key, item, is_plain=maker is None)
    else:
        return False
    return True


def _items(build: Callable[[Any], Any], item: Node, name: str) -> Converter:
    def to_items(value: Any) -> Any:
        if not isinstance(value, _ITERABLES):
            raise mismatch(value, name)
        convert = item.convert
        found: list[Any] = []
        try:
            for one in value:
                found.append(convert(one))
        except SerializationError as error:
            error._inside(value, f"[{len(found)}]")
            raise
        try:
            return found if build is list else build(found)
        except TypeError as error:  # a set of what can't be in one
            raise SerializationError(f"{name} can't hold its items: {error}") from error

    return to_items


def _fixed_tuple(items: list[Node], name: str) -> Converter:
    def to_tuple(value: Any) -> Any:
        if type(value) is not list and type(value) is not tuple:
            raise mismatch(value, name)
        if len(value) != len(items):
            raise SerializationError(f"expected {len(items)} items, not {len(value)}")
        pairs = enumerate(zip(items, value, strict=True))
        return tuple([at(node.convert, one, value, f"[{position}]") for position, (node, one) in pairs])

    return to_tuple


def _mapping_maker(base: Any, item: Node) -> Callable[[dict[Any, Any]], Any] | None:
    """Return the function that makes the mapping of a dict; None if it is a dict."""
    if base is collections.OrderedDict or base is collections.Counter:
        return base
    if base is collections.defaultdict:
        kind = get_origin(item.wanted) or item.wanted
        factory = kind if kind in (int, float, str, list, dict, set, bool, bytes) else None
        return lambda found: collections.defaultdict(factory, found)
    return None


def _mapping(build: Callable[[dict[Any, Any]], Any] | None, key: Node, item: Node, name: str) -> Converter:
    def to_mapping(value: Any) -> Any:
        if not isinstance(value, dict):
            raise mismatch(value, name)
        found = {}
        for one, other in value.items():
            made = at(key.convert, one, value, f" key {one!r}")
            try:
                found[made] = at(item.convert, other, value, f"[{one!r}]")
            except TypeError as error:  # a key that can't be one
                raise SerializationError(f"{name} can't have the key {one!r}: {error}") from error
        return found if build is None else build(found)

    return to_mapping
