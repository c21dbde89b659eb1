"""Promise 1: what the original wrote, byte for byte.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

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
from fluxa_fast.protocol.commands import entry_head
from fluxa_fast.protocol.resp import bulk

CASES = json.loads(Path(__file__).parents[1].joinpath("golden", "go-events.json").read_text("utf-8"))["cases"]
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
    **dict.fromkeys(("order", "order pointer", "order with meta", "unicode meta", "empty meta value"), Order()),
    **dict.fromkeys(("nil pointer", "nil slice", "nil map"), None),
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


def body_of(case: dict[str, Any]) -> str:
    return next(field["value_hex"] for field in case["fields"] if field["name_hex"] == "73")


def with_body() -> list[str]:
    return [name for name, case in WRITTEN.items() if any(field["name_hex"] == "73" for field in case["fields"])]


def said_in_python() -> list[str]:
    said = []
    for name in with_body():
        try:
            python_value(name)
        except KeyError:
            continue
        said.append(name)
    return said


def test_values_that_python_can_not_express() -> None:
    """float32, a nan with other bits, tags twice under one name, a tag that hides the body."""
    unsaid = set(with_body()) - set(said_in_python())
    assert unsaid == {"flt", "float32 0.1", "tagged", "float64 nan", "order with duplicate meta key", "meta key s"}


@pytest.mark.parametrize("name", said_in_python())
def test_promise_1_the_same_value_gives_the_same_bytes(implementation: Implementation, name: str) -> None:
    packed = implementation.pack(python_value(name))
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


@pytest.mark.parametrize("name", [name for name, case in WRITTEN.items() if case["meta"]])
def test_promise_1_whole_entries(implementation: Implementation, name: str) -> None:
    """Fields, names and order of an entry with tags; and read as the original's reader shows it."""
    case = WRITTEN[name]
    fields = [bytes.fromhex(field[part]) for field in case["fields"] for part in ("name_hex", "value_hex")]
    meta = case["meta"]
    tags = dict(zip(meta[::2], meta[1::2], strict=True))
    if "s" not in tags and len(tags) * 2 == len(meta):
        buffer = implementation.CommandBuffer()
        buffer.entry(entry_head("k"), python_value(name) if name in said_in_python() else None, tags)
        expected = [b"XADD", b"k", b"*", *fields]
        assert bytes(buffer.view()) == b"*%d\r\n" % len(expected) + b"".join(map(bulk, expected))
    reader = implementation.ReplyReader()
    reader.feed(b"*1\r\n*2\r\n$3\r\n1-1\r\n*%d\r\n" % len(fields) + b"".join(map(bulk, fields)))
    batch: Any = reader.read_range("k")
    assert batch.events[0].tags == tags


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_float32_is_read(implementation: Implementation) -> None:
    assert implementation.unpack(bytes.fromhex("ca3dcccccd")) == struct.unpack(">f", bytes.fromhex("3dcccccd"))[0]
    assert math.isnan(implementation.unpack(bytes.fromhex("cb7ff8000000000001")))
