"""What is written is read back: every kind of annotation, unions, models. docs/bodies.md says what is refused."""

from __future__ import annotations

import collections
import enum
import ipaddress
import pathlib
import sys
import uuid
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pydantic
import pytest
from typing_extensions import TypeAliasType

from fluxa_fast import Registry, SerializationError, wire_names
from fluxa_fast.protocol import Implementation
from tests.unit.test_typed import event_with

T = TypeVar("T")
K = TypeVar("K")


class Kind(enum.StrEnum):
    A = "a"
    B = "b"


class Place(enum.Enum):
    ORIGIN = (0, (0, 1))
    DAY = date(2026, 1, 2)
    ONE = 1


class Level(enum.IntEnum):
    LOW = 1


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass
class Line:
    sku: str


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T | None = None


@dataclass
class Lines(Page[Line]):
    total: int = 0


@dataclass
class Pair(Generic[K, T]):
    left: K
    right: dict[str, T]


@dataclass
class Numbered(Pair[int, T]):
    more: list[T] = field(default_factory=list)


@attrs.define(kw_only=True)
class Keywords:
    a: int
    b: Line = attrs.field(factory=lambda: Line("x"))


class Postponed(TypedDict, total=False):
    a: Required[int]
    b: str


class Partly(TypedDict):
    a: int
    b: NotRequired[Line]


class Owner(TypedDict):
    a: int


class Coordinates(NamedTuple):
    x: int
    line: Line = Line("x")


Ids = TypeAliasType("Ids", list[int])
Both = TypeAliasType("Both", tuple[T, T], type_params=(T,))


ID = uuid.UUID(int=5)
PATH = pathlib.PurePosixPath("/a")
ADDRESS = ipaddress.IPv4Address("10.0.0.1")
NETWORK = ipaddress.IPv6Network("::/8")


@dataclass
class Everything:
    kind: Literal[Kind.A] = Kind.A
    final: Final[int] = 3
    place: Place = Place.ORIGIN
    level: Level = Level.LOW
    rights: Rights = Rights.READ | Rights.WRITE
    ids: Ids = field(default_factory=lambda: [1])
    both: Both[int] = (1, 2)
    default: collections.defaultdict[str, list[int]] = field(
        default_factory=lambda: collections.defaultdict(list, a=[1])
    )
    ordered: collections.OrderedDict[str, int] = field(default_factory=lambda: collections.OrderedDict(b=1, a=2))
    counter: collections.Counter[str] = field(default_factory=lambda: collections.Counter("aab"))
    recent: collections.deque[Line] = field(default_factory=lambda: collections.deque([Line("a")]))
    labels: frozenset[str] = frozenset("a")
    days: set[date] = field(default_factory=lambda: {date(2026, 1, 2)})
    moment: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    at: time = time(1, 2, 3)
    took: timedelta = timedelta(seconds=-1.5)
    id: uuid.UUID = ID
    price: Decimal = Decimal("1.10")
    path: pathlib.PurePosixPath = PATH
    address: ipaddress.IPv4Address = ADDRESS
    network: ipaddress.IPv6Network = NETWORK
    by_key: dict[tuple[int, Kind], Line] = field(default_factory=lambda: {(1, Kind.B): Line("b")})
    page: Page[Line] = field(default_factory=lambda: Page([Line("a")], Line("b")))
    numbered: Numbered[Line] = field(default_factory=lambda: Numbered(1, {"a": Line("a")}, [Line("b")]))
    raw: bytearray = field(default_factory=lambda: bytearray(b"x"))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Everything(), Everything),
        (Page([Line("a")]), Page[Line]),
        (Page([1], 2), Page[int]),
        (Lines([Line("a")]), Lines),
        (Numbered(1, {"a": "x"}, ["y"]), Numbered[str]),
        (Keywords(a=1), Keywords),
        ({"a": 1}, Postponed),
        ({"a": 1, "b": Line("x")}, Partly),
        (Coordinates(1, Line("y")), Coordinates),
        ({"a": [Line("x")]}, dict[str, list[Line]]),
        ((1, [Line("x")]), tuple[int, list[Line]]),
        ({2, 1}, set[int]),
    ],
    ids=lambda value: None if isinstance(value, type) else type(value).__name__,
)
def test_what_was_written_is_read_back(implementation: Implementation, value: Any, wanted: Any) -> None:
    made = event_with(implementation, value).unserialize(wanted)
    assert made == value
    assert repr(made) == repr(value)


