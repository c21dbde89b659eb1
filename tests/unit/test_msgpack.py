"""What msgpack can hold, and what is refused, with the path to it.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import collections
import enum
import re
import tracemalloc
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, NamedTuple

import attrs
import msgpack
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxa_fast import SerializationError
from fluxa_fast.protocol import Implementation, load, missing_modules
from fluxa_fast.protocol.commands import entry_head

ALL = [load("python")] if missing_modules() else [load("c"), load("python")]


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclass(slots=True)
class Item:
    price: Any
    name: str = "thing"


@dataclass
class Cart:
    items: list[Any] = field(default_factory=list)


class Struct(msgspec.Struct, rename="camel"):
    user_id: int


@attrs.define
class Attrs:
    a: int


class Model(pydantic.BaseModel):
    b: int


class Text(str):
    __slots__ = ()


class Map(dict):  # type: ignore[type-arg]
    pass


class List(list):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Point(1, 2), [1, 2]),
        (Item(3), {"price": 3, "name": "thing"}),
        (Struct(1), {"userId": 1}),
        (Attrs(1), {"a": 1}),
        (Model(b=2), {"b": 2}),
        (Text("x"), "x"),
        (Map(a=1), {"a": 1}),
        (List([1]), [1]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (memoryview(b"abc")[::2], b"ac"),
        (bytearray(b"x"), b"x"),
        ({2: 2, None: 3, b"x": 4, (1, 2): 5, 1.5: 6, True: 7}, None),
        (timedelta(microseconds=1), 1000),
        (msgpack.ExtType(5, b"xy"), msgpack.ExtType(5, b"xy")),
        (1 + 2j, 1 + 2j),
        (-0.0, -0.0),
    ],
)
def test_values_and_what_they_come_back_as(implementation: Implementation, value: Any, plain: Any) -> None:
    came_back = implementation.unpack(implementation.pack(value))
    expected = value if plain is None else plain
    assert came_back == expected
    assert repr(came_back) == repr(expected)


@pytest.mark.parametrize(
    "when",
    [
        datetime(2026, 2, 28, 16, 35, tzinfo=UTC),
        datetime(2026, 2, 28, 16, 35, 0, 123456, tzinfo=timezone(timedelta(hours=-5))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 5, tzinfo=UTC),
        datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC),
        datetime(2514, 5, 30, 1, 53, 4, tzinfo=UTC),
    ],
)
def test_times_keep_their_instant(implementation: Implementation, when: datetime) -> None:
    packed = implementation.pack(when)
    came_back = implementation.unpack(packed)
    assert came_back == when
    assert came_back.tzinfo is UTC
    assert packed == msgpack.packb(when, datetime=True)


def cycle() -> list[Any]:
    around: list[Any] = [1]
    around.append({"me": [around]})
    return around


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


class Growing(dict):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**64, "body: int 18446744073709551616 is outside of msgpack's range"),
        (-(2**63) - 1, "body: int -9223372036854775809 is outside"),
        ([10**5000], "body[0]: int "),
        ({"items": [1, 2, 3, Item(object())]}, "body['items'][3].price: object is not a msgpack type"),
        (Cart([Item(1), Item({"a": object()})]), "body.items[1].price['a']: object is not a msgpack type"),
        ({"a": datetime(2026, 1, 1)}, "body['a']: datetime datetime.datetime(2026, 1, 1, 0, 0) has no time zone"),
        ("x\ud800", "body: str 'x\\ud800' has a lone surrogate at index 1"),
        ({"\udc00": 1}, "has a lone surrogate at index 0"),
        (cycle(), "body[1]['me'][0]: contains itself: a cycle can't be written as msgpack"),
        (nested(513), "nested deeper than 512 levels"),
        ([{1, len}], "body[0][1]: builtin_function_or_method is not a msgpack type"),
        (Point(1, lambda: 1), "body[1]: function is not a msgpack type"),  # type: ignore[arg-type]
        (range(3), "body: range is not a msgpack type; convert it first, or give the Registry a default= hook"),
    ],
    ids=lambda value: None if not isinstance(value, str) else value[:20].encode("ascii", "replace").decode(),
)
def test_refused_values_name_their_place(implementation: Implementation, value: Any, message: str) -> None:
    with pytest.raises(SerializationError, match=re.escape(message)):
        implementation.pack(value)


def test_512_levels_are_written_and_read(implementation: Implementation) -> None:
    assert implementation.unpack(implementation.pack(nested(512))) == nested(512)
    packed = b"\x91" * 513 + b"\x01"
    with pytest.raises(SerializationError, match="nested deeper than 512"):
        implementation.unpack(packed)


def test_default_hook(implementation: Implementation) -> None:
    assert implementation.unpack(implementation.pack([{3, 1}, date(2026, 1, 2)], default=hook)) == [
        [1, 3],
        "2026-01-02",
    ]
    with pytest.raises(SerializationError, match=r"body\[0\]: the default hook raised KeyError for a value of type"):
        implementation.pack([object()], default={}.__getitem__)
    with pytest.raises(SerializationError, match=r"the default hook returned a value of type object, which is not"):
        implementation.pack([object()], default=lambda value: value)


def hook(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value.isoformat()


def test_a_hook_cant_use_the_buffer_that_asks_it(implementation: Implementation) -> None:
    head = entry_head("orders")
    buffer: Any = implementation.CommandBuffer(lambda value: buffer.entry(head, 1))
    with pytest.raises(SerializationError, match="is being written to"):
        buffer.entry(head, object())
    assert len(buffer) == 0


def test_a_dict_that_changes_while_it_is_written(implementation: Implementation) -> None:
    values: dict[Any, Any] = {}

    def grow(value: Any) -> int:
        values[len(values)] = 1
        return 1

    values["x"] = object()
    with pytest.raises(SerializationError, match="changed its size while it was being written"):
        implementation.pack(values, default=grow)


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"\xc1", b"\x01\x02", b"\x91", b"\xa3ab", b"\xd9", b"\xa1\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff\x01",
        b"\xc6\xff\xff\xff\xffxx", b"\xdb\xff\xff\xff\xff", b"\x81\x80\x01", b"\x81\x91\x80\x01", b"\xc9\xff\xff\xff\xff\x05",
        b"\xcf\x00", b"\xdc\xff\xff" * 3000, b"\x91" * 100_000, b"\x81" * 100_000, b"\xd7\xff" + b"\xff" * 8, b"\xdd\xff\xff\xff\xff" * 600,
    ],
    ids=lambda packed: packed[:8].hex() or "empty",
)  # fmt: skip
def test_promise_7_hostile_bytes_are_refused_without_allocating(implementation: Implementation, packed: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SerializationError):
            implementation.unpack(packed)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000 + 40 * len(packed)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"\xa5ab", "byte 0: needs 5 bytes, only 2 are left"),
        (b"\xa2a", "byte 0: needs 2 bytes, only 1 is left"),
        (b"\x92\x01\xa1", "byte 2: needs 1 byte, only 0 are left"),
        (b"\xcd\x01", "byte 0: needs 2 bytes, only 1 is left"),
        (b"\xda\x01", "byte 0: needs 2 bytes, only 1 is left"),
        (b"\xc7\x05\x09ab", "byte 0: needs 6 bytes, only 3 are left"),  # the type stands before the payload
        (b"\xd4\x09", "byte 0: needs 2 bytes, only 1 is left"),
        (b"\x95\x01\x02", "byte 0: needs 5 bytes, only 2 are left"),  # an element has one byte, at least
        (b"\x83\x01\x02", "byte 0: needs 6 bytes, only 2 are left"),
        (b"\x93\x94\x01\x02\x03\x04\x05", "byte 1: needs 6 bytes, only 5 are left"),  # 4, and 2 of the outer array
        (b"\x01\x02", "byte 1: 1 byte follows after the value"),
        (b"\x01\x02\x03", "byte 1: 2 bytes follow after the value"),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_an_error_tells_how_many_bytes_are_missing(implementation: Implementation, packed: bytes, words: str) -> None:
    with pytest.raises(SerializationError) as refused:
        implementation.unpack(packed)
    assert str(refused.value) == words


@pytest.mark.parametrize("code", [0, 1, 127, -2, -127])
def test_extensions_of_any_type_are_kept(implementation: Implementation, code: int) -> None:
    for size in (0, 1, 2, 3, 4, 8, 16, 17, 255, 256, 65536):
        packed = implementation.pack(implementation.unpack(extension(code, b"x" * size)))
        assert packed == extension(code, b"x" * size)


def extension(code: int, payload: bytes) -> bytes:
    fixed = {1: b"\xd4", 2: b"\xd5", 4: b"\xd6", 8: b"\xd7", 16: b"\xd8"}
    size = len(payload)
    if size in fixed:
        head = fixed[size]
    elif size < 256:
        head = b"\xc7" + size.to_bytes(1, "big")
    elif size < 65536:
        head = b"\xc8" + size.to_bytes(2, "big")
    else:
        head = b"\xc9" + size.to_bytes(4, "big")
    return head + code.to_bytes(1, "big", signed=True) + payload


# ---- against msgpack-python, on random input ------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
)
keys = (
    st.text() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.booleans() | st.none() | st.floats(allow_nan=False)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(keys, inner, max_size=20), max_leaves=50
)


@given(values)
@settings(max_examples=300)
def test_random_values_are_written_as_msgpack_python_writes_them(value: Any) -> None:
    expected = msgpack.packb(value, datetime=True)
    for implementation in ALL:
        assert implementation.pack(value) == expected
        assert implementation.unpack(expected) == msgpack.unpackb(expected, timestamp=3, strict_map_key=False)


@given(st.binary(max_size=200))
@settings(max_examples=1000)
def test_random_bytes_mean_the_same_to_both_implementations(packed: bytes) -> None:
    outcomes = set()
    for implementation in ALL:
        try:
            outcomes.add(repr(implementation.unpack(packed)))
        except SerializationError as error:
            outcomes.add(f"refused: {error}")
    assert len(outcomes) == 1


odd = st.sampled_from([2**64, -(2**63) - 1, "\ud800", object(), datetime(2026, 1, 1), {1}, Color.RED, Item(object())])


@given(st.recursive(scalars | odd, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20))
@settings(max_examples=300)
def test_both_implementations_refuse_with_the_same_words(value: Any) -> None:
    outcomes = set()
    for implementation in ALL:
        try:
            outcomes.add(implementation.pack(value))
        except SerializationError as error:
            outcomes.add(re.sub(r"0x[0-9a-f]+", "0x", str(error)).encode("utf-8", "surrogatepass"))
    assert len(outcomes) == 1


def test_promise_7_a_key_nested_as_deep_as_may_be(implementation: Implementation) -> None:
    [key] = implementation.unpack(b"\x81" + b"\x91" * 510 + b"\x05\xc0")
    for _ in range(510):
        [key] = key
    assert key == 5
    with pytest.raises(SerializationError):
        implementation.unpack(b"\x81" + b"\x91" * 512 + b"\x05\xc0")
