"""Converts decoded values to scalar types: numbers, strings, times, UUID, Decimal, enums and Literal."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Any

from ..errors import SerializationError

__all__ = ["SCALARS", "Converter", "enumeration", "exactly", "literal", "mismatch", "name_of"]

Converter = Callable[[Any], Any]


def mismatch(value: object, expected: str) -> SerializationError:
    return SerializationError(f"expected {expected}, not {type(value).__name__}")


def name_of(wanted: Any) -> str:
    return getattr(wanted, "__qualname__", None) or str(wanted)


def exactly(kind: type, name: str) -> Converter:
    def convert_exactly(value: Any) -> Any:
        if type(value) is not kind:
            raise mismatch(value, name)
        return value

    return convert_exactly


def _float(value: Any) -> float:
    if type(value) not in (float, int):
        raise mismatch(value, "float")
    return float(value)


def _bytearray(value: Any) -> bytearray:
    if type(value) is not bytes:
        raise mismatch(value, "bytes")
    return bytearray(value)


def _datetime(value: Any) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    if type(value) is str:
        try:
            parsed = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise SerializationError(f"{value!r} is not an ISO 8601 date and time") from None
        if parsed.tzinfo is None:
            raise SerializationError(f"{value!r} has no time zone")
        return parsed
    raise mismatch(value, "datetime")


def _date(value: Any) -> datetime.date:
    if isinstance(value, datetime.datetime):
        return value.date()
    if type(value) is str:
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            raise SerializationError(f"{value!r} is not an ISO 8601 date") from None
    raise mismatch(value, "date")


def _timedelta(value: Any) -> datetime.timedelta:
    if type(value) is not int:  # Go's time.Duration: nanoseconds
        raise mismatch(value, "a duration in nanoseconds")
    return datetime.timedelta(microseconds=value // 1000)


def _uuid(value: Any) -> uuid.UUID:
    try:
        if type(value) is str:
            return uuid.UUID(value)
        if type(value) is bytes and len(value) == 16:
            return uuid.UUID(bytes=value)
    except ValueError:
        raise SerializationError(f"{value!r} is not a UUID") from None
    raise mismatch(value, "UUID")


def _decimal(value: Any) -> decimal.Decimal:
    if type(value) not in (str, int, float):
        raise mismatch(value, "Decimal")
    try:
        return decimal.Decimal(str(value))
    except decimal.InvalidOperation:
        raise SerializationError(f"{value!r} is not a decimal number") from None


SCALARS: dict[type, Converter] = {
    **{kind: exactly(kind, kind.__name__) for kind in (str, int, bool, bytes, complex)},
    float: _float,
    bytearray: _bytearray,
    datetime.datetime: _datetime,
    datetime.date: _date,
    datetime.timedelta: _timedelta,
    uuid.UUID: _uuid,
    decimal.Decimal: _decimal,
}


def enumeration(wanted: type[enum.Enum]) -> Converter:
    def to_enum(value: Any) -> Any:
        try:
            return wanted(value)
        except ValueError:
            raise SerializationError(f"{value!r} is not a value of {wanted.__qualname__}") from None

    return to_enum


def literal(values: tuple[Any, ...]) -> Converter:
    def to_literal(value: Any) -> Any:
        for one in values:
            if type(one) is type(value) and one == value:
                return value
        raise SerializationError(f"expected one of {values!r}, not {value!r}")

    return to_literal
