"""Converts decoded values to the types that a caller asks for.

msgspec and pydantic build their own classes. This module converts to all other types without a library: dataclasses,
attrs classes, TypedDict, NamedTuple, unions and the built-in containers; `typed_scalars` has the scalars.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from ..errors import SerializationError
from .naming import wire_name_of
from .typed_scalars import SCALARS, Converter, enumeration, exactly, literal, mismatch, name_of

__all__ = ["Reader", "checker", "reader"]

_UNIONS = (typing.Union, types.UnionType)


class Reader(NamedTuple):
    """Reads the body of an event as a certain type.

    Attributes:
        from_bytes: converts msgpack bytes, if the type's library can do that directly; else None.
        from_value: converts the decoded value.
    """

    from_bytes: Converter | None
    from_value: Converter


def _reader(wanted: Any) -> Reader:
    converter = _cached(wanted)
    base = get_origin(wanted) or wanted
    return Reader(_msgspec_decoder(wanted) if hasattr(base, "__struct_encode_fields__") else None, converter)


_cached_reader = lru_cache(maxsize=1024)(_reader)


def reader(wanted: Any) -> Reader:
    """Return the reader of a type. Readers are cached.

    Raises:
        TypeError: if values can't be converted to `wanted`.
    """
    try:
        return _cached_reader(wanted)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return Reader(None, _converter(wanted))


def checker(wanted: Any) -> tuple[Callable[[Any], None], type | None]:
    """Return the check of a type: a function, and a class whose instances need no check.

    The function raises a SerializationError for a body that is not a `wanted`. If `wanted` is a class, the check is
    isinstance. For other types (TypedDict, unions, list[T]) the check converts the whole body, and the class is None.
    """
    if _is_class(wanted):
        expected = name_of(wanted)

        def check_class(body: Any) -> None:
            if not isinstance(body, wanted):
                raise mismatch(body, expected)

        return check_class, wanted
    classes = tuple(filter(_is_class, get_args(wanted))) if get_origin(wanted) in _UNIONS else ()
    make = reader(wanted).from_value

    def check_form(body: Any) -> None:
        if not isinstance(body, classes):
            make(body)

    return check_form, None


def _is_class(wanted: Any) -> bool:
    """True for a type that isinstance accepts."""
    return isinstance(wanted, type) and not typing.is_typeddict(wanted) and get_origin(wanted) is None


def _converter(wanted: Any) -> Converter:
    """Return the converter to a type."""
    if wanted is Any or wanted is object:
        return lambda value: value
    if wanted is None or wanted is type(None):
        return exactly(type(None), "None")
    origin = get_origin(wanted)
    if origin in _WRAPPERS:
        return _cached(get_args(wanted)[0])
    if origin in _UNIONS:
        return _union(get_args(wanted))
    if origin is typing.Literal:
        return literal(get_args(wanted))
    if isinstance(wanted, typing.NewType):
        return _cached(wanted.__supertype__)
    if isinstance(wanted, typing.TypeVar):
        return lambda value: value
    base = origin or wanted
    if not isinstance(base, type):
        raise TypeError(f"unserialize() can't make {wanted!r}: it is not a type")
    special = _by_library(wanted, base) or _by_class(wanted, base)
    if special is None:
        raise TypeError(f"unserialize() can't make {name_of(wanted)} of a msgpack value")
    return special


_WRAPPERS = {typing.Annotated, typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", typing.Required)}
_cached = lru_cache(maxsize=1024)(_converter)


def _by_library(wanted: Any, base: type) -> Converter | None:
    """Return the converter of a class of msgspec, pydantic or attrs; None for other classes."""
    if hasattr(base, "__struct_encode_fields__"):
        return _msgspec(wanted)
    if hasattr(base, "__pydantic_validator__"):
        return _pydantic(wanted)
    if hasattr(base, "__attrs_attrs__"):
        fields = [
            (wire_name_of(base, one.name), one.name, one.alias or one.name, one.default is _attrs_nothing())
            for one in base.__attrs_attrs__
            if one.init
        ]
        return _record(wanted, base, fields)
    return None


def _by_class(wanted: Any, base: type) -> Converter | None:
    if dataclasses.is_dataclass(base):
        fields = [
            (
                wire_name_of(base, one.name),
                one.name,
                one.name,
                one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
            )
            for one in dataclasses.fields(base)
            if one.init
        ]
        return _record(wanted, base, fields)
    if typing.is_typeddict(base):
        return _typed_dict(base)
    if issubclass(base, tuple) and hasattr(base, "_fields"):
        return _named_tuple(base)
    if issubclass(base, enum.Enum):
        return enumeration(base)
    if base in SCALARS:
        return SCALARS[base]
    return _container(wanted, base)


def _union(members: tuple[Any, ...]) -> Converter:
    may_be_none = type(None) in members
    others = [_cached(member) for member in members if member is not type(None)]
    expected = " or ".join("None" if member is type(None) else name_of(member) for member in members)

    def to_union(value: Any) -> Any:
        if value is None and may_be_none:
            return None
        refusals = []
        for converter in others:
            try:
                return converter(value)
            except SerializationError as error:
                refusals.append(error)
        for refusal in refusals:
            if refusal._steps or len(refusals) == 1:  # an error inside the body tells more than the names of all types
                raise refusal
        raise mismatch(value, expected)

    return to_union


# ---- containers ---------------------------------------------------------------------------------------

_LISTS = {
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
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _container(wanted: Any, base: type) -> Converter | None:
    arguments = get_args(wanted)
    if base in _LISTS:
        return _items(_LISTS[base], _cached(arguments[0] if arguments else Any), name_of(wanted))
    if base is tuple:
        if not arguments or arguments[-1] is ...:
            return _items(tuple, _cached(arguments[0] if arguments else Any), name_of(wanted))
        return _fixed_tuple(wanted, [_cached(argument) for argument in arguments])
    if base in _MAPPINGS:
        key, value = arguments or (Any, Any)
        return _mapping(_cached(key), _cached(value), name_of(wanted))
    return None


def _at(converter: Converter, value: Any, owner: Any, step: str) -> Any:
    try:
        return converter(value)
    except SerializationError as error:
        error._inside(owner, step)
        raise


def _items(build: Callable[[Any], Any], converter: Converter, name: str) -> Converter:
    def to_items(value: Any) -> Any:
        if type(value) is not list and type(value) is not tuple:
            raise mismatch(value, name)
        return build([_at(converter, item, value, f"[{position}]") for position, item in enumerate(value)])

    return to_items


def _fixed_tuple(wanted: Any, converters: list[Converter]) -> Converter:
    def to_tuple(value: Any) -> Any:
        if type(value) is not list and type(value) is not tuple:
            raise mismatch(value, name_of(wanted))
        if len(value) != len(converters):
            raise SerializationError(f"expected {len(converters)} items, not {len(value)}")
        pairs = enumerate(zip(converters, value, strict=True))
        return tuple(_at(converter, item, value, f"[{position}]") for position, (converter, item) in pairs)

    return to_tuple


def _mapping(key: Converter, item: Converter, name: str) -> Converter:
    def to_mapping(value: Any) -> Any:
        if type(value) is not dict:
            raise mismatch(value, name)
        return {
            _at(key, one, value, f" key {one!r}"): _at(item, other, value, f"[{one!r}]") for one, other in value.items()
        }

    return to_mapping


# ---- records ------------------------------------------------------------------------------------------


def _hints(base: type) -> dict[str, Any]:
    return get_type_hints(base, include_extras=True)


def _record(wanted: Any, base: type, fields: list[tuple[str, str, str, bool]]) -> Converter:
    """Return the converter to a class that is called with its fields: (name on the wire, name, argument, required)."""
    parameters = dict(zip(getattr(base, "__parameters__", ()), get_args(wanted), strict=False))
    plan: list[tuple[str, str, bool, Converter]] | None = None

    def to_record(value: Any) -> Any:
        nonlocal plan
        if plan is None:  # not made before the first value, so that a class may refer to itself
            hints = _hints(base)
            plan = [
                (wire_name, argument, required, _cached(parameters.get(hint := hints.get(name, Any), hint)))
                for wire_name, name, argument, required in fields
            ]
        if type(value) is not dict:
            raise mismatch(value, name_of(wanted))
        arguments = {}
        for name, argument, required, converter in plan:
            if name in value:
                arguments[argument] = _at(converter, value[name], value, f".{name}")
            elif required:
                raise SerializationError(f"{name_of(wanted)} needs a field {name!r}, which is not there")
        try:
            return base(**arguments)
        except (ValueError, TypeError) as error:
            raise SerializationError(f"{name_of(wanted)} refused its fields: {error}") from error

    return to_record


def _typed_dict(base: Any) -> Converter:
    plan: dict[str, Converter] | None = None

    def to_typed_dict(value: Any) -> Any:
        nonlocal plan
        if plan is None:
            plan = {name: _cached(hint) for name, hint in _hints(base).items()}
        if type(value) is not dict:
            raise mismatch(value, name_of(base))
        for name in sorted(base.__required_keys__):
            if name not in value:
                raise SerializationError(f"{name_of(base)} needs a key {name!r}, which is not there")
        return {
            name: _at(plan[name], item, value, f"[{name!r}]") if name in plan else item for name, item in value.items()
        }

    return to_typed_dict


def _named_tuple(base: Any) -> Converter:
    """Return the converter to a NamedTuple: of an array, or of a map with the fields' names, as Go writes a struct."""
    plan: list[tuple[str, str, Converter]] | None = None  # (name on the wire, name, converter)

    def to_named_tuple(value: Any) -> Any:
        nonlocal plan
        if plan is None:
            hints = _hints(base)
            plan = [(wire_name_of(base, name), name, _cached(hints.get(name, Any))) for name in base._fields]
        if type(value) is dict:
            given = {
                name: _at(one, value[wire_name], value, f".{wire_name}")
                for wire_name, name, one in plan
                if wire_name in value
            }
        elif type(value) in (list, tuple) and len(value) <= len(plan):
            pairs = zip(plan, value, strict=False)
            given = {name: _at(one, item, value, f".{name}") for (_, name, one), item in pairs}
        else:
            raise mismatch(value, f"{name_of(base)} of {len(plan)} fields")
        try:
            return base(**given)
        except TypeError as error:
            raise SerializationError(f"{name_of(base)} refused its fields: {error}") from error

    return to_named_tuple