def test_types_of_numpy_pandas_and_pendulum(implementation: Implementation) -> None:
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    pendulum = pytest.importorskip("pendulum")
    for value in (
        numpy.int8(3), numpy.float32(1.5), numpy.bool_(True), numpy.complex64(1 + 2j),
        pandas.Timestamp("2026-01-02T03:04:05.678901", tz="UTC"), pendulum.datetime(2026, 1, 2, 3),
    ):  # fmt: skip
        made = event_with(implementation, value).unserialize(type(value))
        assert made == value
        assert type(made) is type(value)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement")
def test_an_alias_of_the_type_statement(implementation: Implementation) -> None:
    names: dict[str, Any] = {}
    exec("type Ids = list[int]\ntype Both[T] = tuple[T, Ids]\nclass Box[T]:\n    pass", names)
    assert event_with(implementation, [1]).unserialize(names["Ids"]) == [1]
    assert event_with(implementation, ["x", [1]]).unserialize(names["Both"][str]) == ("x", [1])


# ---- unions -------------------------------------------------------------------------------------------


@dataclass
class Created:
    id: int


@dataclass
class Renamed:
    id: int
    name: str


@dataclass
class Priced:
    id: int
    price: float = 0.0


@dataclass
class Cat:
    kind: Literal["cat"]
    age: int


@dataclass
class Dog:
    kind: Literal["dog"]
    age: int


class Tagged(msgspec.Struct, tag="one"):
    a: int


class Other(msgspec.Struct, tag="two"):
    a: int


class Model(pydantic.BaseModel):
    id: int
    label: str = pydantic.Field(alias="Label")


NOON = datetime(2026, 5, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Renamed(1, "new"), Created | Renamed),
        (Created(1), Renamed | Created),
        (Priced(1), Created | Priced),
        (Dog("dog", 3), Cat | Dog),
        ([Dog("dog", 3), Cat("cat", 1)], list[Cat | Dog]),
        (Other(1), Tagged | Other),
        (Model(id=1, Label="x"), Created | Model | Renamed),
        ({"a": 1}, Created | dict[str, int]),
        (NOON, date | datetime),
        (NOON, datetime | date),
        (date(2026, 1, 2), datetime | date),
        (2**60 + 1, float | int),
        (1.5, int | float),
        (True, int | bool),
        (5, timedelta | int),
        ("x", uuid.UUID | str),
        (uuid.UUID(int=7), uuid.UUID | Decimal | date),
        (Decimal("1.5"), uuid.UUID | Decimal | date),
        (date(2026, 1, 2), uuid.UUID | Decimal | date),
        (b"x", str | bytes),
        (Kind.B, Kind | int),
        (Level.LOW, str | Level),
        ([1, "a"], list[int] | list[int | str]),
        ({"b": Line("x"), "a": 1}, Created | Partly),
        (None, Created | None),
    ],
    ids=str,
)
def test_a_union_is_read_as_the_member_that_was_written(
    implementation: Implementation, value: Any, wanted: Any
) -> None:
    made = event_with(implementation, value).unserialize(wanted)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("body", "wanted", "expected"),
    [
        ({"id": 1, "name": "x", "new": 2}, Created | Renamed, Renamed(1, "x")),
        ({"id": 1, "new": 2}, Created | Renamed, Created(1)),
        ({"id": 1}, Priced | Renamed, Priced(1)),
        ("2026-05-06T12:00:00Z", uuid.UUID | datetime, NOON),
        (1, float | str, 1.0),
    ],
    ids=str,
)
def test_what_others_write_is_read_as_the_nearest_member(
    implementation: Implementation, body: Any, wanted: Any, expected: Any
) -> None:
    made = event_with(implementation, body).unserialize(wanted)
    assert made == expected
    assert type(made) is type(expected)


def test_an_error_in_the_nearest_member_is_told(implementation: Implementation) -> None:
    """It is not read as another member, which would leave out what is wrong."""
    with pytest.raises(SerializationError, match=r"body.name: expected str, not int"):
        event_with(implementation, {"id": 1, "name": 5}).unserialize(Created | Renamed)


@dataclass
class SameAsCreated:
    id: int


@dataclass
class Holder:
    value: str | uuid.UUID


@dataclass
class Unknown:
    value: "NotThere"  # type: ignore[name-defined]  # noqa: F821, UP037


@dataclass
class Initialised:
    a: int
    b: InitVar[int]


