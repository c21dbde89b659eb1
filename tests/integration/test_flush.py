"""Promises 2 and 3: a refused value leaves the buffer as it was; a flush knows every event's fate.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from fluxa_fast import (
    Engine,
    EventBroker,
    EventFlusher,
    FlushError,
    FluxaError,
    Registry,
    SerializationError,
    UnregisteredStreamError,
)
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from fluxa_fast.transport.blocking.pool import Pool
from tests.proxy import Proxy

MakeEngine = Callable[..., Engine]


def ids_of(client: redis.Redis, stream: str) -> list[str]:
    return [id.decode() for id, _ in client.xrange(stream)]


def test_flush_returns_ids_in_the_order_of_publishing(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    for number in range(500):
        flusher.publish("users" if number % 3 == 0 else "orders", number, {"n": str(number)})
    assert len(flusher) == 500
    result = flusher.flush()
    assert len(result) == len(result.ids) == 500
    assert list(result) == result.ids
    assert len(flusher) == 0
    assert flusher.size == 0
    both = {id.decode(): int(fields[b"n"]) for stream in ("orders", "users") for id, fields in client.xrange(stream)}
    orders = [id for number, id in enumerate(result.ids) if number % 3]
    assert orders == ids_of(client, "orders")
    assert [int(fields[b"n"]) for _, fields in client.xrange("orders")] == [n for n in range(500) if n % 3]
    assert both


def test_an_empty_flush_does_nothing(broker: EventBroker) -> None:
    flusher = broker.new_flusher()
    result = flusher.flush()
    assert len(result) == 0
    assert result.ids == []


def test_flusher_as_a_context_manager(broker: EventBroker, client: redis.Redis) -> None:
    with broker.new_flusher() as flusher:
        flusher.publish("orders", 1)
    assert client.xlen("orders") == 1
    with pytest.raises(KeyError), broker.new_flusher() as flusher:
        flusher.publish("orders", 2)
        raise KeyError
    assert client.xlen("orders") == 1


@pytest.mark.parametrize(
    "refused",
    [2**64, {"a": [1, {2: object()}]}, "\ud800", [float, 1]],
    ids=["int", "nested", "surrogate", "type"],
)
def test_promise_2_a_refused_value_leaves_the_buffer_as_it_was(
    broker: EventBroker, client: redis.Redis, refused: object
) -> None:
    flusher = broker.new_flusher()
    flusher.publish("orders", "before")
    size = flusher.size
    with pytest.raises(SerializationError, match=r"orders: body"):
        flusher.publish("orders", refused)
    with pytest.raises(UnregisteredStreamError):
        flusher.publish("nope", 1)
    with pytest.raises(SerializationError, match="'s'"):
        flusher.publish("orders", "x", {"s": "reserved"})
    assert (flusher.size, len(flusher)) == (size, 1)
    flusher.publish("orders", "after")
    flusher.flush()
    assert [fields[b"s"][1:] for _, fields in client.xrange("orders")] == [b"before", b"after"]


def test_promise_3_refused_events_are_told_and_stay_in_order(broker: EventBroker, client: redis.Redis) -> None:
    client.set("users", "not a stream")
    flusher = broker.new_flusher()
    for number in range(10):
        flusher.publish("users" if number in (2, 3, 7) else "orders", number)
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    error = caught.value
    assert len(error.confirmed) == 7
    assert error.confirmed.ids == ids_of(client, "orders")
    assert [(one.position, one.stream, one.pool) for one in error.refused] == [
        (2, "users", "default"),
        (3, "users", "default"),
        (7, "users", "default"),
    ]
    assert all("WRONGTYPE" in str(one.error) for one in error.refused)
    assert error.unconfirmed == ()
    assert "7 events confirmed, 3 refused, 0 unconfirmed" in str(error)
    assert "mend the cause of WRONGTYPE or call discard_refused()" in str(error)
    assert len(flusher) == 3
    client.delete("users")
    flusher.publish("users", "later")
    assert len(flusher.flush()) == 4
    assert [fields[b"s"] for _, fields in client.xrange("users")] == [b"\x02", b"\x03", b"\x07", b"\xa5later"]
    assert client.xlen("orders") == 7


def test_refused_events_can_be_discarded(broker: EventBroker, client: redis.Redis) -> None:
    client.set("users", "not a stream")
    flusher = broker.new_flusher()
    for stream in ("users", "orders", "users"):
        flusher.publish(stream, 1)
    with pytest.raises(FlushError):
        flusher.flush()
    flusher.publish("orders", 2)
    assert flusher.discard_refused() == 2
    assert flusher.discard_refused() == 0
    assert len(flusher.flush()) == 1
    flusher.publish("orders", 3)
    assert flusher.clear() == 1
    assert len(flusher) == 0


def test_promise_3_full_memory(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    for number in range(10):
        flusher.publish("orders", number)
    used = client.info("memory")["used_memory"]
    client.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(FlushError) as caught:
            flusher.flush()
    finally:
        client.config_set("maxmemory", 0)
    assert len(caught.value.refused) == 10
    assert isinstance(caught.value.refused[0].error, redis.exceptions.OutOfMemoryError)
    assert caught.value.refused[0].code == "OOM"
    assert "pool 'default': OOM " in str(caught.value)
    assert "call flush() again when the server has memory again" in str(caught.value)
    assert "discard_refused" not in str(caught.value)
    assert len(flusher.flush()) == 10


def test_promise_3_a_dead_pool_does_not_hold_back_another(
    faces: Any, server_url: str, client: redis.Redis, own_server: EmbeddedServer
) -> None:
    registry = faces.Registry()
    registry.register_redis(own_server.url, 0, "dead")
    registry.register_redis(server_url, 0, "alive")
    registry.register_redis_stream("orders", "dead")
    registry.register_redis_stream("users", "alive")
    with registry.validate() as engine:
        flusher = engine.new_context().get_event_broker().new_flusher()
        for number in range(9):
            flusher.publish("orders" if number % 3 == 0 else "users", number)
        own_server.kill()
        with pytest.raises(FlushError) as caught:
            flusher.flush()
        error = caught.value
        assert error.confirmed.ids == ids_of(client, "users")
        assert len(error.confirmed) == 6
        (lost,) = error.unconfirmed
        assert lost.pool == "dead"
        assert list(lost.positions) == [0, 3, 6]
        assert "call flush() again; what is unconfirmed may be published twice" in str(error)
        assert "discard_refused" not in str(error)
        assert len(flusher) == 3
        own_server.start()
        assert len(flusher.flush()) == 3
        with own_server.client() as theirs:
            assert [fields[b"s"] for _, fields in theirs.xrange("orders")] == [b"\x00", b"\x03", b"\x06"]
        assert client.xlen("users") == 6


def confirm_all(flusher: EventFlusher) -> Iterator[str]:
    """Flush until all is confirmed; the confirmed IDs."""
    for _ in range(5):
        try:
            yield from flusher.flush().ids
            return
        except FlushError as error:
            assert len(flusher) == sum(map(len, error.unconfirmed))
            yield from error.confirmed.ids
    raise AssertionError("the flush was never confirmed")


@pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_promise_3_cut_at_every_byte(
    make_engine: MakeEngine, proxy: Proxy, own_server: EmbeddedServer, direction: str, eager: bool
) -> None:
    """Of a flush of 4 events, one of them refused: what is reported, what is kept and what the server has, all agree."""
    broker = make_engine(f"redis://127.0.0.1:{proxy.port}?protocol=2").new_context().get_event_broker()
    with own_server.client() as client:
        client.set("users", "no stream")
        handshake, ends = _bytes_of_a_flush(broker, proxy)
        limit = handshake + ends[-1] + 2 if direction == "up" else 400
        complete = 0
        for at in range(handshake + 1 if direction == "up" else 1, limit):
            client.delete("orders")
            proxy.cut()
            proxy.forwarded.clear()
            setattr(proxy, f"cut_{direction}", at)
            flusher = broker.new_flusher(eager=eager)
            for position in range(4):
                _publish(flusher, position)
            refused: list[int] = []
            unconfirmed: list[int] = []
            confirmed: list[str] = []
            try:
                flusher.flush()
            except FlushError as error:
                confirmed = error.confirmed.ids
                refused = [one.position for one in error.refused]
                unconfirmed = [position for lost in error.unconfirmed for position in lost.positions]
                assert all(isinstance(one.error, redis.ResponseError) for one in error.refused)
                assert all(isinstance(one.error, NETWORK) for one in error.unconfirmed)
            assert refused in ([], [1])
            assert unconfirmed == list(range(4 - len(unconfirmed), 4))  # replies come in order
            assert len(confirmed) + len(refused) + len(unconfirmed) == 4
            assert len(flusher) == len(refused) + len(unconfirmed)
            if direction == "up":
                arrived = [end <= at - handshake for end in ends]
                wanted = [sum(arrived) - arrived[1]]
            else:  # all of them, or none if it was cut before
                wanted = [3] if len(unconfirmed) < 4 else [0, 3]
            end = time.monotonic() + 5.0
            while len(present := ids_of(client, "orders")) not in wanted and time.monotonic() < end:
                pass  # the server reads what was sent after we have seen the cut
            assert len(present) in wanted
            assert confirmed == present[: len(confirmed)]
            complete += not unconfirmed
            proxy.heal()
            proxy.cut()
            assert flusher.discard_refused() == len(refused)
            with contextlib.suppress(FlushError):  # the refused one, if it was not yet
                flusher.flush()
            bodies = [fields[b"s"] for _, fields in client.xrange("orders")]
            kept = [b"%c" % position for position in unconfirmed if position != 1]
            assert bodies in [[b"\x00", b"\x02", b"\x03"][:count] + kept for count in wanted]
            flusher.clear()  # of the refused one
        assert complete, "no cut was behind the flush"


NETWORK = (redis.ConnectionError, redis.TimeoutError)


def _publish(flusher: EventFlusher, position: int) -> None:
    flusher.publish("users" if position == 1 else "orders", position)


def _bytes_of_a_flush(broker: EventBroker, proxy: Proxy) -> tuple[int, list[int]]:
    """How many bytes go up before a flush of four events, and how many of it up to the end of each event."""
    flusher = broker.new_flusher()
    ends = []
    for position in range(4):
        _publish(flusher, position)
        ends.append(flusher.size)
    with pytest.raises(FlushError):
        flusher.flush()
    flusher.clear()
    return len(proxy.forwarded) - ends[-1], ends


def test_promise_3_a_server_killed_in_mid_flush(make_engine: MakeEngine, own_server: EmbeddedServer) -> None:
    broker = make_engine(own_server.url).new_context().get_event_broker()
    flusher = broker.new_flusher()
    for number in range(20_000):
        flusher.publish("orders", number)
    own_server.kill()
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    assert len(caught.value.confirmed) + sum(map(len, caught.value.unconfirmed)) == 20_000
    own_server.start()
    assert len(flusher.flush()) == 20_000 - len(caught.value.confirmed)


def test_bodies_larger_than_a_window(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    for number in range(20):
        flusher.publish("orders", bytes([number]) * (1 << 20))
    assert len(flusher.flush()) == 20
    sizes = [len(event.body) for events in broker.consumer_single("orders").batches(7, None) for event in events]
    assert sizes == [1 << 20] * 20


@pytest.mark.slow
def test_many_events_in_one_flush(broker: EventBroker, client: redis.Redis) -> None:
    """Their replies are larger than all socket buffers."""
    flusher = broker.new_flusher()
    for _ in range(300_000):
        flusher.publish("orders", 1)
    assert len(flusher.flush()) == 300_000 == client.xlen("orders")


@pytest.mark.blocking
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_promise_8_a_flusher_is_usable_after_fork(broker: EventBroker, client: redis.Redis) -> None:
    broker.publish("orders", "parent")
    flusher = broker.new_flusher()
    consumer = broker.consumer_single("orders")
    consumer.consume(10, None, print)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            broker.publish("orders", "child")
            flusher.publish("orders", "flushed by the child")
            flusher.flush()
            status = 0 if consumer.consume(1, None, print) == 1 else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    broker.publish("orders", "parent again")
    seen = [event.body for events in consumer.batches(10, None) for event in events]
    assert seen == ["flushed by the child", "parent again"]


def test_promise_3_a_flush_on_a_closed_engine_keeps_the_events(make_engine: MakeEngine, server_url: str) -> None:
    engine = make_engine(server_url)
    flusher = engine.new_context().get_event_broker().new_flusher()
    flusher.publish("orders", 1)
    engine.close()
    with pytest.raises(FluxaError, match="closed"):
        flusher.flush()
    assert flusher.clear() == 1


@pytest.mark.blocking
def test_promise_3_an_interruption_between_two_pools_keeps_what_was_not_sent(
    implementation: Implementation, server_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    registry.register_redis(server_url, 0, "first")
    registry.register_redis(server_url, 1, "second")
    registry.register_redis_stream("orders", "first")
    registry.register_redis_stream("users", "second")
    with registry.validate() as engine:
        flusher = engine.new_context().get_event_broker().new_flusher()
        flusher.publish("orders", 1)
        flusher.publish("users", 2)
        take_link = Pool.take_link

        def interrupted(pool: Pool) -> Any:
            if pool.name == "second":
                raise KeyboardInterrupt
            return take_link(pool)

        with monkeypatch.context() as patch:
            patch.setattr(Pool, "take_link", interrupted)
            with pytest.raises(KeyboardInterrupt):
                flusher.flush()
        assert len(flusher) == 1
        assert len(flusher.flush()) == 1
        assert client.xlen("orders") == 1


@pytest.mark.parametrize(
    "options", [{"timeout": True}, {"timeout": -1.0}, {"replicas": -1}, {"replicas": "1"}], ids=str
)
def test_what_is_asked_of_replicas_is_checked_before_anything_is_sent(
    broker: EventBroker, client: redis.Redis, options: dict[str, Any]
) -> None:
    flusher = broker.new_flusher()
    flusher.publish("orders", 1)
    with pytest.raises((TypeError, ValueError)):
        flusher.flush(**options)
    assert client.xlen("orders") == 0
    assert len(flusher.flush()) == 1
