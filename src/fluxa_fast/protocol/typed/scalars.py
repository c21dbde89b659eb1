"""Types of values without parts: numbers, strings, times, UUID, Decimal, paths, addresses, numpy's scalars."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

from ...errors import SerializationError
from .forms import scalar
from .nodes import Converter, Node, Types, mismatch

__all__ = ["exactly", "make_scalar"]


def make_scalar(types: Types, node: Node) -> bool:
    wanted = node.wanted
    if wanted is None or wanted is type(None):
        node.name = "None"
        node.is_made(exactly(type(None), "None"), scalar(type(None)), is_plain=True)
    elif not isinstance(wanted, type):
        return False
    elif wanted in _PLAIN:
        node.is_made(exactly(wanted, wanted.__name__), scalar(wanted), is_plain=True)
    elif wanted is float:
        node.is_made(_float, scalar(float), is_plain=True)
    elif wanted in (bytearray, memoryview):
        node.is_made(_built(wanted, wanted, bytes), scalar(bytes))
    elif wanted is datetime.datetime:
        node.is_made(_datetime, scalar(datetime.datetime), is_plain=True)
    elif wanted in _OTHERS:
        convert, written, test = _OTHERS[wanted]
        node.is_made(convert, scalar(written, test, wanted))
    elif issubclass(wanted, datetime.datetime):
        node.is_made(_datetime_of(wanted), scalar(datetime.datetime))
    elif issubclass(wanted, pathlib.PurePath):
        node.is_made(_built(wanted, wanted, str), scalar(str))
    elif (kind := _numpy_kind(wanted)) is not None:
        node.is_made(_built(wanted, wanted, kind), scalar(kind))
    else:
        return False
    return True


_PLAIN = (str, int, bool, bytes, complex)


def exactly(kind: type, name: str) -> Converter:
    def convert_exactly(value: Any) -> Any:
        if type(value) is not kind:
            raise mismatch(value, name)
        return value

    return convert_exactly


def _built(wanted: type, build: Callable[[Any], Any], kind: type) -> Converter:
    """Return the converter of a type that is built of a value of another type."""
    kinds = (int, float) if kind is float else (kind,)

    def convert(value: Any) -> Any:
        if isinstance(value, wanted):
            return value
        if type(value) not in kinds:
            raise mismatch(value, wanted.__name__)
        try:
            return build(value)
        except Exception as error:
            raise SerializationError(f"{value!r} is no {wanted.__name__}: {error}") from error

    return convert


def _float(value: Any) -> float:
    if type(value) not in (float, int):
        if isinstance(value, float):
            return value
        raise mismatch(value, "float")
    try:
        return float(value)
    except OverflowError:
        raise SerializationError(f"{value!r} is too large for a float") from None


# ---- times --------------------------------------------------------------------------------------------


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


def _datetime_of(wanted: Any) -> Converter:
    """Return the converter to a subclass of datetime, such as pandas' Timestamp."""

    def to_subclass(value: Any) -> Any:
        if isinstance(value, wanted):
            return value
        moment = _datetime(value)
        parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond)
        return wanted(*parts, tzinfo=moment.tzinfo)

    return to_subclass


def _from_iso(wanted: Any) -> Converter:
    """Return the converter to a date or a time."""

    def convert(value: Any) -> Any:
        if isinstance(value, wanted):
            return value
        if type(value) is str:
            try:
                return wanted.fromisoformat(value)
            except ValueError:
                raise SerializationError(f"{value!r} is not an ISO 8601 {wanted.__name__}") from None
        raise mismatch(value, wanted.__name__)

    return convert


_time = _from_iso(datetime.time)
_date_itself = _from_iso(datetime.date)


def _date(value: Any) -> datetime.date:
    made: datetime.date = value.date() if isinstance(value, datetime.datetime) else _date_itself(value)
    return made


def _timedelta(value: Any) -> datetime.timedelta:
    if type(value) is not int:  # Go's time.Duration: nanoseconds
        if isinstance(value, datetime.timedelta):
            return value
        raise mismatch(value, "a duration in nanoseconds")
    try:
        return datetime.timedelta(microseconds=value // 1000)
    except OverflowError:
        raise SerializationError(f"{value} nanoseconds are longer than a timedelta") from None


# ---- texts --------------------------------------------------------------------------------------------


def _uuid(value: Any) -> uuid.UUID:
    if isinstance(value, uuid.UUID):
        return value
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
        if isinstance(value, decimal.Decimal):
            return value
        raise mismatch(value, "Decimal")
    try:
        return decimal.Decimal(str(value))
    except decimal.InvalidOperation:
        raise SerializationError(f"{value!r} is not a decimal number") from None


def _written_as(convert: Converter, write: Callable[[Any], str]) -> Callable[[Any], bool]:
    """Return the test whether a text is the one that a type is written as."""

    def test(value: Any) -> bool:
        try:
            return bool(write(convert(value)) == value)
        except SerializationError:
            return False

    return test


_ADDRESSES: tuple[type, ...] = (
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network,
    ipaddress.IPv4Interface, ipaddress.IPv6Interface,
)  # fmt: skip


_Other = tuple[Converter, type, Callable[[Any], bool] | None]


def _text(convert: Converter, write: Callable[[Any], str] = str) -> _Other:
    return convert, str, _written_as(convert, write)


# The converter, the type that it is written as, and the test whether a text is one of it.
_OTHERS: dict[type, _Other] = {
    datetime.timedelta: (_timedelta, int, None),
    datetime.date: _text(_date, datetime.date.isoformat),
    datetime.time: _text(_time, datetime.time.isoformat),
    uuid.UUID: _text(_uuid),
    decimal.Decimal: _text(_decimal),
    **{address: _text(_built(address, address, str)) for address in _ADDRESSES},
}


def _numpy_kind(wanted: type) -> type | None:
    """Return the type that scalars of a class of numpy are written as; None for other classes."""
    if not any(f"{base.__module__}.{base.__qualname__}" == "numpy.generic" for base in wanted.__mro__):
        return None
    import numpy

    for base, kind in (
        (numpy.bool_, bool),
        (numpy.integer, int),
        (numpy.floating, float),
        (numpy.complexfloating, complex),
        (numpy.str_, str),
        (numpy.bytes_, bytes),
    ):
        if (issubclass(wanted, base) and wanted is not base) or wanted is numpy.bool_ is base:
            return kind
    return None
