"""`Registry(default=, decode=, encode_body=, decode_body=)`: on every way that a body takes to the server and back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgpack import ExtType

from fluxa_fast import SerializationError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from tests.fix_cluster import ON_CLUSTERS
from tests.fix_servers import PROGRAMS

PARTITIONS = 2
pytestmark = ON_CLUSTERS


Broker = Callable[..., Any]


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Order:
    price: Money


def default(value: Any) -> Any:
    if isinstance(value, Money):
        return {"cents": value.cents}
    if isinstance(value, range):
        return ExtType(7, bytes([value.stop]))
    return NotImplemented


def decode(wanted: Any, value: Any) -> Any:
    if wanted is Money:
        return Money(value["cents"])
    if wanted is ExtType and value.code == 7:
        return range(value.data[0])
    return NotImplemented


@pytest.fixture(scope="module")
def hooks_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="module")
def hooks_cluster() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(3, 0, PROGRAMS[sorted(PROGRAMS)[-1]], node_timeout=1.0) as cluster:
        yield cluster


@pytest.fixture(params=["plain", "partitions", "cluster"])
def new_broker(request: pytest.FixtureRequest, faces: Any) -> Iterator[Broker]:
    """Makes brokers of one server, or of a cluster."""
    site = request.getfixturevalue("hooks_cluster" if request.param == "cluster" else "hooks_server")
    for node in getattr(site, "nodes", [site]):
        node.command("FLUSHALL")
    engines = []

    def make(**hooks: Any) -> Any:
        registry = faces.Registry(**hooks)
        registry.register_redis(site.url)
        registry.register_redis_stream("orders", partitions=None if request.param == "plain" else PARTITIONS)
        engine = registry.validate()
        engines.append(engine)
        return engine.new_context().get_event_broker()

    yield make
    for engine in engines:
        engine.close()


def _read(broker: Any, wanted: Any = None, count: int = 3) -> list[Any]:
    found: list[Any] = []
    consumer = broker.consumer_many("orders")
    while len(found) < count:
        consumer.consume(
            10,
            0.5,
            lambda events: found.extend(one.body if wanted is None else one.unserialize(wanted) for one in events),
        )
    consumer.cleanup()
    return found


def _publish(broker: Any, body: Any) -> None:
    """In the three ways that there are."""
    broker.publish("orders", body, {"tag": "x"})
    flusher = broker.new_flusher()
    flusher.publish("orders", body)
    flusher.publish_many("orders", [body])
    flusher.flush()


def test_bodies_are_stored_as_a_hook_says(new_broker: Broker) -> None:
    broker = new_broker(encode_body=zlib.compress, decode_body=zlib.decompress)
    body = {"text": "x" * 1000}
    _publish(broker, body)
    assert _read(broker) == [body] * 3
    _publish(broker, body)
    stored = []
    consumer = broker.consumer_many("orders")
    while len(stored) < 3:
        consumer.consume(10, 0.5, lambda events: stored.extend(one.raw_body for one in events))
    assert all(len(one) < 50 and zlib.decompress(one)[:1] == b"\x81" for one in stored)
    consumer.cleanup()


def test_the_counterpart_of_default(new_broker: Broker) -> None:
    broker = new_broker(default=default, decode=decode, encode_body=zlib.compress, decode_body=zlib.decompress)
    broker.register_body("orders", Order)
    _publish(broker, Order(Money(5)))
    assert _read(broker) == [Order(Money(5))] * 3
    broker = new_broker(default=default, decode=decode)
    _publish(broker, {"times": [range(3), (ExtType(9, b"x"),)]})
    assert _read(broker) == [{"times": [range(3), [ExtType(9, b"x")]]}] * 3
    _publish(broker, Money(7))
    assert _read(broker, Money) == [Money(7)] * 3


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"encode_body": lambda data: data.nothing}, "body: the encode_body hook raised AttributeError: "),
        ({"encode_body": lambda data: "text"}, "body: the encode_body hook returned str, and not bytes"),
    ],
    ids=["raises", "returns"],
)
def test_a_hook_that_fails_when_a_body_is_written(new_broker: Broker, hooks: dict[str, Any], message: str) -> None:
    broker = new_broker(**hooks)
    flusher = broker.new_flusher()
    for publish in (broker.publish, flusher.publish):
        with pytest.raises(SerializationError, match=f"^orders.*: {message}"):
            publish("orders", {"a": 1})
    with pytest.raises(SerializationError, match=message.rpartition(": ")[2] or "raised"):
        flusher.publish_many("orders", [1])
    assert len(flusher) == 0


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"decode_body": zlib.decompress}, "the decode_body hook raised error: "),
        ({"decode_body": lambda data: None}, "the decode_body hook returned NoneType, and not bytes"),
        ({"decode": lambda wanted, value: {}["x"]}, "the decode hook raised KeyError: 'x' for ExtType"),
    ],
    ids=["raises", "returns", "decode"],
)
def test_a_hook_that_fails_when_a_body_is_read(new_broker: Broker, hooks: dict[str, Any], message: str) -> None:
    broker = new_broker(**hooks)
    broker.publish("orders", ExtType(7, b"x"))
    told = []

    def look(events: Any) -> None:
        with pytest.raises(SerializationError) as caught:
            _ = events[0].body
        told.append((events[0].id, str(caught.value)))

    consumer = broker.consumer_many("orders")
    while not told:
        consumer.consume(1, 0.5, look)
    consumer.cleanup()
    [(id, text)] = told
    assert text.startswith("orders")
    assert id in text
    assert message in text
