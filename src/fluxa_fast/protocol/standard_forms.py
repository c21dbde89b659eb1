"""The forms of types that many programs use, and that msgpack has no type for: UUID, Decimal, date, set, Path, ...

A class is found by its name, and by the names of its bases, so that no library is imported for it. A `default` hook
goes before these forms.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any

from ..errors import SerializationError
from .encode_errors import short

Form = Callable[[Any], object]

_SECOND = 10**9
_UNITS = dict(  # noqa: C408 (of numpy, in nanoseconds)
    ns=1, us=1000, ms=10**6, s=_SECOND, m=60 * _SECOND, h=3600 * _SECOND, D=86_400 * _SECOND, W=7 * 86_400 * _SECOND
)
_DAYS, _SECONDS, _MICROSECONDS = (
    getattr(timedelta, name).__get__ for name in ("days", "seconds", "microseconds")
)  # pendulum's durations define these otherwise


def nanoseconds(value: timedelta) -> int:
    """Return a duration as Go's time.Duration has it."""
    whole: int = (_DAYS(value) * 86_400 + _SECONDS(value)) * 1_000_000_000 + _MICROSECONDS(value) * 1000
    finer: int = getattr(value, "nanoseconds", 0)  # of pandas' Timedelta, below a microsecond
    return whole + finer


def _iso(value: Any) -> str:
    return value.isoformat()  # type: ignore[no-any-return]


def _numpy_scalar(value: Any) -> object:
    kind = value.dtype.kind
    for kinds, make in (("b", bool), ("iu", int), ("f", float), ("c", complex)):
        if kind in kinds:
            return make(value)
    if kind == "m":
        return _numpy_duration(value)
    if kind == "M":
        raise SerializationError(
            f"numpy's datetime64 {short(value)} has no time zone; convert it to a datetime that has one"
        )
    raise SerializationError(f"numpy's {type(value).__name__} is not a msgpack type; convert it first")


def _numpy_duration(value: Any) -> int:
    import numpy

    unit, count = numpy.datetime_data(value.dtype)
    if unit not in _UNITS or value != value:
        raise SerializationError(f"numpy's timedelta64 {short(value)} is no number of nanoseconds")
    return int(value.astype("int64")) * count * _UNITS[unit]  # numpy would overflow in silence


def _refused(reason: str) -> Form:
    def refuse(value: Any) -> object:
        raise SerializationError(f"{type(value).__qualname__} is not written: {reason}")

    return refuse


def _raw(value: Any) -> object:
    from .pure.msgpack import unpack

    return unpack(bytes(value))


def _extension(value: Any) -> object:
    from msgpack import ExtType

    return tuple.__new__(ExtType, (value.code, bytes(value.data)))


_SECRET = _refused("it is there to be kept secret; exclude the field, or serialize it as what is to be seen")
_FORMS: dict[str, Form] = {
    **dict.fromkeys(("builtins.set", "builtins.frozenset", "collections.deque"), list),
    **dict.fromkeys(("datetime.date", "datetime.time"), _iso),
    **dict.fromkeys(("uuid.UUID", "decimal.Decimal", "_pydecimal.Decimal"), str),
    **dict.fromkeys(("pathlib.PurePath", "pathlib._local.PurePath", "pathlib.types.PurePath"), str),
    **dict.fromkeys((f"ipaddress.IPv{version}{kind}" for version in (4, 6) for kind in ("Address", "Network")), str),
    **dict.fromkeys(("pydantic_core._pydantic_core.Url", "pydantic_core._pydantic_core.MultiHostUrl"), str),
    **dict.fromkeys(("pydantic.networks._BaseUrl", "pydantic.networks._BaseMultiHostUrl"), str),
    "pydantic.types._SecretBase": _SECRET,
    "numpy.generic": _numpy_scalar,
    "numpy.ndarray": _refused("call its tolist() first"),
    "msgspec.Raw": _raw,
    "msgspec.msgpack.Ext": _extension,
    "msgspec.UnsetType": _refused("UNSET is left out of a msgspec.Struct, and has no form elsewhere"),
}


@lru_cache(maxsize=1024)
def standard_form(cls: Any) -> Form | None:
    """Return the function that makes the form of a class; None if it has none. The function may refuse a value."""
    for base in cls.__mro__:
        form = _FORMS.get(f"{base.__module__}.{base.__qualname__}")
        if form is not None:
            return form
    return None
