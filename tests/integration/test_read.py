"""`broker.read` iterates over a stream without a group; `broker.seek` moves a group."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from fluxa_fast import Engine, EventBroker, FluxaError, UnregisteredStreamError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.flows import history
from fluxa_fast.positions import first_id, last_id, position_before
from tests.proxy import Proxy

MakeEngine = Callable[..., Engine]


@dataclass
class Order:
    number: int


def fill(broker: EventBroker, count: int) -> list[str]:
    flusher = broker.new_flusher()
    flusher.publish_many("orders", range(count))
    return list(flusher.flush().ids)


@pytest.mark.parametrize("count", [0, 1, 2499, 2500])
def test_everything_that_is_there(broker: EventBroker, client: redis.Redis, count: int) -> None:
    ids = fill(broker, count)
    reading = broker.read("orders")
    assert [(event.id, event.body) for event in reading] == list(zip(ids, range(count), strict=True))
    assert list(reading) == []
    assert client.xlen("orders") == count
    assert client.exists("orders") == (count > 0)


def test_it_ends_where_the_stream_ended(broker: EventBroker) -> None:
    fill(broker, 1500)
    seen = []
    for event in broker.read("orders"):
        seen.append(event.body)
        if not event.body % 500:
            broker.publish("orders", "later")
    assert seen == list(range(1500))


def test_a_part(broker: EventBroker) -> None:
    ids = fill(broker, 2000)

    def bodies(**where: Any) -> list[Any]:
        return [event.body for event in broker.read("orders", **where)]

    assert bodies(count=3) == [0, 1, 2]
    assert bodies(start=ids[1998]) == [1998, 1999]
    assert bodies(end=ids[1]) == [0, 1]
    assert bodies(start=ids[5], end=ids[1500], count=1200) == list(range(5, 1205))
    assert bodies(start=ids[5], end=ids[4]) == []
    now = datetime.now(UTC)
    assert bodies(start=now - timedelta(hours=1), end=now + timedelta(hours=1)) == list(range(2000))
    assert bodies(start=now + timedelta(hours=1)) == bodies(end=now - timedelta(hours=1)) == []


def test_what_was_read_is_no_event_of_a_group(broker: EventBroker) -> None:
    broker.publish("orders", {"number": 5}, {"kind": "new"})
    broker.register_body("orders", Order)
    (event,) = broker.read("orders")
    assert (event.body, event.tags, event.delivery_count) == (Order(5), {"kind": "new"}, None)
    with pytest.raises(FluxaError, match="was not read by a consumer"):
        event.ack()
    assert broker.consumer_single("orders").consume(1, None, lambda events: None) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"start": "$"}, ValueError), ({"start": "x"}, ValueError), ({"start": 5}, TypeError),
        ({"end": "-1-0"}, ValueError), ({"end": 5}, TypeError), ({"count": 0}, ValueError), ({"count": "5"}, TypeError),
        ({"start": datetime(2026, 1, 1)}, ValueError), ({"end": f"{2**64}-0"}, ValueError),
    ],
)  # fmt: skip
def test_what_is_refused(broker: EventBroker, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        broker.read("orders", **arguments)


def test_a_stream_that_is_not_registered(broker: EventBroker) -> None:
    for call in (broker.read, lambda name: broker.seek(name, "g", "0"), lambda name: broker.remove_group(name, "g")):
        with pytest.raises(UnregisteredStreamError):
            call("unknown")


def test_it_goes_on_after_an_outage(make_engine: MakeEngine, own_server: EmbeddedServer, proxy: Proxy) -> None:
    broker = make_engine(f"redis://127.0.0.1:{proxy.port}").new_context().get_event_broker()
    fill(broker, 3000)
    reading = broker.read("orders")
    seen = [event.body for event in itertools.islice(reading, 1500)]
    proxy.cut()
    while len(seen) < 3000:
        try:
            seen += [event.body for event in reading]
        except redis.ConnectionError:
            continue
    assert seen == list(range(3000))


def test_a_page_for_each_partition(make_cluster_engine: Any, server_url: str, client: redis.Redis) -> None:
    broker = make_cluster_engine(server_url, partitions=5).new_context().get_event_broker()
    flusher = broker.new_flusher()
    for number in range(1777):
        flusher.publish("orders", number, key=number % 7)
    flusher.flush()
    found = [(event.id, event.body) for event in broker.read("orders")]
    assert sorted(body for _, body in found) == list(range(1777))
    times = [tuple(map(int, id.split("-"))) for id, _ in found]
    assert times == sorted(times)
    assert history._PAGE // 5 < 1777 // 5


# ---- seek -----------------------------------------------------------------------------------------------


@pytest.fixture
def two(make_engine: MakeEngine, server_url: str, client: redis.Redis) -> EventBroker:
    """A broker whose streams have two groups, so that what one has acknowledged is still there."""
    return make_engine(server_url, groups=["billing", "audit"]).new_context().get_event_broker()


def all_of(broker: EventBroker, group: str = "billing") -> list[Any]:
    seen: list[Any] = []

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.body for event in events)

    with broker.consumer_many("orders", group=group) as consumer:
        while consumer.consume(100, None, handle):
            pass
    return seen


def test_a_group_is_moved(two: EventBroker, client: redis.Redis) -> None:
    ids = fill(two, 20)
    assert all_of(two) == list(range(20))
    two.seek("orders", "billing", ids[15])
    assert all_of(two) == list(range(15, 20))
    two.seek("orders", "billing", "0")
    assert all_of(two) == list(range(20))
    two.seek("orders", "billing", datetime.now(UTC) + timedelta(hours=1))
    two.publish("orders", 20)
    assert all_of(two) == []
    two.seek("orders", "billing", "$")
    two.publish("orders", 21)
    assert all_of(two) == [21]
    assert all_of(two, "audit") == list(range(22))
    assert client.xlen("orders") == 0


def test_entries_that_are_pending(two: EventBroker, client: redis.Redis) -> None:
    ids = fill(two, 20)
    with pytest.raises(ArithmeticError):
        two.consumer_many("orders", group="billing", name="one").consume(5, None, lambda events: 1 / 0)
    with pytest.raises(FluxaError, match=r"5 entries of 'orders' are pending in group 'billing'.*pending=\"keep\""):
        two.seek("orders", "billing", ids[10])
    assert client.xinfo_groups("orders")[1]["last-delivered-id"].decode() == ids[4]
    two.seek("orders", "billing", ids[10], pending="keep")
    assert client.xpending("orders", "billing")["pending"] == 5
    assert all_of(two) == list(range(10, 20))
    two.seek("orders", "billing", ids[18], pending="drop")
    assert client.xpending("orders", "billing")["pending"] == 0
    assert all_of(two) == [18, 19]
    with pytest.raises(ValueError, match="'keep', 'drop' or None, not 'all'"):
        two.seek("orders", "billing", "0", pending="all")  # type: ignore[arg-type]


def test_a_group_that_is_not_there(two: EventBroker) -> None:
    two.publish("orders", 1)
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        two.seek("orders", "billing", "0")


# ---- places ---------------------------------------------------------------------------------------------


def test_places() -> None:
    most = 2**64 - 1
    assert [position_before(start) for start in ("0", "0-0", "0-1", "5", "5-7", "$")] == [
        "0", "0", "0-0", f"4-{most}", "5-6", "$",
    ]  # fmt: skip
    assert [first_id(start)[0] for start in ("0", "0-0", "5", "5-7")] == ["-", "-", "5-0", "5-7"]
    assert [last_id(end)[0] for end in (None, "5", "5-7")] == ["+", f"5-{most}", "5-7"]
    assert (first_id("5-7/3"), last_id("5-7/0")) == (("5-7", 3), ("5-7", 0))
    assert position_before("5-7/3") == "5-6"
    moment = datetime(1970, 1, 1, 0, 0, 1, 500, tzinfo=UTC)
    assert (first_id(moment)[0], last_id(moment)[0], position_before(moment)) == (
        "1001-0",
        f"1000-{most}",
        f"1000-{most}",
    )
