"""A registry with a prefix: several environments on one server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker, Keep, RegistryError
from fluxa_fast.partitions import partition_streams

Make = Callable[..., EventBroker]


@pytest.mark.parametrize("kind", ["consumer_single", "consumer_many", "consumer_ordered"])
@pytest.mark.parametrize("partitions", [None, 3])
def test_each_environment_has_its_own_events(
    broker_with: Make, client: redis.Redis, kind: str, partitions: int | None
) -> None:
    options = {"partitions": partitions, "groups": ["billing", "audit"]}
    seen: dict[str, list[Any]] = {}
    names: set[str] = set()
    for prefix in ("", "staging:", "test "):
        broker = broker_with(prefix=prefix, **options)
        key = None if partitions is None else "customer"
        broker.publish("orders", prefix, key=key)
        with broker.new_flusher() as flusher:
            flusher.publish("orders", prefix, key=key)
    for prefix in ("", "staging:", "test "):
        broker = broker_with(prefix=prefix, **options)

        def handle(events: Sequence[Any], of: str = prefix) -> None:
            seen.setdefault(of, []).extend(event.body for event in events)
            names.update(consumer.stream_of(event) for event in events)

        with getattr(broker, kind)("orders", group="billing") as consumer:
            assert consumer.stream == "orders"
            while consumer.consume(10, None, handle):
                pass
        assert [event.body for event in broker.read("orders")] == [prefix, prefix]
        (found,) = broker.get_streams_statistics("orders")
        assert (found.stream, found.len, found.furthest_behind.group) == ("orders", 2, "audit")
        assert len(found.partitions) == (partitions or 0)
        assert broker.remove_group("orders", "audit")
    assert seen == {prefix: [prefix, prefix] for prefix in ("", "staging:", "test ")}
    assert names == {"orders"}
    keys = {key.decode() for key in client.scan_iter(_type="stream")}
    for prefix in ("", "staging:", "test "):
        name = f"{prefix}orders"
        wanted = {name} if partitions is None else set(partition_streams(name, partitions))
        assert keys & wanted
        keys -= wanted
    assert not keys


def test_partitions_are_counted_for_each_environment(broker_with: Make, client: redis.Redis) -> None:
    broker_with(partitions=3).publish("orders", 1)
    broker_with(partitions=4, prefix="staging:").publish("orders", 1)
    assert client.get("{orders}:partitions") == b"3"
    assert client.get("{staging:orders}:partitions") == b"4"


def test_a_stream_that_keeps_events_is_trimmed(broker_with: Make, client: redis.Redis) -> None:
    broker = broker_with(prefix="staging:", keep=Keep(events=100))
    for _ in range(20):
        flusher = broker.new_flusher()
        flusher.publish_many("orders", range(100))
        flusher.flush()
    assert client.xlen("staging:orders") < 500


def test_what_can_be_no_prefix_is_refused(faces: Any, broker_with: Make) -> None:
    with pytest.raises(TypeError, match="prefix= is a str, not bytes"):
        faces.Registry(prefix=b"staging:")
    with pytest.raises(RegistryError, match="lone surrogate"):
        broker_with(prefix="\ud800")
    with pytest.raises(RegistryError, match=r"no '\{'"):
        broker_with(prefix="{staging}", partitions=2)
