"""Names on the wire that are not Python's, and models that are more than their fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from fluxa_fast import wire_names
from fluxa_fast.protocol import Implementation


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("go", "UserIDOfHTTPCall"),
        ("pascal", "UserIdOfHttpCall"),
        ("camel", "userIdOfHttpCall"),
        ("kebab", "user-id-of-http-call"),
        ("upper", "USER_ID_OF_HTTP_CALL"),
        (lambda name: f"_{name}", "_user_id_of_http_call"),
        (None, "user_id_of_http_call"),
    ],
)
def test_rules_of_wire_names(implementation: Implementation, rule: Any, name: str) -> None:
    @wire_names(rule, other="O")
    @dataclass
    class Record:
        user_id_of_http_call: int
        other: int = 2

    assert implementation.unpack(implementation.pack(Record(1))) == {name: 1, "O": 2}


def test_attrs_named_tuples_and_subclasses(implementation: Implementation) -> None:
    @wire_names("go")
    @attrs.define
    class Base:
        _user_id: int

    @attrs.define
    class Derived(Base):
        more: int

    assert implementation.unpack(implementation.pack(Derived(1, 2))) == {"UserID": 1, "More": 2}
    wire_names("go")(NamedTuple("Pair", [("a_id", int)]))


def test_what_is_refused() -> None:
    class Struct(msgspec.Struct):
        a: int

    class Model(pydantic.BaseModel):
        a: int

    @dataclass
    class Record:
        a: int
        b: int

    with pytest.raises(TypeError, match="use rename= instead"):
        wire_names("go")(Struct)
    with pytest.raises(TypeError, match="use aliases instead"):
        wire_names("go")(Model)
    with pytest.raises(TypeError, match="goes above @dataclass"):
        wire_names("go")(int)
    with pytest.raises(ValueError, match="has no field 'c'; it has a, b"):
        wire_names(c="C")(Record)
    with pytest.raises(ValueError, match="same wire name"):
        wire_names(a="b")(Record)
    with pytest.raises(ValueError, match="a rule is 'go', "):
        wire_names("snake")  # type: ignore[arg-type]


class Tagged(msgspec.Struct, tag=True):
    a: int


class Array(msgspec.Struct, array_like=True, tag="t"):
    a: int


class Lean(msgspec.Struct, omit_defaults=True):
    a: int = 1
    b: list[int] = []


class Open(pydantic.BaseModel, extra="allow"):
    a: int


class Computed(pydantic.BaseModel):
    a: int

    @pydantic.computed_field
    def b(self) -> int:
        return self.a + 1


class Root(pydantic.RootModel[list[int]]):
    pass


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (Tagged(1), {"type": "Tagged", "a": 1}),
        (Array(1), ["t", 1]),
        (Lean(), {}),
        (Lean(1, [2]), {"b": [2]}),
        (Open(a=1, z=2), {"a": 1, "z": 2}),  # type: ignore[call-arg]
        (Computed(a=1), {"a": 1, "b": 2}),
        (Root([1]), [1]),
    ],
    ids=repr,
)
def test_models_that_are_more_than_their_fields(implementation: Implementation, body: Any, plain: Any) -> None:
    assert implementation.unpack(implementation.pack(body)) == plain
    assert implementation.unpack(implementation.pack({"in": [body]})) == {"in": [plain]}
