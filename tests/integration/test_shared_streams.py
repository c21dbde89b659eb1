"""A stream that other groups and other clients use: what they still need stays, whatever the server says meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError, ResponseError

from fluxa_fast import Event, EventBroker
from fluxa_fast.embedded import EmbeddedServer
from tests.integration.test_handlers import KINDS, fill, left, new_consumer, registry

GROUP = "consumer_group"


def into(seen: list[Any]) -> Callable[[Sequence[Event]], None]:
    return lambda events: seen.extend(event.body for event in events)


def consume_all(consumer: Any, handler: Any, wanted: int) -> None:
    handled = 0
    end = time.monotonic() + 60
    while handled < wanted and time.monotonic() < end:
        handled += consumer.consume(1000, 1.0, handler)
    assert handled >= wanted


@pytest.mark.parametrize("kind", ["plain", "partitioned", "ordered", "at most once"])
def test_a_demotion_while_the_handler_works_costs_another_group_nothing(
    faces: Any, own_server: EmbeddedServer, kind: str
) -> None:
    """READONLY, which Redis 6.2 wraps where a script meets it; it was taken for a server that forbids scripts."""
    engine = registry(faces, own_server.url).validate()
    keys = engine.partitions("parts" if kind in ("partitioned", "ordered") else "orders")
    with own_server.client() as admin:
        for key in keys:
            admin.xgroup_create(key, "audit", "0", mkstream=True)
        broker = engine.new_context().get_event_broker()
        fill(broker, kind, 100)
        consumer = new_consumer(broker, kind)
        demoted = []

        def handle(events: Sequence[Event]) -> None:
            if not demoted:
                demoted.append(True)
                admin.replicaof("127.0.0.1", "1")
                threading.Timer(0.5, admin.replicaof, ("NO", "ONE")).start()

        consume_all(consumer, handle, 100)
        assert left(admin, engine, kind) == 100
        consumer.cleanup()
        assert left(admin, engine, kind) == 100
        for key in keys:
            found: Any = admin.xreadgroup("audit", "auditor", {key: ">"}, count=1000)
            for _, entries in found:
                admin.xack(key, "audit", *(id for id, _ in entries))
        fill(broker, kind, 1)
        consume_all(consumer, handle, 1)
    engine.close()


@pytest.mark.parametrize("rights", [["-eval", "-evalsha"], ["-xtrim", "-xlen"]])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["plain", "partitioned", "at most once"])
def test_rights_that_are_gone_for_a_moment_cost_another_group_nothing(
    faces: Any, own_server: EmbeddedServer, kind: str, known: bool, rights: list[str]
) -> None:
    """Also where the consumer has never seen that there is another group. And then scripts are used as before."""
    made = faces.Registry()
    made.register_redis(own_server.url, username="worker", password="secret")
    made.register_redis_stream("orders")
    made.register_redis_stream("parts", partitions=3)
    with own_server.client() as admin:
        admin.acl_setuser("worker", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"])
        engine = made.validate()
        keys = engine.partitions("parts" if kind == "partitioned" else "orders")
        for key in keys:
            admin.xgroup_create(key, "audit", "0", mkstream=True)
        broker = engine.new_context().get_event_broker()
        consumer = new_consumer(broker, kind)
        if known:
            fill(broker, kind, 90)
            consume_all(consumer, print, 90)
        before = left(admin, engine, kind)
        fill(broker, kind, 90)

        def handle(events: Sequence[Event]) -> None:
            admin.acl_setuser("worker", enabled=True, commands=rights)

        with suppress(NoPermissionError):  # it is raised: what was handled stays pending, and nothing is deleted
            for _ in range(3):
                consumer.consume(1000, 0.1, handle)
        assert left(admin, engine, kind) == before + 90
        admin.acl_setuser("worker", enabled=True, categories=["+@all"])
        for key in keys:
            pending: Any = admin.xpending(key, GROUP)
            if pending["pending"]:
                consume_all(consumer, print, pending["pending"])
        assert left(admin, engine, kind) == before + 90
        engine.close()


# ---- at most once ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves_by", ["a later batch", "an idle read", "cleanup"])
@pytest.mark.parametrize("kind", ["plain", "partitioned"])
def test_what_was_read_at_most_once_goes_when_an_older_entry_of_another_consumer_is_done(
    faces: Any, server_url: str, client: redis.Redis, kind: str, leaves_by: str
) -> None:
    stream = "parts" if kind == "partitioned" else "orders"
    engine = registry(faces, server_url).validate()
    broker = engine.new_context().get_event_broker()
    fill(broker, kind, 1)
    other = broker.consumer_many(stream)
    with pytest.raises(LookupError):
        consume_all(other, lambda events: [][0], 1)
    old = next(key for key in engine.partitions(stream) if client.xlen(key))
    flusher = client.pipeline(transaction=False)
    for number in range(30):
        flusher.xadd(old, {"s": bytes([number])})
    flusher.execute()
    consumer = broker.consumer_many(stream, delivery="at-most-once")
    consume_all(consumer, print, 30)
    assert left(client, engine, kind) == 31  # the oldest one is pending: nothing behind it is trimmed
    consume_all(other, print, 1)
    assert left(client, engine, kind) == 30
    if leaves_by == "cleanup":
        consumer.cleanup()
    elif leaves_by == "a later batch":
        client.xadd(old, {"s": b"\1"})
        consume_all(consumer, print, 1)
    else:
        end = time.monotonic() + 30
        while left(client, engine, kind) and time.monotonic() < end:
            consumer.consume(10, 0.3, print)
    assert left(client, engine, kind) == 0
    before = client.info("commandstats")["cmdstat_xtrim"]["calls"]
    for _ in range(3):
        consumer.consume(10, 0.6, print)
    assert client.info("commandstats")["cmdstat_xtrim"]["calls"] == before  # nothing is left: nothing is asked
    engine.close()


@pytest.mark.parametrize("kind", ["plain", "partitioned", "ordered"])
def test_a_group_that_was_set_back_is_given_again_what_is_pending_too(
    faces: Any, server_url: str, client: redis.Redis, kind: str
) -> None:
    """XGROUP SETID, with entries pending. Reading at most once trimmed what was still to be delivered again."""
    engine = registry(faces, server_url).validate()
    stream = "orders" if kind == "plain" else "parts"
    key = engine.partitions(stream)[0]
    client.xgroup_create(key, GROUP, "0", mkstream=True)
    ids = [client.xadd(key, {"s": bytes([number])}) for number in range(10)]
    client.xreadgroup(GROUP, "other", {key: ">"}, count=10)
    client.xack(key, GROUP, *ids[:8])  # type: ignore[arg-type]
    client.xgroup_setid(key, GROUP, "0")
    broker = engine.new_context().get_event_broker()
    make = broker.consumer_ordered if kind == "ordered" else broker.consumer_many
    consumer = make(stream, delivery="at-most-once")
    seen: list[Any] = []
    end = time.monotonic() + 60
    while len(set(seen)) < 10 and time.monotonic() < end:
        consumer.consume(1, 0.5, into(seen))
    assert sorted(set(seen)) == list(range(10))
    engine.close()


# ---- the group goes -------------------------------------------------------------------------------------

_BUSY = "redis.call(unpack(ARGV)) for i = 1, 4e7 do end"  # about half a second


@pytest.mark.parametrize("what", ["destroy", "remove"])
@pytest.mark.parametrize("kind", ["plain", "partitioned"])
def test_the_group_may_go_while_acknowledgements_are_under_way(
    faces: Any, own_server: EmbeddedServer, kind: str, what: str
) -> None:
    """Behind a read ahead: the consumer made the group over a connection that still owed replies, and went out of step."""
    engine = registry(faces, own_server.url).validate()
    stream = "parts" if kind == "partitioned" else "orders"
    key = engine.partitions(stream)[0]
    with own_server.client(socket_timeout=30.0) as admin:
        admin.config_set("busy-reply-threshold", 60_000) if _has_busy_threshold(admin) else None
        for number in range(200):
            admin.xadd(key, {"s": bytes([number % 128])})
        consumer = engine.new_context().get_event_broker().consumer_many(stream)
        seen: list[Any] = []
        go = ("XGROUP", "DESTROY", key, GROUP) if what == "destroy" else ("DEL", key)
        threads = []

        def handle(events: Sequence[Event]) -> None:
            seen.extend(event.body for event in events)
            if not threads:
                threads.append(threading.Thread(target=admin.eval, args=(_BUSY, 0, *go)))
                threads[0].start()
                time.sleep(0.1)
            if "end" in seen:
                consumer.stop()

        def publish_last() -> None:
            time.sleep(2.0)
            admin.xadd(key, {"s": b"\xa3end"})

        last = threading.Thread(target=publish_last)
        last.start()
        consumer.run(handle, count=50)
        last.join()
        threads[0].join()
        assert seen[-1] == "end"
        if what == "destroy":
            assert set(seen[:-1]) == {number % 128 for number in range(200)}
        consumer.consume(1000, None, print)
        assert admin.xlen(key) == admin.xpending(key, GROUP)["pending"] == 0
    engine.close()


def _has_busy_threshold(admin: redis.Redis) -> bool:
    return bool(admin.config_get("busy-reply-threshold"))


# ---- what the server refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["another type", "no right to acknowledge", "no right to read"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_server_refuses_for_good_is_raised_once_and_names_the_stream(
    faces: Any, own_server: EmbeddedServer, kind: str, why: str
) -> None:
    """It was sent again tens of thousands of times a second over partitions, and stop() did not end it."""
    made = faces.Registry()
    made.register_redis(own_server.url, pool="mine", username="worker", password="secret")
    made.register_redis_stream("orders", "mine")
    made.register_redis_stream("parts", "mine", partitions=3)
    with own_server.client() as admin:
        admin.acl_setuser("worker", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"])
        engine = made.validate()
        stream = "parts" if kind in ("partitioned", "ordered") else "orders"
        broker = engine.new_context().get_event_broker()
        consumer = new_consumer(broker, kind)
        fill(broker, kind, 60)

        def handle(events: Sequence[Event]) -> None:
            if why == "another type":
                for key in engine.partitions(stream):
                    admin.set(key, "no stream")
            elif why == "no right to read":
                admin.acl_setuser("worker", enabled=True, commands=["-xreadgroup"])
            else:
                admin.acl_setuser("worker", enabled=True, commands=["-xack", "-xdel", "-eval", "-evalsha"])

        with pytest.raises(ResponseError, match=rf"stream '{stream}.*' on pool 'mine'") as caught:
            consumer.run(handle, 50)
        assert why == "another type" or isinstance(caught.value, NoPermissionError)
        commands = admin.info("stats")["total_commands_processed"]
        time.sleep(0.2)
        assert admin.info("stats")["total_commands_processed"] - commands < 100
        if kind != "at most once":  # for which nothing is left to do
            with pytest.raises(ResponseError):
                consumer.run(handle, 50)
        for key in engine.partitions(stream):
            if why == "another type":
                admin.delete(key)
        admin.acl_setuser("worker", enabled=True, categories=["+@all"])
        fill(broker, kind, 5)
        consume_all(consumer, print, 5)  # it may be used again
    engine.close()


def test_a_consumer_of_the_original_shares_the_work(broker: EventBroker, client: redis.Redis, server_url: str) -> None:
    """It acknowledges with XACK and XDEL. What it has pending keeps the low-water mark down; all is gone in the end."""
    flusher = broker.new_flusher()
    flusher.publish_many("orders", range(8000))
    flusher.flush()
    seen: list[Any] = []
    by_original: list[Any] = []
    consumer = broker.consumer_many("orders")
    consumer.consume(1, None, lambda events: seen.extend(event.id for event in events))  # makes the group
    over = threading.Event()

    def original() -> None:
        with redis.Redis.from_url(server_url) as go:
            while not over.is_set():
                for _, entries in go.xreadgroup("consumer_group", "consumer-go", {"orders": ">"}, 100, block=50):
                    ids = [id for id, _ in entries]
                    time.sleep(0.002)
                    go.xack("orders", "consumer_group", *ids)
                    go.xdel("orders", *ids)
                    by_original.extend(id.decode() for id in ids)

    def handle(events: Sequence[Any]) -> None:
        seen.extend(event.id for event in events)
        time.sleep(0.001)

    thread = threading.Thread(target=original)
    thread.start()
    running = threading.Thread(target=consumer.run, args=(handle, 100))
    running.start()
    deadline = time.monotonic() + 30
    while client.xlen("orders") and time.monotonic() < deadline:
        time.sleep(0.02)
    over.set()
    thread.join()
    consumer.stop()
    running.join()
    assert by_original
    assert len(seen) + len(by_original) == len({*seen, *by_original}) == 8000
    assert (client.xlen("orders"), client.xpending("orders", "consumer_group")["pending"]) == (0, 0)