# ---- libraries ----------------------------------------------------------------------------------------


def _msgspec(wanted: Any) -> Converter:
    import msgspec

    def to_struct(value: Any) -> Any:
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            raise _of_msgspec(value, error) from error

    return to_struct


def _of_msgspec(value: object, error: Exception) -> SerializationError:
    """Convert ``Expected `int`, got `str` - at `$.items[0].price` ``: the place becomes the path of the error."""
    reason, _, place = str(error).partition(" - at `")
    refusal = SerializationError(reason.replace("`", ""))
    if place:
        refusal._inside(value, place.removesuffix("`").removeprefix("$"))
    return refusal


def _msgspec_decoder(wanted: Any) -> Converter:
    import msgspec

    from .conversions import from_extension

    decoder: Any = msgspec.msgpack.Decoder(wanted, ext_hook=lambda code, data: from_extension(code, bytes(data)))
    decode: Converter = decoder.decode
    return decode


def _pydantic(wanted: Any) -> Converter:
    import pydantic

    adapter = pydantic.TypeAdapter(wanted)

    def to_model(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
            refusal = SerializationError(first["msg"])
            if place:
                refusal._inside(value, place)
            raise refusal from error

    return to_model


def _attrs_nothing() -> object:
    import attrs

    return attrs.NOTHING
