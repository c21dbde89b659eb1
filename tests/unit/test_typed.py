"""`event.unserialize(T)`"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import msgspec
import pydantic
import pytest

from fluxa_fast import SerializationError
from fluxa_fast.protocol import Implementation
from fluxa_fast.protocol.resp import bulk

T = TypeVar("T")
UserID = NewType("UserID", int)
NOW = datetime(2026, 2, 28, 16, 35, tzinfo=UTC)


class Color(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict):
    a: int
    b: NotRequired[str]


@dataclass
class Item:
    price: float
    name: str = "thing"


@dataclass
class Order:
    UserID: int
    items: list[Item] = field(default_factory=list)
    parent: Optional["Order"] = None


@dataclass
class Box(Generic[T]):
    content: T


class Struct(msgspec.Struct, rename="camel"):
    user_id: int


@attrs.define
class Attrs:
    a: int
    _b: str = "x"


class Model(pydantic.BaseModel):
    count: int


def event_with(implementation: Implementation, body: Any) -> Any:
    reader = implementation.ReplyReader()
    reader.feed(b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\ns\r\n" + bulk(implementation.pack(body)))
    batch: Any = reader.read_range("orders")
    return batch.events[0]


@pytest.mark.parametrize(
    ("body", "wanted", "expected"),
    [
        ({"UserID": 1, "items": [{"price": 2}]}, Order, Order(1, [Item(2.0)])),
        ({"UserID": 1, "parent": {"UserID": 2}, "new field": 1}, Order, Order(1, [], Order(2))),
        ({"content": 5}, Box[int], Box(5)),
        ([1, 2], Point, Point(1, 2)),
        ({"x": 1}, Point, Point(1, 0)),
        ({"a": 1, "b": "x"}, Options, {"a": 1, "b": "x"}),
        ("red", Color, Color.RED),
        ("red", Color | int, Color.RED),
        (5, Color | int, 5),
        (None, Optional[int], None),
        (None, Union[int, None], None),
        ([1, 2], list[int], [1, 2]),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, 1], set[int], {1}),
        ([1, 2], Sequence[int], [1, 2]),
        ({"a": [1]}, dict[str, list[int]], {"a": [1]}),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        (NOW, datetime, NOW),
        ("2026-02-28T16:35:00Z", datetime, NOW),
        ("2026-02-28", date, date(2026, 2, 28)),
        (1_500_000_000, timedelta, timedelta(seconds=1.5)),
        ("1.10", Decimal, Decimal("1.10")),
        (str(uuid.UUID(int=5)), uuid.UUID, uuid.UUID(int=5)),
        (uuid.UUID(int=5).bytes, uuid.UUID, uuid.UUID(int=5)),
        (1, float, 1.0),
        ("a", Literal["a", "b"], "a"),
        (1, Annotated[int, "meta"], 1),
        (1, UserID, 1),
        ({"any": [1]}, Any, {"any": [1]}),
        ({"any": [1]}, None, {"any": [1]}),
        ({"any": [1]}, dict, {"any": [1]}),
        ({"userId": 1}, Struct, Struct(1)),
        ({"a": 1, "_b": "y"}, Attrs, Attrs(1, "y")),
        ({"count": 1}, Model, Model(count=1)),
        ([{"count": 1}], list[Model], [Model(count=1)]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_types(implementation: Implementation, body: Any, wanted: Any, expected: Any) -> None:
    made = event_with(implementation, body).unserialize(wanted)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("body", "wanted", "message"),
    [
        ({"UserID": 1, "items": [{"price": 2}, {"price": "x"}]}, Order, "body.items[1].price: expected float, not str"),
        ({}, Order, "body: Order needs a field 'UserID', which is not there"),
        (5, Order, "body: expected Order, not int"),
        (True, int, "body: expected int, not bool"),
        (1, bool, "body: expected bool, not int"),
        ([1, "a"], list[int], "body[1]: expected int, not str"),
        ({"a": "b"}, dict[str, int], "body['a']: expected int, not str"),
        ({1: 2}, dict[str, int], "body key 1: expected str, not int"),
        ("blue", Color, "'blue' is not a value of Color"),
        ("c", Literal["a"], "expected one of ('a',), not 'c'"),
        (1.5, int | str, "body: expected int or str, not float"),
        ({"parent": {}, "UserID": 1}, Order, "body.parent: Order needs a field 'UserID'"),
        ("2026-01-01 10:00", datetime, "has no time zone"),
        ("x", Decimal, "'x' is not a decimal number"),
        ("x", uuid.UUID, "'x' is not a UUID"),
        ({"count": "x"}, Model, "body.count: "),
        ({"userId": "x"}, Struct, "body.userId: Expected int, got str"),
        ({"b": "x"}, Options, "Options needs a key 'a'"),
    ],
)
def test_mismatches_name_event_place_and_type(
    implementation: Implementation, body: Any, wanted: Any, message: str
) -> None:
    with pytest.raises(SerializationError) as caught:
        event_with(implementation, body).unserialize(wanted)
    assert str(caught.value).startswith("orders: event 1-1: body")
    assert message in str(caught.value)


def test_values_that_are_no_type(implementation: Implementation) -> None:
    with pytest.raises(TypeError, match="can't make"):
        event_with(implementation, 1).unserialize(range)
