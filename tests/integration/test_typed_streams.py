"""Streams whose bodies are of a registered type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from fluxa_fast import Event, EventBroker, SerializationError, UnregisteredStreamError, wire_names


@wire_names("go", sku="StockUnit")
@dataclass(slots=True)
class Line:
    sku: str
    price: float = 0.0


@wire_names("go")
@dataclass
class Order:
    user_id: int
    lines: list[Line] = field(default_factory=list)


class Struct(msgspec.Struct, rename="pascal"):
    user_id: int
    name: str = ""


class Model(pydantic.BaseModel):
    user_id: int = pydantic.Field(alias="UserID")


class Point(NamedTuple):
    x: int
    y: int


class Keys(TypedDict):
    a: int


BODIES: list[tuple[Any, Any, Any]] = [
    (Order, Order(1, [Line("x", 2.5)]), {"UserID": 1, "Lines": [{"StockUnit": "x", "Price": 2.5}]}),
    (Struct, Struct(1, "x"), {"UserId": 1, "Name": "x"}),
    (Model, Model(UserID=1), {"UserID": 1}),
    (Point, Point(1, 2), [1, 2]),
    (Keys, {"a": 1}, {"a": 1}),
    (Order | Struct, Order(1), {"UserID": 1, "Lines": []}),
    (list[Struct], [Struct(1)], [{"UserId": 1, "Name": ""}]),
    (int, 5, 5),
]


def ids(value: Any) -> str:
    return str(getattr(value, "__name__", value))


@pytest.mark.parametrize(("body_type", "body", "plain"), BODIES, ids=ids)
def test_bodies_are_of_the_registered_type(broker: EventBroker, body_type: Any, body: Any, plain: Any) -> None:
    with broker.consumer_single("orders") as before:
        orders = broker.register_body("orders", body_type)
        orders.publish(body)
        flusher = broker.new_flusher()
        orders.collect(flusher, body, {"tag": "x"})
        flusher.publish_many(orders.name, [body])
        flusher.flush()
        bodies: list[Any] = []
        with orders.consumer_single() as consumer:

            def handle(events: Sequence[Event[Any]]) -> None:
                bodies.extend(event.body for event in events)
                assert events[0].body is events[0].body
                assert events[0].unserialize() == body
                assert events[0].unserialize(object) == plain

            consumer.consume(10, None, handle)
        assert bodies == [body] * 3
        assert [type(one) for one in bodies] == [type(body)] * 3
        broker.publish("orders", body)
        before.consume(10, None, lambda events: bodies.append(events[0].body))
        assert bodies[-1] == plain


def test_bodies_of_another_type_are_refused(broker: EventBroker) -> None:
    orders: Any = broker.register_body("orders", Order)
    flusher = broker.new_flusher()
    orders.collect(flusher, Order(1))
    for call, path in (
        (lambda: orders.publish({"UserID": 1}), "body"),
        (lambda: orders.publish(None, {"tag": "x"}), "body"),
        (lambda: broker.publish("orders", Line("x")), "body"),
        (lambda: flusher.publish("orders", Line("x")), "body"),
        (lambda: flusher.publish_many("orders", [Order(1), Line("x")]), "bodies[1]"),
    ):
        with pytest.raises(SerializationError, match="expected Order, not ") as caught:
            call()
        assert (caught.value.stream, caught.value.path) == ("orders", path)
    assert flusher.clear() == 1
    broker.publish("users", {"anything": 1})  # other streams take anything
    keys: Any = broker.register_body("users", dict[str, Keys])
    with pytest.raises(SerializationError) as caught:
        keys.publish({"one": {"a": "x"}})
    assert str(caught.value) == "users: body['one']['a']: expected int, not str"


def test_a_mismatch_names_stream_event_and_place(broker: EventBroker) -> None:
    id = broker.publish("orders", {"UserID": 1, "Lines": [{"StockUnit": 5}]})
    seen = []

    def handle(events: Sequence[Event[Order]]) -> None:
        with pytest.raises(SerializationError) as caught:
            print(events[0].body)
        seen.append(str(caught.value))

    with broker.register_body("orders", Order).consumer_many() as consumer:
        consumer.consume(1, None, handle)
    assert seen == [f"orders: event {id}: body.Lines[0].StockUnit: expected str, not int"]


def test_types_that_can_not_be_registered(broker: EventBroker) -> None:
    with pytest.raises(UnregisteredStreamError):
        broker.register_body("nothing", Order)
    with pytest.raises(TypeError, match="'orders' can't have such bodies"):
        broker.register_body("orders", "Order")
    broker.register_body("orders", Order)
    broker.register_body("orders", Order)
    with pytest.raises(ValueError, match=r"registered as .*Order'> already"):
        broker.register_body("orders", Line)
