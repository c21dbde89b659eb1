"""Models of made-up fields are written, read, and compared with the round trip of the library that they are of."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import pathlib
import string
import uuid
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel

from fluxa_fast import SerializationError
from fluxa_fast.protocol import load, missing_modules
from tests.unit.test_typed import event_with

ALL = [load("python")] if missing_modules() else [load("c"), load("python")]


class Kind(enum.Enum):
    A = "a"
    B = "b"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


texts = st.text(st.characters(codec="utf-8"), max_size=5)
numbers = st.integers(-(2**63), 2**63 - 1)
durations = st.timedeltas(timedelta(-10_000), timedelta(10_000))
Kinds = list[tuple[Any, st.SearchStrategy[Any]]]

# A type, and values of it. All libraries know these.
SCALARS: Kinds = [
    (int, numbers),
    (str, texts),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=5)),
    (datetime, st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, durations),
    (uuid.UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, places=2, min_value=-1000, max_value=1000)),
    (Kind, st.sampled_from(Kind)),
    (Number, st.sampled_from(Number)),
    (Literal["x", 2], st.sampled_from(["x", 2])),
]
OWN: Kinds = [
    (pathlib.PurePosixPath, st.builds(pathlib.PurePosixPath, st.text(string.ascii_letters, max_size=5))),
    (ipaddress.IPv4Address, st.ip_addresses(v=4)),
    (ipaddress.IPv6Address, st.ip_addresses(v=6)),
    (complex, st.complex_numbers(allow_nan=False, allow_infinity=False)),
]
PYDANTIC: Kinds = [
    (ipaddress.IPv4Address, st.ip_addresses(v=4)),
    (Annotated[int, pydantic.PlainSerializer(str)], st.integers(-5, 5)),
    (pydantic.Json[list[int]], st.lists(st.integers(0, 5), max_size=3).map(str)),
    (pydantic.HttpUrl, st.sampled_from(["http://example.test/a", "https://h/"])),
    (pydantic.Base64Bytes, st.sampled_from([b"eA==", b""])),
]


def within(kinds: Kinds) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    """Types, alone or in containers, with their values."""

    def extended(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return inner.flatmap(
            lambda one: st.sampled_from(
                [
                    (list[one[0]], st.lists(one[1], max_size=3)),
                    (dict[str, one[0]], st.dictionaries(texts, one[1], max_size=2)),
                    (one[0] | None, st.none() | one[1]),
                    (tuple[int, one[0]], st.tuples(st.integers(0, 5), one[1])),
                    (tuple[one[0], ...], st.lists(one[1], max_size=3).map(tuple)),
                ]
            )
        )

    return st.recursive(st.sampled_from(kinds), extended, max_leaves=3)


Fields = list[tuple[str, Any, Any]]  # name, type, value


@st.composite
def fields(draw: st.DrawFn, kinds: Kinds) -> Fields:
    names = draw(st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=3), unique=True, max_size=4))
    found = []
    for number, _ in enumerate(names):
        wanted, values = draw(within(kinds))
        found.append((f"field_{number}", wanted, draw(values)))
    return found


def both_ways(value: Any) -> list[Any]:
    """What each implementation reads of what each has written; they have written the same."""
    assert len({implementation.pack(value) for implementation in ALL}) == 1
    return [event_with(implementation, value).unserialize(type(value)) for implementation in ALL]


quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@quickly
@given(fields([*SCALARS, *OWN]), st.booleans())
def test_dataclasses_and_attrs_classes(named: Fields, slots: bool) -> None:
    types: Any = [(name, wanted) for name, wanted, _ in named]
    values = {name: value for name, _, value in named}
    made = dataclasses.make_dataclass("Made", types, slots=slots)
    for came_back in both_ways(made(**values)):
        assert came_back == made(**values)
    drawn = attrs.make_class("Drawn", {name: attrs.field(type=wanted) for name, wanted, _ in named}, slots=slots)
    for came_back in both_ways(drawn(**values)):
        assert came_back == drawn(**values)


@quickly
@given(fields(SCALARS), st.sampled_from([{}, {"rename": "camel"}, {"tag": "x"}, {"array_like": True}]))
def test_structs(named: Fields, options: dict[str, Any]) -> None:
    made = msgspec.defstruct("Made", [(name, wanted) for name, wanted, _ in named], **options)
    value = made(**{name: value for name, _, value in named})
    try:
        own = msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=made)
    except (msgspec.ValidationError, TypeError):
        return  # msgspec itself does not read it
    for came_back in both_ways(value):
        assert came_back == own


_CONFIGS: list[dict[str, Any]] = [
    {},
    {"alias_generator": to_camel},
    {"extra": "allow"},
    {"extra": "forbid"},
    {"frozen": True},
    {"use_enum_values": True},
]


@quickly
@given(
    fields([*SCALARS, *PYDANTIC]),
    st.sampled_from(_CONFIGS),
    st.lists(st.sampled_from(["exclude", "alias", "serializer"]), max_size=4),
)
def test_models(named: Fields, config: dict[str, Any], extras: list[str]) -> None:
    definitions: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for (name, wanted, value), extra in zip(named, [*extras, *[""] * 4], strict=False):
        options: dict[str, Any] = {}
        if extra == "exclude":
            options = {"exclude": True, "default": None}
        elif extra == "alias":
            options = {"alias": name.upper()}
        elif extra == "serializer" and wanted is int:
            wanted = Annotated[int, pydantic.PlainSerializer(hex)]
        definitions[name] = (wanted, pydantic.Field(**options))
        values[options.get("alias") or _alias(name, config)] = value
    made: Any = pydantic.create_model("Made", __config__=pydantic.ConfigDict(**config), **definitions)
    value = made(**values)
    dumped = value.model_dump(by_alias=True)
    for implementation in ALL:
        plain = implementation.unpack(implementation.pack(value))
        assert plain.keys() == dumped.keys()
    try:
        own = made(**value.model_dump(by_alias=True, round_trip=True))
    except (pydantic.ValidationError, TypeError):
        return  # pydantic itself does not read it
    for came_back in both_ways(value):
        assert came_back == own


def _alias(name: str, config: dict[str, Any]) -> str:
    generator: Callable[[str], str] | None = config.get("alias_generator")
    return name if generator is None else generator(name)


@quickly
@given(st.lists(within([*SCALARS, *OWN]), min_size=2, max_size=3, unique_by=lambda one: str(one[0])), st.data())
def test_unions_that_may_be_registered(members: list[Any], data: st.DataObject) -> None:
    from fluxa_fast.protocol import typed

    wanted: Any = members[0][0]
    for member, _ in members[1:]:
        wanted = wanted | member
    try:
        reader = typed.reader(wanted, registered=True)
    except TypeError as refused:
        assert "is ambiguous" in str(refused)
        return
    for _, values in members:
        value = data.draw(values)
        for implementation in ALL:
            came_back = reader.from_value(implementation.unpack(implementation.pack(value)))
            assert came_back == value
            assert type(came_back) is type(value)


_KEYS = st.one_of(texts, numbers, st.uuids(), st.dates(), st.sampled_from(Kind), st.tuples(st.integers(0, 3), texts))


@quickly
@given(st.dictionaries(_KEYS, st.integers(0, 5), max_size=6))
def test_no_key_is_lost(body: dict[Any, int]) -> None:
    """Every key is read back, or the body is refused; both implementations say the same."""
    outcomes = []
    for implementation in ALL:
        try:
            outcomes.append(implementation.pack(body))
        except SerializationError as error:
            outcomes.append(str(error).encode())
            continue
        assert list(implementation.unpack(outcomes[-1]).values()) == list(body.values())
    assert len(set(outcomes)) == 1


@pytest.fixture(autouse=True)
def _without_pydantic_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of values that a serializer does not expect
        yield
