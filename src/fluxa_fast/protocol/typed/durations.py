"""Durations in types of msgspec: they are written as nanoseconds, and msgspec reads them as text only."""

from __future__ import annotations

from typing import Any

from ..preparing import Prepare, at_places, duration, in_items, in_map

__all__ = ["durations_of"]


def durations_of(wanted: Any) -> Prepare | None:
    """Return the function that makes timedeltas of the numbers where a type has durations; None if it has none."""
    from msgspec import inspect

    try:
        info = inspect.type_info(wanted)
    except Exception:  # msgspec says what is wrong when it reads a value
        return None
    return _Preparers().of(info)


class _Preparers:
    def __init__(self) -> None:
        self._made: dict[int, Prepare | None] = {}
        self._open: set[int] = set()

    def of(self, info: Any) -> Prepare | None:
        key = id(info)
        if key in self._open:  # the type refers to itself
            return lambda value: value if (made := self._made[key]) is None else made(value)
        if key not in self._made:
            self._open.add(key)
            self._made[key] = None
            self._made[key] = self._make(info)
            self._open.discard(key)
        return self._made[key]

    def _make(self, info: Any) -> Prepare | None:
        kind = type(info).__name__
        if kind == "TimeDeltaType":
            return duration
        if kind == "Metadata":
            return self.of(info.type)
        if kind == "UnionType":
            return self._of_union(info)
        if hasattr(info, "item_type"):
            return in_items(self.of(info.item_type))
        if hasattr(info, "item_types"):
            return _of_places([self.of(one) for one in info.item_types])
        if hasattr(info, "key_type"):
            return in_map(self.of(info.key_type), self.of(info.value_type))
        if hasattr(info, "fields"):
            return self._of_fields(info)
        return None

    def _of_fields(self, info: Any) -> Prepare | None:
        if getattr(info, "array_like", False) or type(info).__name__ == "NamedTupleType":
            tagged = [None] if getattr(info, "tag", None) is not None else []
            return _of_places([*tagged, *(self.of(one.type) for one in info.fields)])
        makers = {one.encode_name: make for one in info.fields if (make := self.of(one.type)) is not None}
        if not makers:
            return None

        def to_fields(value: Any) -> Any:
            if type(value) is not dict:
                return value
            return {name: makers[name](item) if name in makers else item for name, item in value.items()}

        return to_fields

    def _of_union(self, info: Any) -> Prepare | None:
        """Tags tell the members of several classes apart."""
        tagged = {one.tag: self.of(one) for one in info.types if getattr(one, "tag", None) is not None}
        fields = {one.tag_field for one in info.types if getattr(one, "tag", None) is not None}
        kinds = {type(one).__name__ for one in info.types}
        others = [self.of(one) for one in info.types if getattr(one, "tag", None) is None]
        durations = "TimeDeltaType" in kinds and not kinds & {"IntType", "FloatType", "DecimalType", "AnyType"}
        if not any(tagged.values()) and not any(others):
            return None

        def to_member(value: Any) -> Any:
            if type(value) is dict and tagged:
                make = tagged.get(next((value[name] for name in fields if name in value), None))
                return value if make is None else make(value)
            if type(value) is int:
                return duration(value) if durations else value
            for make in others:
                if make is not None and make is not duration:
                    value = make(value)
            return value

        return to_member


def _of_places(makers: list[Prepare | None]) -> Prepare | None:
    if not any(makers):
        return None

    def to_places(value: Any) -> Any:
        return at_places(makers, value) if type(value) is list else value

    return to_places
