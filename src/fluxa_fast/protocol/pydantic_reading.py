"""Makes of a decoded body what pydantic reads as the value that was written.

What is written differs from what pydantic reads by durations, which it takes for seconds; by ``Json``, which it parses;
by computed fields; by names, where a model is written by one alias and read by another; and, where it is strict, by
sets.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any

from .preparing import Prepare, at_places, duration, in_items, in_map
from .pydantic_models import Schema, choices_of

__all__ = ["is_strict", "preparer"]


def is_strict(schema: Any) -> bool:
    """Whether some part of a core schema is strict."""
    if isinstance(schema, dict):
        return schema.get("strict") is True or any(map(is_strict, schema.values()))
    return isinstance(schema, (list, tuple)) and any(map(is_strict, schema))


def preparer(schema: Schema) -> Prepare | None:
    """Return the function that prepares values for a core schema; None if they are read as they are written.

    Raises:
        TypeError: if a field is read from a place where it is not written.
    """
    return _Preparers().of(schema)


class _Preparers:
    """Makes the functions for the parts of one schema."""

    def __init__(self) -> None:
        self._schemas: dict[str, Schema] = {}  # that have names
        self._made: dict[str, Prepare | None] = {}
        self._makers: dict[str, Callable[[Any], Prepare | None]] = {
            "definitions": self._of_definitions,
            "definition-ref": self._of_reference,
            "timedelta": lambda schema: duration,
            "json": self._of_json,
            "nullable": self._of_nullable,
            "list": self._of_items,
            "set": self._of_set,
            "frozenset": self._of_set,
            "tuple": self._of_tuple,
            "dict": self._of_dict,
            "union": self._of_union,
            "tagged-union": self._of_tagged_union,
            "model-fields": self._of_fields,
            "typed-dict": self._of_fields,
            "dataclass-args": self._of_fields,
            "chain": lambda schema: self.of(schema["steps"][0]),
        }
        self._config: list[Mapping[str, Any]] = [{}]

    def of(self, schema: Schema) -> Prepare | None:
        if "serialization" in schema:
            return None  # it is written by a serializer of its own
        config = schema.get("config")
        if config:
            self._config.append(config)
        try:
            make = self._makers.get(schema["type"])
            if make is not None:
                return make(schema)
            inner = schema.get("schema") or schema.get("python_schema") or schema.get("lax_schema")
            return self.of(inner) if isinstance(inner, dict) else None
        finally:
            if config:
                self._config.pop()

    def _of_definitions(self, schema: Schema) -> Prepare | None:
        self._schemas.update((one["ref"], one) for one in schema["definitions"])
        return self.of(schema["schema"])

    def _of_reference(self, schema: Schema) -> Prepare | None:
        name = schema["schema_ref"]
        if name not in self._schemas:
            return None
        if name in self._made:  # also if it refers to itself: the function is made by the time it is called
            return lambda value: value if (made := self._made[name]) is None else made(value)
        self._made[name] = None
        self._made[name] = self.of(self._schemas[name])
        return self._made[name]

    def _of_json(self, schema: Schema) -> Prepare:
        from pydantic_core import to_json

        inner = self.of(schema["schema"]) if "schema" in schema else None

        def to_text(value: Any) -> Any:
            return to_json(value if inner is None else inner(value))

        return to_text

    def _of_nullable(self, schema: Schema) -> Prepare | None:
        inner = self.of(schema["schema"])
        return None if inner is None else lambda value: None if value is None else inner(value)

    def _of_items(self, schema: Schema) -> Prepare | None:
        return in_items(self.of(schema.get("items_schema") or {"type": "any"}))

    def _of_set(self, schema: Schema) -> Prepare:
        items = self._of_items(schema)
        return lambda value: _set(value if items is None else items(value)) if type(value) is list else value

    def _of_tuple(self, schema: Schema) -> Prepare | None:
        items = [self.of(one) for one in schema["items_schema"]]
        if not any(items) and not is_strict(schema):
            return None
        endless = schema.get("variadic_item_index")

        def to_tuple(value: Any) -> Any:
            if type(value) is not list:
                return value
            makers = items
            if endless is not None:
                more = max(0, len(value) - len(items) + 1)
                makers = [*items[:endless], *[items[endless]] * more, *items[endless + 1 :]]
            return tuple(at_places(makers, value))

        return to_tuple

    def _of_dict(self, schema: Schema) -> Prepare | None:
        return in_map(*(self.of(schema[name]) if name in schema else None for name in ("keys_schema", "values_schema")))

    def _of_union(self, schema: Schema) -> Prepare | None:
        choices = [(choice, self.of(choice)) for choice in choices_of(schema)]
        if not any(make for _, make in choices):
            return None
        maps = [(frozenset(self._names(choice)), make) for choice, make in choices if self._names(choice)]
        others = [make for choice, make in choices if make is not None and not self._names(choice)]

        def to_choice(value: Any) -> Any:
            if type(value) is dict and maps:
                _, make = max(maps, key=lambda one: (-len(value.keys() - one[0]), -len(one[0] - value.keys())))
                return value if make is None else make(value)
            return others[0](value) if len(others) == 1 else value

        return to_choice

    def _of_tagged_union(self, schema: Schema) -> Prepare | None:
        makers = {tag: self.of(choice) for tag, choice in schema["choices"].items()}
        discriminator = schema["discriminator"]
        if not any(makers.values()):
            return None

        def to_choice(value: Any) -> Any:
            tag = discriminator(value) if callable(discriminator) else _found(value, discriminator)
            make = makers.get(tag) if isinstance(tag, typing.Hashable) else None
            return value if make is None else make(value)

        return to_choice

    # ---- what is written as a map of fields ----

    def _names(self, schema: Schema) -> list[str]:
        """The names that fields are written by, if the schema is one of fields."""
        while isinstance(schema, dict):
            if schema["type"] == "definition-ref":
                schema = self._schemas.get(schema["schema_ref"], {"type": "any"})
            elif "fields" in schema and schema["type"] in ("model-fields", "typed-dict", "dataclass-args"):
                return [field.get("serialization_alias") or name for name, field in _fields_of(schema)]
            else:
                schema = schema.get("schema")  # type: ignore[assignment]
        return []

    def _of_fields(self, schema: Schema) -> Prepare | None:
        config = self._config[-1]
        makers: dict[str, Prepare] = {}
        renamed: dict[str, str] = {}
        for name, field in _fields_of(schema):
            written = field.get("serialization_alias") or name
            read = _names_read(name, field, config)
            if written not in read and not field.get("serialization_exclude"):
                if not read:
                    raise TypeError(
                        f"{_name_of(schema)}.{name} is written as {written!r} and read from a path in the body; "
                        "give it a validation_alias that has the name it is written by"
                    )
                renamed[written] = read[0]
            if (make := self.of(field["schema"])) is not None:
                makers[written] = make
        dropped = [field.get("alias") or field["property_name"] for field in schema.get("computed_fields", ())]
        if not (makers or renamed or dropped):
            return None

        def to_fields(value: Any) -> Any:
            if type(value) is not dict:
                return value
            prepared = dict(value)
            for name in dropped:
                prepared.pop(name, None)
            for name, make in makers.items():
                if name in prepared:
                    prepared[name] = make(prepared[name])
            for name, new in renamed.items():
                if name in prepared and new not in prepared:
                    prepared[new] = prepared.pop(name)
            return prepared

        return to_fields


def _fields_of(schema: Schema) -> list[tuple[str, Schema]]:
    fields = schema["fields"]
    return list(fields.items()) if isinstance(fields, dict) else [(field["name"], field) for field in fields]


def _names_read(name: str, field: Schema, config: Mapping[str, Any]) -> list[str]:
    """The names that a field is read by; none if it is read from a path."""
    alias = field.get("validation_alias")
    names: list[str] = []
    if alias is not None and config.get("validate_by_alias", True):
        paths = [[alias]] if isinstance(alias, str) else alias if isinstance(alias[0], list) else [alias]
        names = [path[0] for path in paths if len(path) == 1]
    if alias is None or config.get("validate_by_name", config.get("populate_by_name", False)):
        names.append(name)
    return names


def _name_of(schema: Schema) -> str:
    return schema.get("model_name") or schema.get("dataclass_name") or "the TypedDict"


def _found(value: Any, place: Any) -> Any:
    """The discriminator's value: it is named, or there are several paths to it."""
    for path in [place] if not isinstance(place, list) else place:
        found = value
        try:
            for step in path if isinstance(path, list) else [path]:
                found = found[step]
        except (KeyError, IndexError, TypeError):
            continue
        return found
    return None


def _set(values: Any) -> Any:
    try:
        return set(values)
    except TypeError:  # an item can't be in a set: pydantic says so
        return values
