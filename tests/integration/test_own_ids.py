"""Events whose IDs the publisher chooses, as a backfill does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker, FlushError, SerializationError, UnregisteredStreamError
from tests.fix_servers import before_redis_7

Make = Callable[..., EventBroker]


@pytest.mark.parametrize("partitions", [None, 3])
def test_events_have_the_ids_that_were_chosen(broker_with: Make, partitions: int | None) -> None:
    broker = broker_with(partitions=partitions)
    key = None if partitions is None else "customer"
    assert broker.publish("orders", 0, {"kind": "old"}, key, "5-0") == "5-0"
    typed = broker.register_body("orders", int)
    assert typed.publish(1, key=key, id="5-1") == "5-1"
    with broker.new_flusher() as flusher:
        flusher.publish("orders", 2, key=key, id="18446744073709551615-7")
        typed.collect(flusher, 3, {"kind": "new"}, key, "18446744073709551615-18446744073709551615")
    found = [(event.id, event.body, event.tags) for event in broker.read("orders")]
    assert found == [
        ("5-0", 0, {"kind": "old"}),
        ("5-1", 1, {}),
        ("18446744073709551615-7", 2, {}),
        ("18446744073709551615-18446744073709551615", 3, {"kind": "new"}),
    ]


def test_own_and_other_ids_in_one_flush(broker_with: Make) -> None:
    broker = broker_with()
    flusher = broker.new_flusher()
    flusher.publish("orders", 0, id="5-0")
    flusher.publish("orders", 1)
    flusher.publish("orders", 2, {"kind": "x" * 1000}, id="5-5")
    flusher.publish("orders", 3)
    with pytest.raises(FlushError, match="equal or smaller") as caught:
        flusher.flush()
    assert [one.position for one in caught.value.refused] == [2]
    assert len(flusher) == 1
    assert flusher.discard_refused() == 1
    assert [event.body for event in broker.read("orders")] == [0, 1, 3]


def test_an_event_that_is_sent_again_is_there_once(broker_with: Make) -> None:
    broker = broker_with()
    for _ in range(2):
        flusher = broker.new_flusher()
        for number in range(1, 100):
            flusher.publish("orders", number, id=f"{number}-0")
        try:
            flusher.flush()
        except FlushError as error:
            assert len(error.refused) == flusher.discard_refused() == 99
    assert [event.body for event in broker.read("orders")] == list(range(1, 100))
    with pytest.raises(redis.ResponseError, match="equal or smaller"):
        broker.publish("orders", 0, id="99-0")


def test_the_server_may_choose_the_second_number(broker_with: Make, client: redis.Redis) -> None:
    if before_redis_7(client):
        pytest.skip("before Redis 7.0 there is no such ID")
    broker = broker_with()
    assert [broker.publish("orders", 0, id="5-*") for _ in range(2)] == ["5-0", "5-1"]


@pytest.mark.parametrize(
    ("id", "error"),
    [
        ("0-0", ValueError),
        ("0-00", ValueError),
        ("", ValueError),
        ("*", ValueError),
        ("5", ValueError),
        ("5-", ValueError),
        ("-5", ValueError),
        ("5-0-0", ValueError),
        ("5-0\r\n", ValueError),
        ("٥-0", ValueError),
        ("18446744073709551616-0", ValueError),
        ("0-18446744073709551616", ValueError),
        (5, TypeError),
        (b"5-0", TypeError),
    ],
)
def test_what_is_no_id_is_refused(broker_with: Make, client: redis.Redis, id: Any, error: type[Exception]) -> None:
    broker = broker_with()
    flusher = broker.new_flusher()
    flusher.publish("orders", "before")
    size = flusher.size
    with pytest.raises(error, match=r"^id "):
        flusher.publish("orders", 1, id=id)
    assert (len(flusher), flusher.size) == (1, size)
    with pytest.raises(error, match=r"^id "):
        broker.publish("orders", 1, id=id)
    with pytest.raises(UnregisteredStreamError):
        flusher.publish("others", 1, id=id)
    assert flusher.clear() == 1
    assert client.xlen("orders") == 0


def test_bodies_are_checked_all_the_same(broker_with: Make) -> None:
    broker = broker_with()
    broker.register_body("orders", int)
    flusher = broker.new_flusher()
    for publish in (broker.publish, flusher.publish):
        with pytest.raises(SerializationError, match="expected int"):
            publish("orders", "text", id="5-0")
    assert not len(flusher)
