"""How classes of pydantic are written. `pydantic_reading` has what pydantic needs to read that again.

A model is written as its own serializer says, by alias. Only a model of plain fields is written field by field, which
is faster: its core schema shows that the serializer would give the same.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Schema", "choices_of", "is_model", "plain", "plain_fields"]

Schema = dict[str, Any]

_SCALARS = frozenset(
    "none bool int float decimal str bytes date time datetime timedelta literal enum uuid complex".split()  # noqa: SIM905
)
_INNER = ("schema", "items_schema", "keys_schema", "values_schema", "lax_schema", "strict_schema")
_WRAPPERS = frozenset("nullable default function-before function-after function-wrap lax-or-strict".split())  # noqa: SIM905
_CONTAINERS = frozenset(("list", "set", "frozenset", "dict"))


def is_model(cls: Any) -> bool:
    """Whether it is a model or a dataclass of pydantic; types such as its URLs have a serializer only."""
    return hasattr(cls, "__pydantic_decorators__") and hasattr(cls, "__pydantic_serializer__")


def plain(value: Any) -> object:
    """Return what the model's own serializer gives."""
    return type(value).__pydantic_serializer__.to_python(value, by_alias=True)


# ---- writing field by field ---------------------------------------------------------------------------


def plain_fields(cls: Any) -> tuple[tuple[str, str], ...] | None:
    """Return the (attribute, name on the wire) pairs of a model whose serializer gives its plain fields, or None."""
    fields = _fields(_model_schema(cls))
    if fields is None or not all(_is_plain_field(field) for field in fields.values()):
        return None
    return tuple((name, field.get("serialization_alias") or name) for name, field in fields.items())


def _model_schema(cls: Any) -> Schema:
    """Return the schema of the class itself, without its validators; an empty one if it is not known yet."""
    schema = cls.__dict__.get("__pydantic_core_schema__")
    while isinstance(schema, dict):
        if "serialization" in schema:
            return {}
        if schema["type"] in ("model", "dataclass"):
            return schema
        if schema["type"] not in _WRAPPERS:
            return {}
        schema = schema.get("schema")
    return {}


def _fields(schema: Schema) -> dict[str, Schema] | None:
    """Return the fields of a schema that is written as a map of nothing but its fields."""
    if schema.get("root_model") or schema.get("config", {}).get("extra_fields_behavior") == "allow":
        return None
    inner = schema.get("schema", {})
    while inner.get("type") in _WRAPPERS and "serialization" not in inner:
        inner = inner["schema"]
    if "serialization" in inner or inner.get("computed_fields") or inner.get("extra_behavior") == "allow":
        return None
    if inner.get("type") == "model-fields":
        return dict(inner["fields"])
    return {field["name"]: field for field in inner["fields"]} if inner.get("type") == "dataclass-args" else None


def _is_plain_field(field: Schema) -> bool:
    return not any(key.startswith("serialization_exclude") for key in field) and _is_plain(field["schema"])


def _is_plain(schema: Schema) -> bool:
    """Whether the serializer gives a value of this schema as it is. That of a nested model gives another value."""
    kind = schema["type"]
    if "serialization" in schema:
        return False
    if kind in _SCALARS:
        return True
    if kind == "tuple":
        return all(map(_is_plain, schema["items_schema"]))
    if kind == "union":
        return all(map(_is_plain, choices_of(schema)))
    if kind not in _WRAPPERS and kind not in _CONTAINERS:
        return False
    inner = [schema[key] for key in _INNER if key in schema]
    wanted = {"dict": 2, "lax-or-strict": 2}.get(kind, 1)  # fewer: of anything
    return len(inner) == wanted and all(map(_is_plain, inner))


def choices_of(union: Schema) -> list[Schema]:
    return [one[0] if isinstance(one, tuple) else one for one in union["choices"]]