class FromPath(pydantic.BaseModel):
    a: int = pydantic.Field(validation_alias=pydantic.AliasPath("x", 0))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Created | SameAsCreated, "Created or SameAsCreated is ambiguous: a body may be read as Created and as Same"),
        (list[Created | SameAsCreated], "is ambiguous"),
        (timedelta | int, "timedelta or int is ambiguous"),
        (str | date, "is ambiguous"),
        (list[Line] | set[str], "is ambiguous"),
        (Created | dict[str, int], "is ambiguous.*give classes a field of their own, such as kind: Literal"),
        (Holder, "str or UUID is ambiguous"),
        (Unknown, "the annotations of Unknown can't be resolved: NameError: name 'NotThere' is not defined; define"),
        (list[Unknown], "can't be resolved"),
        (Initialised, "Initialised needs b, an InitVar"),
        (FromPath, "FromPath.a is written as 'a' and read from a path in the body"),
        (range, "can't make range"),
        ("Created", "it is not a type"),
    ],
    ids=str,
)
def test_a_type_that_can_not_be_read_back_is_refused_when_it_is_registered(wanted: Any, message: str) -> None:
    registry = Registry()
    registry.register_redis("localhost:1")
    registry.register_redis_stream("orders")
    broker = registry.validate().new_context().get_event_broker()
    with pytest.raises(TypeError, match=message) as caught:
        broker.register_body("orders", wanted)
    assert str(caught.value).startswith("'orders' can't have such bodies: ")


@pytest.mark.parametrize(
    "wanted",
    [
        Created | Renamed, Cat | Dog, int | float | str | bytes | None, datetime | date, Kind | int, Tagged | Other,
        Postponed | Owner, list[int] | list[str], str | Literal["x"], uuid.UUID | Decimal,
    ],
    ids=str,
)  # fmt: skip
def test_a_union_that_is_not_ambiguous_is_registered(wanted: Any) -> None:
    registry = Registry()
    registry.register_redis("localhost:1")
    registry.register_redis_stream("orders")
    registry.validate().new_context().get_event_broker().register_body("orders", wanted)


# ---- classes that refuse ------------------------------------------------------------------------------


@dataclass
class Refusing:
    a: int

    def __post_init__(self) -> None:
        raise KeyError("lost")


class RefusingModel(pydantic.BaseModel):
    a: int

    @pydantic.field_validator("a")
    @classmethod
    def look(cls, value: int) -> int:
        raise ZeroDivisionError("by zero")


class RefusingStruct(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        raise KeyError("lost")


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [(Refusing, KeyError), (RefusingModel, ZeroDivisionError), (RefusingStruct, KeyError), (list[Refusing], KeyError)],
)
def test_any_exception_of_a_class_is_told_with_the_event(
    implementation: Implementation, wanted: Any, cause: type[Exception]
) -> None:
    body: Any = [{"a": 1}] if wanted == list[Refusing] else {"a": 1}
    with pytest.raises(SerializationError, match=rf"orders: event 1-1: body.*{cause.__name__}") as caught:
        event_with(implementation, body).unserialize(wanted)
    assert isinstance(caught.value.__cause__, cause)


# ---- pydantic -----------------------------------------------------------------------------------------


class Inner(pydantic.BaseModel):
    took: timedelta = timedelta(milliseconds=1)


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID = uuid.UUID(int=1)
    day: date = date(2026, 1, 2)
    labels: set[str] = {"a"}
    price: Decimal = Decimal("1.10")
    address: ipaddress.IPv4Address = ipaddress.IPv4Address("10.0.0.1")
    pair: tuple[int, str] = (1, "x")
    kind: Kind = Kind.A


class ByName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(validate_by_name=True, validate_by_alias=False)
    a: int = pydantic.Field(default=1, alias="A")


class TwoNames(pydantic.BaseModel):
    a: int = pydantic.Field(serialization_alias="written", default=1)
    b: int = pydantic.Field(serialization_alias="Out", validation_alias=pydantic.AliasChoices("In", "in"), default=2)


