"""Promise 1: what the original wrote, byte for byte."""

from __future__ import annotations

import enum
import json
import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from msgpack import Timestamp

from fluxa_fast.protocol import Implementation

CASES = json.loads(Path(__file__).parents[1].joinpath("golden", "go-events.json").read_text())["cases"]
WRITTEN = {case["name"]: case for case in CASES if "fields" in case}


@dataclass
class Order:
    UserID: int = 1
    ProductID: int = 42
    Quantity: int = 3


@dataclass
class Inner:
    X: int
    Y: int


@dataclass
class Emb:
    Inner: Any
    Z: bool


@dataclass
class Nested:
    In: Any
    P: Any
    L: Any
    M: Any
    Any: int


@dataclass
class Empty:
    pass


class Color(enum.Enum):
    RED = 7


def python_value(name: str) -> Any:
    """What means the same in Python, or KeyError if Python can't say it."""
    kind, _, rest = name.partition(" ")
    if kind in ("int64", "uint8", "int") and rest.lstrip("-").isdigit():
        return int(rest)
    if kind in ("string", "bytes", "[]int8") and rest.startswith("len "):
        size = int(rest[4:])
        return {"string": "x" * size, "bytes": b"y" * size, "[]int8": [0] * size}[kind]
    return VALUES[name]


VALUES: dict[str, Any] = {
    **dict.fromkeys(("order", "order pointer", "order with meta"), Order()),
    "uint64 max": 2**64 - 1,
    "ints": {
        "A": 255, "B": 65535, "C": 2**32 - 1, "D": 2**64 - 1, "E": -128, "F": -32768, "G": -(2**31), "H": -(2**63)
    },
    "string unicode": "zażółć 🎉 \0 end",
    "float64 0.1": 0.1,
    "float64 inf": math.inf,
    "float64 -inf": -math.inf,
    "float64 integral 3": 3.0,
    "bool true": True,
    "bool false": False,
    "nested": Nested(Inner(1, -1), None, [Inner(2, 3)], {"k": [1, "a", None, True]}, 7),
    "embedded": Emb(Inner(1, 2), True),
    "empty struct": Empty(),
    "map[int]string": {1: "a"},
    "map[string]interface": {"a": 1},
    "slice of string": ["a", "b"],
    "array of int": (1, 2, 3),
    "bin struct": {"B": b"\1\2", "A": bytearray(b"\1\2\3\4"), "S": "s"},
    "map of 16": {f"k{n:02}": n for n in (0, 3, 7, 8, 13, 5, 9, 14, 15, 1, 10, 11, 2, 4, 6, 12)},
    "time 2026 utc": datetime(2026, 2, 28, 16, 35, tzinfo=UTC),
    "time with ns": Timestamp(1772296500, 123456789),
    "time zero": datetime(1, 1, 1, tzinfo=UTC),
    "time 1960": datetime(1960, 1, 1, tzinfo=UTC),
    "time 2600": Timestamp(19880899200, 5),
    "time in struct": {"T": datetime(2026, 2, 28, 16, 35, tzinfo=timezone(timedelta(hours=1)))},
    "duration": timedelta(seconds=1.5),
    "complex": 1 + 2j,
}  # fmt: skip
# Python writes no float32, has no nil of a type, and its nan has other bits.
NOT_IN_PYTHON = {
    "body nil with meta", "float32 0.1", "float64 nan", "flt", "tagged", "nil pointer", "nil slice", "nil map",
    "order with duplicate meta key", "order with meta named s", "order with empty meta", "meta s",
}  # fmt: skip


def body_of(case: dict[str, Any]) -> str:
    return next(field["value_hex"] for field in case["fields"] if field["name_hex"] == "73")


def with_body() -> list[str]:
    return [name for name, case in WRITTEN.items() if any(field["name_hex"] == "73" for field in case["fields"])]


def test_most_cases_can_be_said_in_python() -> None:
    said = 0
    for name in with_body():
        try:
            python_value(name)
            said += 1
        except KeyError:
            pass
    assert said >= 70


@pytest.mark.parametrize("name", with_body())
def test_promise_1_the_same_value_gives_the_same_bytes(implementation: Implementation, name: str) -> None:
    try:
        value = python_value(name)
    except KeyError:
        pytest.skip("Python has no value that means the same")
    packed = implementation.pack(value)
    expected = body_of(WRITTEN[name])
    beginning, _, size = expected.partition("...(")
    assert packed.hex().startswith(beginning)
    if size:
        assert len(packed) == int(size.split()[0])
    else:
        assert packed.hex() == expected


@pytest.mark.parametrize("name", with_body())
def test_promise_1_what_the_original_wrote_is_read(implementation: Implementation, name: str) -> None:
    written = body_of(WRITTEN[name])
    if "..." in written:
        beginning, _, size = written.partition("...(")
        filler = beginning[-2:]
        written = beginning + filler * (int(size.split()[0]) - len(beginning) // 2)
    value = implementation.unpack(bytes.fromhex(written))
    try:
        expected = python_value(name)
    except KeyError:
        return
    if isinstance(expected, timedelta):
        assert value == expected // timedelta(microseconds=1) * 1000
        return
    if isinstance(expected, Timestamp) and isinstance(value, datetime):
        assert value == EPOCH + timedelta(seconds=expected.seconds, microseconds=expected.nanoseconds // 1000)
        return
    assert implementation.pack(value).hex() == written


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_float32_is_read(implementation: Implementation) -> None:
    assert implementation.unpack(bytes.fromhex("ca3dcccccd")) == struct.unpack(">f", bytes.fromhex("3dcccccd"))[0]
    assert math.isnan(implementation.unpack(bytes.fromhex("cb7ff8000000000001")))
