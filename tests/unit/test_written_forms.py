"""What is written of values that msgpack has no type for, without a hook and with one. docs/bodies.md has the table."""

from __future__ import annotations

import collections
import enum
import ipaddress
import pathlib
import uuid
import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgpack
import msgspec
import pydantic
import pytest

from fluxa_fast import SerializationError
from fluxa_fast.protocol import Implementation


def came_back(implementation: Implementation, value: Any, default: Any = None) -> Any:
    return implementation.unpack(implementation.pack(value, default))


@dataclass(frozen=True)
class Frozen:
    a: int


class Color(enum.Enum):
    RED = "red"
    ONE = 1


# ---- standard types -----------------------------------------------------------------------------------

ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (ID, str(ID)),
        (Decimal("1.10"), "1.10"),
        (Decimal("NaN"), "NaN"),
        (date(2026, 2, 28), "2026-02-28"),
        (time(12, 30, 1, 5), "12:30:01.000005"),
        (time(12, 30, tzinfo=UTC), "12:30:00+00:00"),
        ({3}, [3]),
        (frozenset("a"), ["a"]),
        (collections.deque([1, 2], maxlen=2), [1, 2]),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (pathlib.Path("a"), "a"),
        (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (ipaddress.ip_interface("::1/64"), "::1/64"),
        (msgspec.Raw(msgspec.msgpack.encode({"a": 1})), {"a": 1}),
        (msgspec.msgpack.Ext(5, b"xy"), msgpack.ExtType(5, b"xy")),
        ({ID: {date(2026, 1, 1): {Decimal(1)}}}, {str(ID): {"2026-01-01": ["1"]}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_standard_types_are_written_without_a_hook(implementation: Implementation, value: Any, plain: Any) -> None:
    back = came_back(implementation, value)
    assert back == plain
    assert type(back) is type(plain)


def test_what_numpy_has(implementation: Implementation) -> None:
    numpy = pytest.importorskip("numpy")
    for value, plain in (
        (numpy.int8(-3), -3),
        (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.float32(1.5), 1.5),
        (numpy.float64(0.1), 0.1),
        (numpy.longdouble(1.5), 1.5),
        (numpy.bool_(True), True),
        (numpy.complex64(1 + 2j), 1 + 2j),
        (numpy.str_("x"), "x"),
        (numpy.bytes_(b"x"), b"x"),
        (numpy.timedelta64(5, "s"), 5_000_000_000),
    ):
        back = came_back(implementation, value)
        assert back == plain
        assert type(back) is type(plain)
    for value, message in (
        (numpy.datetime64("2026-01-01"), "has no time zone"),
        (numpy.timedelta64("NaT", "s"), "is no number of nanoseconds"),
        (numpy.timedelta64(2**62, "s"), "outside of msgpack's range"),
        (numpy.timedelta64(1, "M"), "is no number of nanoseconds"),
        (numpy.array([1]), r"ndarray is not written: call its tolist\(\) first"),
        (numpy.void(b"x"), "numpy's void is not a msgpack type"),
    ):
        with pytest.raises(SerializationError, match=message):
            implementation.pack([value])


def test_what_pandas_has(implementation: Implementation) -> None:
    pandas = pytest.importorskip("pandas")
    moment = pandas.Timestamp("2026-02-28T16:35:00.123456789", tz="Europe/Paris")
    packed = implementation.pack(moment)
    assert msgpack.unpackb(packed).to_unix_nano() == moment.value
    assert came_back(implementation, pandas.Timedelta(-5, "ns")) == -5
    with pytest.raises(SerializationError, match=r"body\[0\]: NaT is not a time; write None where there is none"):
        implementation.pack([pandas.NaT])
    with pytest.raises(SerializationError, match="has no time zone"):
        implementation.pack(pandas.Timestamp("2026-02-28"))


def test_what_pendulum_has(implementation: Implementation) -> None:
    pendulum = pytest.importorskip("pendulum")
    assert came_back(implementation, pendulum.duration(seconds=-86_430)) == -86_430_000_000_000
    between = pendulum.datetime(2026, 1, 1) - pendulum.datetime(2026, 2, 1, 3)
    assert came_back(implementation, between) == -(31 * 86_400 + 3 * 3600) * 1_000_000_000
    moment = pendulum.datetime(2026, 1, 1, tz="Europe/Paris")
    assert came_back(implementation, moment) == moment
    assert came_back(implementation, pendulum.date(2026, 1, 2)) == "2026-01-02"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (pydantic.SecretStr("x"), "SecretStr is not written: it is there to be kept secret"),
        (msgspec.UNSET, "UNSET is left out of a msgspec.Struct"),
        (pathlib.PurePosixPath("\udc00"), "lone surrogate"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_is_refused_with_words(implementation: Implementation, value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=message) as caught:
        implementation.pack({"row": [value]})
    assert caught.value.path == "body['row'][0]"


# ---- the hook -----------------------------------------------------------------------------------------


def test_the_hook_goes_before_standard_types(implementation: Implementation) -> None:
    asked = []

    def hook(value: Any) -> Any:
        asked.append(value)
        return repr(value)

    body = {"day": date(2026, 1, 2), "id": ID}
    assert came_back(implementation, body, hook) == {"day": "datetime.date(2026, 1, 2)", "id": repr(ID)}
    assert asked == [date(2026, 1, 2), ID]


@pytest.mark.parametrize("declines", ["raises", "says so"])
def test_a_hook_that_does_not_know_a_type_leaves_it(implementation: Implementation, declines: str) -> None:
    def hook(value: Any) -> Any:
        if declines == "raises":
            raise TypeError("not mine")
        return NotImplemented

    assert came_back(implementation, [ID], hook) == [str(ID)]
    with pytest.raises(SerializationError, match=r"body\[0\]: the default hook (raised TypeError|returned a value of)"):
        implementation.pack([object()], hook)


def test_a_hook_is_asked_once_about_each_value(implementation: Implementation) -> None:
    """Also where a body needs the complete writer of the pure implementation: a key of no plain type, an error."""
    asked = []

    def hook(value: Any) -> Any:
        asked.append(value)
        return Color.RED if isinstance(value, range) else [1]

    class Other:
        pass

    other = Other()
    assert came_back(implementation, {Color.ONE: other, "r": range(3)}, hook) == {1: [1], "r": "red"}
    assert asked == [other, range(3)]
    asked.clear()
    with pytest.raises(SerializationError, match="lone surrogate"):
        implementation.pack([other, "\udc00"], hook)
    assert asked == [other]


def test_no_answer_recurses_without_end(implementation: Implementation) -> None:
    """Every replacement counts a level."""

    class Endless(enum.Enum):
        A = "a"

        @property
        def value(self) -> Any:
            return self

    class Lists:
        pass

    class Model(pydantic.BaseModel):
        a: int

        @pydantic.model_serializer
        def again(self) -> Any:
            return [self]

    for value, hook in ((Endless.A, None), (Lists(), lambda one: [Lists()]), (Model(a=1), None)):
        with pytest.raises(SerializationError, match=r"nested deeper|contains itself|raised \w+"):
            implementation.pack(value, hook)
    deep: Any = 1
    for _ in range(200):
        deep = {"x": deep}

    def boxed(value: Any) -> Any:
        return {"x": value.inner} if value.inner is not None else 1

    class Box:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

    box: Any = None
    for levels in range(1, 300):
        box = Box(box)
        if levels == 250:
            implementation.pack(box, boxed)
    with pytest.raises(SerializationError, match="nested deeper than 512 levels"):
        implementation.pack(box, boxed)


# ---- keys ---------------------------------------------------------------------------------------------


def test_keys_that_can_not_be_read_back_are_refused(implementation: Implementation) -> None:
    for key in (Frozen(1), (1, Frozen(1))):
        with pytest.raises(SerializationError, match="is written as a map, which can't be read back as a key"):
            implementation.pack({"a": {key: 1}})
    for body in ({ID: 1, str(ID): 2}, {str(ID): 1, ID: 2}, {Color.ONE: 1, True: 2}, {(Color.ONE,): 1, (1,): 2}):
        with pytest.raises(SerializationError, match="is written as another key of the same dict is") as caught:
            implementation.pack([body])
        assert caught.value.path.startswith("body[0] key ")


def test_keys_that_are_read_back(implementation: Implementation) -> None:
    body = {ID: 1, Color.RED: 2, (1, (2, "x")): 3, Color.ONE: 4, datetime(2026, 1, 1, tzinfo=UTC): 5, None: 6, b"x": 7}
    assert list(came_back(implementation, body).values()) == [1, 2, 3, 4, 5, 6, 7]


# ---- exceptions of values -----------------------------------------------------------------------------


class _Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        raise RuntimeError("no zone data")


class _Lazy(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise KeyError("lost")


class _Items(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise OSError("gone")


class _Computed(pydantic.BaseModel):
    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def total(self) -> int:
        raise KeyError("price")


@dataclass
class _Property:
    a: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "a":
            raise ZeroDivisionError("by zero")
        return super().__getattribute__(name)


def _released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


@pytest.mark.parametrize(
    ("value", "message", "cause"),
    [
        (
            datetime(2026, 1, 1, tzinfo=_Zone()),
            "datetime can't be written: it raised RuntimeError: no zone",
            RuntimeError,
        ),
        (_Lazy(a=1), "_Lazy can't be written: it raised KeyError: 'lost'", KeyError),
        (_Items([1]), "_Items can't be written: it raised OSError: gone", OSError),
        (_released(), "memoryview can't be written: it raised ValueError", ValueError),
        (_Computed(), "_Computed can't be written: it raised KeyError: 'price'", KeyError),
        (_Property(), "field 'a' of _Property can't be read: ZeroDivisionError: by zero", ZeroDivisionError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_of_the_value_itself_is_told_with_its_place(
    implementation: Implementation, value: Any, message: str, cause: type[Exception]
) -> None:
    with pytest.raises(SerializationError) as caught:
        implementation.pack({"row": [value]})
    assert caught.value.reason.startswith(message)
    assert caught.value.path.startswith("body['row'][0]")
    assert isinstance(caught.value.__cause__, cause)


# ---- pydantic -----------------------------------------------------------------------------------------


class _Base(pydantic.BaseModel):
    a: int = 1


class _Derived(_Base):
    password: str = "secret"


class _Account(pydantic.BaseModel):
    name: str = pydantic.Field(alias="Name", default="n")
    password: str = pydantic.Field(exclude=True, default="secret")
    shown: Annotated[int, pydantic.PlainSerializer(str)] = 3
    raw: pydantic.Base64Bytes = b"eA=="
    site: pydantic.HttpUrl | None = None
    base: _Base = _Base()
    took: timedelta = timedelta(seconds=1)
    kind: Literal["a"] = "a"


class _Conditional(pydantic.BaseModel):
    a: int | None = pydantic.Field(default=None, exclude_if=lambda value: value is None)


def test_a_model_is_written_as_its_serializer_says(implementation: Implementation) -> None:
    value = _Account(site="https://example.test/x", base=_Derived())  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydantic's, of a field that holds a subclass
        back = came_back(implementation, value)
        dumped = value.model_dump(by_alias=True)
    assert back == {**dumped, "site": "https://example.test/x", "took": 1_000_000_000}
    assert "secret" not in repr(back)
    assert came_back(implementation, _Conditional()) == {}


@pytest.mark.parametrize("kind", [pydantic.HttpUrl, pydantic.AnyUrl, pydantic.PostgresDsn])
def test_a_url_is_text(implementation: Implementation, kind: Any) -> None:
    url = pydantic.TypeAdapter(kind).validate_python(
        "postgres://u:p@h/x" if kind is pydantic.PostgresDsn else "http://h/x"
    )
    assert came_back(implementation, {"target": url}) == {"target": str(url)}


# ---- msgspec ------------------------------------------------------------------------------------------


class _Partial(msgspec.Struct):
    a: int | msgspec.UnsetType = msgspec.UNSET
    b: int | msgspec.UnsetType = msgspec.UNSET


class _Short(msgspec.Struct, omit_defaults=True, tag="short", rename="camel"):
    some_list: list[int] = msgspec.field(default_factory=list)
    name: str = "x"
    moment: timezone | None = None


@pytest.mark.parametrize("value", [_Partial(), _Partial(b=2), _Short(), _Short([1], "y"), _Short(name="".join(["x"]))])
def test_a_struct_is_written_as_msgspec_writes_it(implementation: Implementation, value: Any) -> None:
    assert implementation.pack(value) == msgspec.msgpack.encode(value)