class Forbidding(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    a: int = 1

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.a


class Allowing(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int = 1


class WithJson(pydantic.BaseModel):
    maybe: pydantic.Json[list[int]] | None = None
    listed: pydantic.Json[list[int]]
    text: pydantic.Json[str]
    took: pydantic.Json[timedelta]


class Tree(pydantic.BaseModel):
    took: timedelta = timedelta(seconds=2)
    children: list["Tree"] = []  # noqa: UP037
    named: dict[str, "Tree | None"] = {}  # noqa: UP037
    pair: tuple[timedelta, int] = (timedelta(seconds=3), 4)
    maybe: timedelta | None = None
    own: Annotated[timedelta, pydantic.PlainSerializer(lambda value: value.total_seconds())] = timedelta(seconds=5)


class Root(pydantic.RootModel[list[timedelta]]):
    pass


@pydantic.dataclasses.dataclass
class Data:
    took: timedelta = timedelta(seconds=1)
    inner: Inner = pydantic.Field(default_factory=Inner)


class Circle(pydantic.BaseModel):
    kind: Literal["circle"] = "circle"
    took: timedelta = timedelta(seconds=1)


class Square(pydantic.BaseModel):
    kind: Literal["square"] = "square"
    took: timedelta = timedelta(seconds=1)


class Drawing(pydantic.BaseModel):
    shape: Annotated[Circle | Square, pydantic.Field(discriminator="kind")] = Square()
    other: Circle | Square = Circle()
    site: pydantic.HttpUrl = pydantic.HttpUrl("http://example.test/x")
    encoded: pydantic.Base64Bytes = b"eA=="


@pytest.mark.parametrize(
    "value",
    [
        Inner(), Strict(), ByName(), TwoNames(a=5), TwoNames(In=7), Forbidding(a=2),  # type: ignore[call-arg]
        Allowing(a=1, b=[2]),  # type: ignore[call-arg]
        WithJson(listed="[1]", text='"x"', took='"PT1.5S"'),  # type: ignore[arg-type]
        Tree(children=[Tree(maybe=timedelta(1))], named={"x": Tree(), "y": None}), Root([timedelta(seconds=1)]), Data(),
        Drawing(encoded=b"eA=="),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_model_writes_it_reads(implementation: Implementation, value: Any) -> None:
    assert event_with(implementation, value).unserialize(type(value)) == value
    assert event_with(implementation, [value]).unserialize(list[type(value)]) == [value]  # type: ignore[misc]


def test_a_strict_model_refuses_what_it_does_not_write(implementation: Implementation) -> None:
    class Number(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)
        a: int
        pair: Annotated[tuple[str, str], pydantic.Strict()] = ("x", "y")

    for body in ({"a": "1"}, {"a": 1, "pair": "xy"}):
        with pytest.raises(SerializationError, match=r"body\.(a|pair): "):
            event_with(implementation, body).unserialize(Number)


# ---- msgspec ------------------------------------------------------------------------------------------


class Timed(msgspec.Struct):
    took: timedelta = timedelta(milliseconds=1)
    more: list[timedelta] = msgspec.field(default_factory=lambda: [timedelta(1)])
    named: dict[str, "Timed | None"] = msgspec.field(default_factory=dict)  # noqa: UP037
    line: Line = msgspec.field(default_factory=lambda: Line("x"))


class Array(msgspec.Struct, array_like=True, tag="array"):
    took: timedelta
    id: uuid.UUID


class Optional(msgspec.Struct, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    user_id: int | msgspec.UnsetType = msgspec.UNSET
    price: Decimal = Decimal(1)


class WithModel(msgspec.Struct):
    inner: Inner


@pytest.mark.parametrize(
    "value",
    [
        Timed(named={"x": Timed(), "y": None}), Array(timedelta(1), uuid.UUID(int=1)), Optional(), Optional(5, Decimal(2)),
        WithModel(Inner()),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_struct_writes_it_reads(implementation: Implementation, value: Any) -> None:
    assert event_with(implementation, value).unserialize(type(value)) == value


# ---- one result, with msgspec and without --------------------------------------------------------------


@wire_names("camel")
@dataclass
class Renaming:
    user_id: int


@dataclass
class Plain:
    a: int
    b: float
    c: list[Line]
    d: Line | None = None


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"a": 1, "b": 2, "c": [{"sku": "x"}], "unknown": 1}, Plain),
        ({"a": 1, "b": 2.5, "c": [], "d": None}, Plain),
        ({"userId": 1}, Renaming),
        ({"a": 1.0, "b": 2.5, "c": []}, Plain),
        ({"a": True, "b": 2.5, "c": []}, Plain),
        ({"a": 1, "b": 2.5}, Plain),
        ({"a": 1, "b": 2.5, "c": [{"sku": 1}]}, Plain),
    ],
    ids=str,
)
def test_msgspec_makes_the_same_of_bytes(
    implementation: Implementation, monkeypatch: pytest.MonkeyPatch, body: Any, wanted: Any
) -> None:
    from fluxa_fast.protocol import typed

    def outcome() -> Any:
        made = typed.reader(wanted)
        event = event_with(implementation, body)
        try:
            if made.from_bytes is not None:
                try:
                    return made.from_bytes(event.raw_body)
                except Exception:
                    pass
            return made.from_value(event.body)
        except SerializationError as error:
            return str(error._located("body"))

    with_msgspec = outcome()
    monkeypatch.setattr(typed, "decoder_of", lambda *_: None)
    without = outcome()
    assert with_msgspec == without
    assert repr(with_msgspec) == repr(without)
