"""Classes of pydantic and msgspec, which these libraries make themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, get_origin

from ...errors import SerializationError
from ..encode_errors import described
from ..msgspec_structs import is_struct
from ..pydantic_models import is_model
from ..pydantic_reading import is_strict, preparer
from .durations import durations_of
from .forms import ANYTHING, Array, Form, Record
from .hints import field_hints
from .nodes import Converter, Node, Types

__all__ = ["make_of_library"]


def make_of_library(types: Types, node: Node) -> bool:
    base: Any = get_origin(node.wanted) or node.wanted
    if is_struct(base):
        _make_struct(types, node, base)
    elif is_model(base):
        node.is_made(_pydantic(node.wanted, base), _model_form(types, base))
    elif hasattr(base, "__get_pydantic_core_schema__"):  # a type of pydantic's, such as its URLs
        node.is_made(_pydantic(node.wanted, base), ANYTHING)
    else:
        return False
    return True


# ---- pydantic -----------------------------------------------------------------------------------------


def _model_form(types: Types, base: Any) -> Form:
    if getattr(base, "__pydantic_root_model__", False) or not hasattr(base, "__pydantic_fields__"):
        return ANYTHING
    fields = {}
    for name, one in base.__pydantic_fields__.items():
        if not one.exclude:
            written = one.serialization_alias or one.alias or name
            fields[written] = (_part(types, one.annotation), one.is_required())
    computed = base.__pydantic_decorators__.computed_fields
    for name, one in computed.items():
        fields[one.info.alias or name] = (types.node(Any), False)
    return (Record(fields),)


def _part(types: Types, annotation: Any) -> Node:
    """Return the node of a field's type; that of anything for a type that only the library knows."""
    try:
        return types.node(annotation)
    except Exception:
        return types.node(Any)


def _pydantic(wanted: Any, base: Any) -> Converter:
    import pydantic

    try:
        adapter: Any = pydantic.TypeAdapter(wanted)
        prepare = preparer(adapter.core_schema)
    except TypeError:
        raise
    except Exception as error:  # an annotation that pydantic can't resolve, or has no schema for
        raise TypeError(f"pydantic can't read {base.__qualname__}: {described(error)}") from error
    strict = is_strict(adapter.core_schema)

    def to_model(value: Any) -> Any:
        if isinstance(value, base):
            return value
        prepared = value if prepare is None else prepare(value)
        try:
            try:
                return adapter.validate_python(prepared)
            except pydantic.ValidationError:
                if not strict:
                    raise
                made = adapter.validate_python(prepared, strict=False)
                if not _is_written_as(made, value):
                    raise
                return made
        except pydantic.ValidationError as error:
            raise _of_pydantic(value, error) from error
        except SerializationError:
            raise
        except Exception as error:  # of a validator
            raise SerializationError(f"{base.__qualname__} refused it: {described(error)}") from error

    return to_model


def _is_written_as(made: Any, value: Any) -> bool:
    """Whether a strict model that was made of a value of other types is written as that value."""
    from ..pure.msgpack import pack, unpack

    try:
        return bool(unpack(pack(made)) == value)
    except SerializationError:
        return False


def _of_pydantic(value: Any, error: Any) -> SerializationError:
    first = error.errors()[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    refusal = SerializationError(first["msg"])
    if place:
        refusal._inside(value, place)
    return refusal


# ---- msgspec ------------------------------------------------------------------------------------------


def _make_struct(types: Types, node: Node, base: Any) -> None:
    config = base.__struct_config__
    hints = field_hints(node.wanted)
    parts = [_part(types, hints[name]) for name in base.__struct_fields__]
    tag = None if config.tag is None else types.node(Literal[config.tag])
    if config.array_like:
        form: Form = (Array(None, parts if tag is None else [tag, *parts], base),)
    else:
        optional = set(base.__struct_encode_fields__[len(parts) - len(base.__struct_defaults__) :])
        always = not config.omit_defaults
        fields = {
            name: (part, name not in optional or (always and not _may_be_unset(part)))
            for name, part in zip(base.__struct_encode_fields__, parts, strict=True)
        }
        if tag is not None:
            fields = {config.tag_field: (tag, True), **fields}
        form = (Record(fields),)
    node.is_made(_struct(types, node.wanted, base, durations_of(node.wanted)), form)


def _may_be_unset(part: Node) -> bool:
    return "UnsetType" in part.name


def _struct(types: Types, wanted: Any, base: Any, prepare: Callable[[Any], Any] | None) -> Converter:
    import msgspec

    def own(kind: Any, value: Any) -> Any:
        """Make what msgspec does not know."""
        return types.node(kind).convert(value)

    def to_struct(value: Any) -> Any:
        if isinstance(value, base):
            return value
        prepared = value if prepare is None else prepare(value)
        try:
            return msgspec.convert(prepared, wanted, builtin_types=(timedelta,), dec_hook=own)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, SerializationError):
                raise error.__cause__ from None
            raise _of_msgspec(value, error) from error
        except SerializationError:
            raise
        except Exception as error:  # of a __post_init__
            raise SerializationError(f"{base.__qualname__} refused it: {described(error)}") from error

    return to_struct


def _of_msgspec(value: object, error: Exception) -> SerializationError:
    """Convert ``Expected `int`, got `str` - at `$.items[0].price` ``: the place becomes the path of the error."""
    reason, _, place = str(error).partition(" - at `")
    refusal = SerializationError(reason.replace("`", ""))
    if place:
        refusal._inside(value, place.removesuffix("`").removeprefix("$"))
    return refusal
