"""Calls that can't mean what they say are refused before anything is sent or collected, with the same words everywhere."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
import redis

from fluxa_fast import Engine, EventBroker, SerializationError, UnregisteredStreamError

MakeEngine = Callable[..., Engine]
EAGER = pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])


class Model(pydantic.BaseModel):
    user: int = 1
    quantity: int = 2


class Root(pydantic.RootModel[list[int]]):
    root: list[int] = [1, 2]


class Basket(pydantic.RootModel[list[int]]):
    """As pydantic's documentation makes a root model iterable."""

    root: list[int] = [1, 2]

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]
        return iter(self.root)


class Named(NamedTuple):
    user: int = 1
    quantity: int = 2


class Struct(msgspec.Struct):
    user: int = 1


@dataclass
class Data:
    user: int = 1


class OwnMapping(collections.UserDict):  # type: ignore[type-arg]
    pass


class BySequence:
    """Iterated over as Python did before there were iterators."""

    def __getitem__(self, index: int) -> int:
        return [1, 2][index]


async def _asynchronous() -> Any:
    yield 1


ONE_BODY = [
    "hello", b"ab", bytearray(b"ab"), memoryview(b"ab"), {"user": 1}, OwnMapping(user=1), Model(), Root(), Named(), Struct(), Data(), 5, None,
    collections.namedtuple("Old", "a b")(1, 2),
]  # fmt: skip
MANY_BODIES = [
    [1, 2], (1, 2), {1, 2}, frozenset({1, 2}), {1: 0, 2: 0}.keys(), {0: 1, 1: 2}.values(), {1: 0, 2: 0}.items(), range(2), iter([1, 2]),
    (n for n in (1, 2)), collections.deque([1, 2]), Basket(), BySequence(), map(int, "12"),
]  # fmt: skip


def _name(value: object) -> str:
    return type(value).__qualname__


@EAGER
@pytest.mark.parametrize("body", ONE_BODY, ids=_name)
def test_publish_many_refuses_one_body(broker: EventBroker, client: redis.Redis, body: Any, eager: bool) -> None:
    flusher = broker.new_flusher(eager=eager)
    flusher.publish("orders", "before")
    before = (len(flusher), flusher.size)
    with pytest.raises(TypeError) as caught:
        flusher.publish_many("orders", body)
    text = f"publish_many takes an iterable of bodies, not a single {_name(body)}: call publish() for one body"
    assert str(caught.value) == text
    assert (len(flusher), flusher.size) == before
    assert len(flusher.flush()) == 1 == client.xlen("orders")


@pytest.mark.parametrize("body", [{"user": 1}, "hello"], ids=_name)
def test_publish_many_of_a_typed_stream_refuses_one_body(broker: EventBroker, body: Any) -> None:
    broker.register_body("orders", type(body))
    flusher = broker.new_flusher()
    with pytest.raises(TypeError, match=f"not a single {_name(body)}"):
        flusher.publish_many("orders", body)
    assert len(flusher) == 0


def test_publish_many_refuses_what_is_iterated_over_asynchronously(broker: EventBroker) -> None:
    flusher = broker.new_flusher()
    with pytest.raises(TypeError, match="not a single async_generator"):
        flusher.publish_many("orders", _asynchronous())  # type: ignore[arg-type]
    assert len(flusher) == 0


@pytest.mark.parametrize("number", range(len(MANY_BODIES)), ids=map(_name, MANY_BODIES))
def test_publish_many_takes_every_other_iterable(
    make_engine: MakeEngine, server_url: str, client: redis.Redis, number: int
) -> None:
    bodies: Any = MANY_BODIES[number]
    if _name(bodies) in ("generator", "map", "list_iterator"):  # which are used up by the first one
        bodies = iter([1, 2])
    flusher = make_engine(server_url).new_context().get_event_broker().new_flusher()
    assert flusher.publish_many("orders", bodies) == 2
    assert len(flusher.flush()) == 2


# ---- keys -----------------------------------------------------------------------------------------------

NO_PARTITIONS = (
    "stream 'orders' has no partitions, so key= would have no effect: "
    "register the stream with partitions=, or leave key= out"
)


@EAGER
def test_a_key_is_refused_where_there_are_no_partitions(broker: EventBroker, client: redis.Redis, eager: bool) -> None:
    typed = broker.register_body("orders", int)
    flusher = broker.new_flusher(eager=eager)
    flusher.publish("orders", 1)
    calls: list[Callable[[], object]] = [
        lambda: broker.publish("orders", 1, key="user-1"),
        lambda: typed.publish(1, key="user-1"),
        lambda: flusher.publish("orders", 1, key="user-1"),
        lambda: flusher.publish("orders", 1, None, 0),
        lambda: flusher.publish_many("orders", [1, 2], key=b"user-1"),
        lambda: typed.collect(getattr(flusher, "_target", flusher), 1, key=""),
        lambda: flusher.publish("orders", 1, key=object()),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(ValueError, match="no partitions") as caught:
            call()
        assert str(caught.value) == NO_PARTITIONS
    with pytest.raises(UnregisteredStreamError):
        flusher.publish("nope", 1, key="user-1")
    assert client.xlen("orders") == 0 or eager
    assert len(flusher) == 1
    assert len(flusher.flush()) == 1 == client.xlen("orders")


def test_one_partition_takes_keys(faces: Any, server_url: str, client: redis.Redis) -> None:
    registry = faces.Registry()
    registry.register_redis(server_url)
    registry.register_redis_stream("orders", partitions=1)
    with registry.validate() as engine:
        broker = engine.new_context().get_event_broker()
        assert broker.publish("orders", 1, key="user-1")
        flusher = broker.new_flusher()
        flusher.publish("orders", 2, key=7)
        flusher.publish_many("orders", [3, 4], key=b"x")
        with pytest.raises(SerializationError, match="a key is a str, bytes or int"):
            flusher.publish("orders", 2, key=1.5)
        assert len(flusher.flush()) == 3
        assert client.xlen(engine.partitions("orders")[0]) == 4
