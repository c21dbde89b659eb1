"""Classes that are written as a map of their fields: dataclasses, attrs classes, TypedDict; and NamedTuple, an array.

The converter of a class is a function that is made for it. It has the common case in a few lines: all fields are there,
and scalars have their type. All else is for `_Record.convert_slowly`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, get_args, get_origin

from ...errors import SerializationError
from ..naming import wire_name_of
from .forms import Array, Record
from .hints import field_hints
from .nodes import Converter, Node, Types, at, mismatch, refused

__all__ = ["make_record"]


def make_record(types: Types, node: Node) -> bool:
    base: Any = get_origin(node.wanted) or node.wanted
    if not isinstance(base, type):
        return False
    if hasattr(base, "__attrs_attrs__"):
        _make_class(types, node, base, _attrs_fields(base))
    elif dataclasses.is_dataclass(base):
        _make_class(types, node, base, _dataclass_fields(base))
    elif typing.is_typeddict(base):
        _make_typed_dict(types, node, base)
    elif issubclass(base, tuple) and hasattr(base, "_fields"):
        _make_named_tuple(types, node, base)
    else:
        return False
    return True


# ---- dataclasses and attrs classes --------------------------------------------------------------------


class _Declared(NamedTuple):
    """A field that a class declares.

    Attributes:
        name: of the attribute.
        argument: of the class's constructor; None: it is not one of its arguments.
        required: whether the constructor needs it.
        keyword_only: whether the constructor takes it by its name only.
    """

    name: str
    argument: str | None
    required: bool
    keyword_only: bool


def _attrs_fields(base: Any) -> list[_Declared]:
    import attrs

    nothing: Any = attrs.NOTHING
    return [
        _Declared(one.name, (one.alias or one.name) if one.init else None, bool(one.default is nothing), one.kw_only)
        for one in base.__attrs_attrs__
    ]


def _dataclass_fields(base: Any) -> list[_Declared]:
    fields = dataclasses.fields(base)
    for name in base.__dataclass_fields__.keys() - {one.name for one in fields}:
        if base.__dataclass_fields__[name]._field_type is dataclasses._FIELD_INITVAR:  # type: ignore[attr-defined]
            raise TypeError(f"{base.__qualname__} needs {name}, an InitVar, which is not written and can't be read")
    missing = dataclasses.MISSING
    return [
        _Declared(
            one.name,
            one.name if one.init else None,
            bool(one.default is missing and one.default_factory is missing),
            bool(one.kw_only),
        )
        for one in fields
    ]


def is_ordinary(cls: Any) -> bool:
    """Whether it is a dataclass with the constructor that was made for it, which takes all its fields."""
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return False
    made: Any = cls.__init__
    return (
        getattr(made, "__module__", None) == cls.__module__
        and getattr(getattr(made, "__code__", None), "co_filename", "") == "<string>"
        and cls.__new__ is object.__new__
        and all(field.init for field in dataclasses.fields(cls))
        and not getattr(cls, "__parameters__", ())
    )


def _only_sets_attributes(cls: Any) -> bool:
    """Whether the constructor does nothing but set attributes: then the converter does, without a call."""
    return is_ordinary(cls) and cls.__setattr__ is object.__setattr__ and not hasattr(cls, "__post_init__")


class _Field(NamedTuple):
    """A field that is read.

    Attributes:
        wire_name: its name on the wire.
        argument: of the class's constructor.
        required: whether it must be there.
        keyword_only: whether the constructor takes it by its name only.
        node: its type.
    """

    wire_name: str
    argument: str
    required: bool
    keyword_only: bool
    node: Node


def _make_class(types: Types, node: Node, base: Any, declared: list[_Declared]) -> None:
    hints = field_hints(node.wanted)
    fields: list[_Field] = []
    written: dict[str, tuple[Node, bool]] = {}
    for one in declared:
        hint = hints.get(one.name, Any)
        wire_name = wire_name_of(base, one.name)
        part = types.node(Any if hint is typing.Final else hint)
        written[wire_name] = (part, True)
        if one.argument is not None:
            fields.append(_Field(wire_name, one.argument, one.required, one.keyword_only, part))
    record = _Record(node, base, fields)
    node.is_made(record.compiled(), (Record(written),), *(part for part, _ in written.values()))


_INLINE = {"str": str, "int": int, "bool": bool, "bytes": bytes, "float": float}


class _Record:
    """Converts maps to a class."""

    def __init__(self, node: Node, base: Any, fields: list[_Field]) -> None:
        self._node = node
        self._base = base
        self._fields = fields

    def compiled(self) -> Converter:
        """Return a function that converts a map in which all fields are, and leaves other values to the slow way."""
        names: dict[str, Any] = {
            "base": self._base,
            "new": object.__new__,
            "slowly": self.convert_slowly,
            "at": at,
            "refused": self._refused,
            "SerializationError": SerializationError,
        }
        lines = ["def convert(value):", "    if type(value) is not dict:", "        return slowly(value)"]
        reads, checks, arguments = [], [], []
        for index, one in enumerate(self._fields):
            names[f"name{index}"] = one.wire_name
            names[f"node{index}"] = one.node
            names[f"step{index}"] = f".{one.wire_name}"
            reads.append(f"        v{index} = value[name{index}]")
            checks += _check(index, one.node)
            arguments.append(f"{one.argument}=v{index}" if self._by_name(index) else f"v{index}")
        if reads:
            lines += ["    try:", *reads, "    except KeyError:", "        return slowly(value)"]
        lines += checks
        if _only_sets_attributes(self._base):
            lines += [
                "    made = new(base)",
                *(f"    made.{one.argument} = v{i}" for i, one in enumerate(self._fields)),
            ]
            lines += ["    return made"]
        else:
            lines += ["    try:", f"        return base({', '.join(arguments)})"]
            lines += ["    except Exception as error:", "        raise refused(error) from error"]
        exec("\n".join(lines), names)
        made: Converter = names["convert"]
        return made

    def _by_name(self, index: int) -> bool:
        """Whether the constructor takes the argument by its name: attrs orders those that it takes by name last."""
        return any(one.keyword_only for one in self._fields[: index + 1])

    def convert_slowly(self, value: Any) -> Any:
        """Convert a map in which fields may be missing."""
        if type(value) is not dict:
            if isinstance(value, self._base):
                return value
            raise mismatch(value, self._node.name)
        arguments = {}
        for one in self._fields:
            if one.wire_name in value:
                arguments[one.argument] = at(one.node.convert, value[one.wire_name], value, f".{one.wire_name}")
            elif one.required:
                raise SerializationError(f"{self._node.name} needs a field {one.wire_name!r}, which is not there")
        try:
            return self._base(**arguments)
        except Exception as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> SerializationError:
        return error if isinstance(error, SerializationError) else refused(self._node.name, error)


def _check(index: int, node: Node) -> list[str]:
    """Return the lines that convert one field."""
    if node.wanted is Any or node.wanted is object:
        return []
    call = f"v{index} = at(node{index}.convert, v{index}, value, step{index})"
    kind = next((name for name, kind in _INLINE.items() if node.wanted is kind), None)
    if kind is not None:
        return [f"    if type(v{index}) is not {kind}:", f"        {call}"]
    return [
        "    try:",
        f"        v{index} = node{index}.convert(v{index})",
        "    except SerializationError as error:",
        f"        error._inside(value, step{index})",
        "        raise",
    ]


# ---- TypedDict and NamedTuple -------------------------------------------------------------------------


def _make_typed_dict(types: Types, node: Node, base: Any) -> None:
    parts: dict[str, Node] = {}
    required: set[str] = set()
    for name, hint in field_hints(node.wanted).items():
        needed = name in base.__required_keys__  # which is not right where annotations are texts
        while (origin := get_origin(hint)) in _QUALIFIERS:
            needed = {typing.Required: True, typing.NotRequired: False}.get(origin, needed)
            hint = get_args(hint)[0]
        parts[name] = types.node(hint)
        if needed:
            required.add(name)

    def to_typed_dict(value: Any) -> Any:
        if type(value) is not dict:
            raise mismatch(value, node.name)
        for name in required - value.keys():
            raise SerializationError(f"{node.name} needs a key {name!r}, which is not there")
        return {
            name: at(parts[name].convert, item, value, f"[{name!r}]") if name in parts else item
            for name, item in value.items()
        }

    form = Record({name: (part, name in required) for name, part in parts.items()})
    node.is_made(to_typed_dict, (form,), *parts.values(), is_plain=True)


_QUALIFIERS = {typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", typing.Required)}


def _make_named_tuple(types: Types, node: Node, base: Any) -> None:
    """A NamedTuple is read of an array, and of a map with the fields' names, as Go writes a struct."""
    hints = field_hints(node.wanted)
    parts = [(wire_name_of(base, name), name, types.node(hints.get(name, Any))) for name in base._fields]

    def to_named_tuple(value: Any) -> Any:
        if isinstance(value, base):
            return value
        if type(value) is dict:
            given = {
                name: at(part.convert, value[wire_name], value, f".{wire_name}")
                for wire_name, name, part in parts
                if wire_name in value
            }
        elif type(value) in (list, tuple) and len(value) <= len(parts):
            pairs = zip(parts, value, strict=False)
            given = {name: at(part.convert, item, value, f".{name}") for (_, name, part), item in pairs}
        else:
            raise mismatch(value, f"{node.name} of {len(parts)} fields")
        try:
            return base(**given)
        except Exception as error:
            raise refused(node.name, error) from error

    build: Callable[..., Any] = base
    nodes = [part for _, _, part in parts]
    fields = Record({wire_name: (part, False) for wire_name, _, part in parts})
    node.is_made(to_named_tuple, (Array(None, nodes, build), fields), *nodes)
