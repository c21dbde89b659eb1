"""Promise 6: after a lost connection, a lost group, a restarted or demoted server, the consumer goes on.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
import redis

from fluxa_fast import Engine, Event, EventBroker, FlushError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.scripts import ACKNOWLEDGE
from tests.awaited import Faces
from tests.fix_broker import QUICK
from tests.proxy import Proxy

MakeEngine = Callable[..., Engine]
Later = Callable[..., None]


def promote(server: EmbeddedServer) -> None:
    with server.client() as client:
        client.replicaof("NO", "ONE")


def test_promise_6_a_lost_group_is_made_again(broker: EventBroker, client: redis.Redis) -> None:
    consumer = broker.consumer_single("orders")
    seen: list[Event] = []
    for lose in (lambda: client.flushall(), lambda: client.xgroup_destroy("orders", "consumer_group"), print):
        broker.publish("orders", 1)
        assert consumer.consume(10, None, seen.extend) >= 1
        lose()
    assert len(seen) == 3
    client.delete("orders")
    assert consumer.auto_claim(10, 0, seen.extend) == 0


@pytest.mark.parametrize("lose", ["delete", "destroy", "flush"])
def test_promise_6_a_group_lost_while_waiting(broker: EventBroker, client: redis.Redis, lose: str) -> None:
    consumer = broker.consumer_single("orders")
    consumer.consume(1, None, print)

    def disturb() -> None:
        time.sleep(0.2)
        if lose == "delete":
            client.delete("orders")
        elif lose == "destroy":
            client.xgroup_destroy("orders", "consumer_group")
        else:
            client.flushall()
        time.sleep(0.2)
        broker.publish("orders", "after")

    thread = threading.Thread(target=disturb)
    thread.start()
    seen: list[Event] = []
    consumer.consume(1, 10.0, seen.extend)
    thread.join()
    assert [event.body for event in seen] == ["after"]


def test_promise_6_killed_connections_are_made_again(broker: EventBroker, client: redis.Redis, later: Later) -> None:
    consumer = broker.consumer_single("orders", recovery=QUICK)
    seen: list[int] = []
    for number in range(5):
        broker.publish("orders", number)
        consumer.consume(1, None, lambda events: seen.append(events[0].body))
        client.client_kill_filter(_type="normal", skipme=True)
    later(0.2, lambda: client.client_kill_filter(_type="normal", skipme=True))
    later(0.5, broker.publish, "orders", 5)
    consumer.consume(1, 10.0, lambda events: seen.append(events[0].body))
    assert seen == [0, 1, 2, 3, 4, 5]


def test_promise_6_a_restarted_server(
    make_engine: MakeEngine, own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    broker = make_engine(own_server.url).new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=QUICK)
    broker.publish("orders", "before")
    consumer.consume(1, None, print)
    own_server.kill()

    def restart() -> None:
        time.sleep(0.5)
        own_server.start()
        broker.publish("orders", "after")

    thread = threading.Thread(target=restart)
    thread.start()
    seen: list[Event] = []
    with caplog.at_level(logging.WARNING, "fluxa_fast"):
        consumer.consume(1, 10.0, seen.extend)
    thread.join()
    assert [event.body for event in seen] == ["after"]
    assert sum("trying again" in record.message for record in caplog.records) == 1
    assert sum("is back" in record.message for record in caplog.records) == 1


def test_promise_6_a_read_that_is_unblocked_over_and_over_goes_on(
    broker: EventBroker, client: redis.Redis, later: Later
) -> None:
    """``CLIENT UNBLOCK id ERROR``; a server that becomes a replica answers blocked reads in the same way."""
    consumer = broker.consumer_single("orders", recovery=QUICK)
    consumer.consume(1, None, print)

    def unblock() -> None:
        unblocked = 0
        end = time.monotonic() + 10.0
        while unblocked < 12 and time.monotonic() < end:
            for one in client.client_list():
                if one["cmd"] == "xreadgroup":
                    unblocked += client.client_unblock(one["id"], error=True)
            time.sleep(0.01)
        broker.publish("orders", "after")

    later(0.1, unblock)
    seen: list[Event] = []
    consumer.consume(1, 20.0, seen.extend)
    assert [event.body for event in seen] == ["after"]


def test_promise_6_a_slow_script_is_waited_for(
    make_engine: MakeEngine, own_server: EmbeddedServer, later: Later
) -> None:
    """The server answers every command with BUSY, until the script ends or is killed."""
    broker = make_engine(own_server.url).new_context().get_event_broker()
    broker.publish("orders", 1)
    consumer = broker.consumer_single("orders", recovery=QUICK)
    consumer.consume(1, None, print)
    broker.publish("orders", 2)
    with own_server.client() as admin:
        admin.ping()
        admin.config_set("lua-time-limit", 100)
        admin.client_kill_filter(_type="normal", skipme=True)
        script = threading.Thread(target=_run_for_ever, args=(own_server,))
        script.start()
        time.sleep(0.5)
        with pytest.raises(redis.ResponseError, match="BUSY"):
            admin.get("orders")
        later(0.5, admin.script_kill)
        seen: list[Event] = []
        consumer.consume(1, None, seen.extend)
        script.join()
    assert [event.body for event in seen] == [2]


def _run_for_ever(server: EmbeddedServer) -> None:
    with server.client() as client, suppress(redis.ResponseError):
        client.eval("while true do end", 0)


def test_an_outage_longer_than_the_deadline_is_raised(make_engine: MakeEngine, own_server: EmbeddedServer) -> None:
    from fluxa_fast import Recovery

    broker = make_engine(own_server.url).new_context().get_event_broker()
    own_server.kill()
    consumer = broker.consumer_single("orders", recovery=Recovery(deadline=0.3))
    began = time.monotonic()
    with pytest.raises(redis.ConnectionError):
        consumer.consume(1, None, print)
    assert time.monotonic() - began < 5


def test_promise_6_a_replica_is_waited_for_until_it_is_promoted(
    make_engine: MakeEngine, own_server: EmbeddedServer, later: Later
) -> None:
    broker = make_engine(own_server.url).new_context().get_event_broker()
    broker.publish("orders", 1)
    consumer = broker.consumer_single("orders", recovery=QUICK)
    with own_server.client() as client:
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            broker.publish("orders", 2)
        later(0.5, promote, own_server)
        assert consumer.consume(1, None, print) == 1


def test_stop_ends_an_outage(make_engine: MakeEngine, own_server: EmbeddedServer, later: Later) -> None:
    broker = make_engine(own_server.url).new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=QUICK)
    own_server.kill()
    later(0.3, consumer.stop)
    consumer.run(print)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("how", ["consume", "run"])
def test_promise_4_a_connection_cut_anywhere_loses_nothing(
    make_engine: MakeEngine, proxy: Proxy, own_server: EmbeddedServer, direction: str, how: str
) -> None:
    """Every connection is cut after some bytes, over and over: each event is handled, each is gone in the end."""
    direct = make_engine(own_server.url).new_context().get_event_broker()
    flusher = direct.new_flusher()
    for number in range(40):
        flusher.publish("orders", {"number": number})
    flusher.flush()
    broker = make_engine(f"127.0.0.1:{proxy.port}").new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=QUICK)
    seen: list[int] = []

    def handle(events: Sequence[Event]) -> None:
        seen.extend(event.body["number"] for event in events)
        step = 211 if direction == "up" else 401
        # The script has to arrive some time, behind what redis-py sends first.
        shortest = len(ACKNOWLEDGE.text) + 600 if direction == "up" else 600
        setattr(proxy, f"cut_{direction}", shortest + step * len(seen) % 1700)
        if len(set(seen)) == 40:
            proxy.cut_up = proxy.cut_down = None
            consumer.stop()

    setattr(proxy, f"cut_{direction}", 900)
    if how == "run":
        consumer.run(handle, count=4)
    else:
        for _ in range(200):
            consumer.consume(4, 0.01, handle)
            if len(set(seen)) == 40:
                break
    proxy.cut_up = proxy.cut_down = None
    while consumer.consume(100, None, handle):
        pass
    assert set(seen) == set(range(40))
    with own_server.client() as client:
        assert client.xlen("orders") == 0
        assert client.xpending("orders", "consumer_group")["pending"] == 0


def test_promise_4_split_into_single_bytes(make_engine: MakeEngine, proxy: Proxy) -> None:
    proxy.split = 1
    broker = make_engine(f"127.0.0.1:{proxy.port}").new_context().get_event_broker()
    flusher = broker.new_flusher()
    for number in range(20):
        flusher.publish("orders", number)
    assert len(flusher.flush()) == 20
    with suppress(FlushError):
        flusher.flush()
    assert [event.body for events in broker.consumer_single("orders").batches(7, None) for event in events] == list(
        range(20)
    )


@pytest.mark.parametrize("how", ["consume", "batches"])
def test_promise_4_what_a_lost_connection_had_read_comes_first(
    make_engine: MakeEngine, proxy: Proxy, own_server: EmbeddedServer, how: str, later: Later
) -> None:
    """The reply to a read is lost: its events are pending, and must come before those that are new."""
    broker = make_engine(f"127.0.0.1:{proxy.port}").new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=QUICK)
    assert consumer.consume(1, None, print) == 0
    flusher = make_engine(own_server.url).new_context().get_event_broker().new_flusher()
    for number in range(30):
        flusher.publish("orders", number)
    flusher.flush()
    proxy.cut_down = 1  # of the next bytes, on this and on later connections
    later(0.3, setattr, proxy, "cut_down", None)
    seen: list[int] = []
    if how == "consume":
        while consumer.consume(10, None, lambda events: seen.extend(event.body for event in events)):
            pass
    else:
        for events in consumer.batches(10, None):
            seen.extend(event.body for event in events)
    assert seen == list(range(30))


def test_promise_4_what_a_claim_took_over_in_a_lost_reply_is_handled(
    make_engine: MakeEngine, proxy: Proxy, own_server: EmbeddedServer, later: Later
) -> None:
    direct = make_engine(own_server.url).new_context().get_event_broker()
    for number in range(5):
        direct.publish("orders", number)
    with pytest.raises(ZeroDivisionError):
        direct.consumer_many("orders").consume(5, None, lambda events: 1 // 0)
    time.sleep(0.3)
    broker = make_engine(f"127.0.0.1:{proxy.port}").new_context().get_event_broker()
    consumer = broker.consumer_many("orders", recovery=QUICK)
    assert consumer.consume(1, None, print) == 0
    proxy.cut_down = 1
    later(0.1, setattr, proxy, "cut_down", None)
    seen: list[int] = []
    consumer.auto_claim(10, 0.25, lambda events: seen.extend(event.body for event in events))
    consumer.consume(10, None, lambda events: seen.extend(event.body for event in events))
    assert seen == [0, 1, 2, 3, 4]


def test_promise_6_a_server_demoted_while_a_read_is_ahead(
    make_engine: MakeEngine, own_server: EmbeddedServer, later: Later
) -> None:
    """The handler's own error reaches the caller. What could not be acknowledged then comes again, in order."""
    broker = make_engine(own_server.url).new_context().get_event_broker()
    flusher = broker.new_flusher()
    for number in range(30):
        flusher.publish("orders", number)
    flusher.flush()
    with own_server.client() as client:
        consumer = broker.consumer_single("orders", recovery=QUICK)
        calls = 0

        def handle(events: Sequence[Event]) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                client.replicaof("127.0.0.1", "1")  # the read ahead, with an acknowledgement, meets a replica
                later(0.3, promote, own_server)
            if calls == 2:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            consumer.run(handle, count=5)
        seen = [event.body for events in consumer.batches(5, None) for event in events]
        assert seen in (list(range(30)), list(range(5, 30)))
        assert client.xlen("orders") == 0


def test_an_outage_that_is_stopped_does_not_stop_the_next_call(
    make_engine: MakeEngine, own_server: EmbeddedServer, later: Later
) -> None:
    broker = make_engine(own_server.url).new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=QUICK)
    consumer.consume(1, None, print)
    own_server.kill()
    later(0.2, consumer.stop)
    assert consumer.consume(1, 30.0, print) == 0
    own_server.start()
    later(0.3, broker.publish, "orders", 1)
    assert consumer.consume(1, 10.0, print) == 1


@pytest.mark.parametrize("options", [{}, {"concurrency": 4}], ids=["one", "four"])
def test_an_outage_is_logged_once_however_many_conversations_meet_it(
    faces: Any,
    make_engine: MakeEngine,
    own_server: EmbeddedServer,
    later: Later,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, int],
) -> None:
    if options and not isinstance(faces, Faces):
        pytest.skip("handlers at the same time are for asyncio")
    broker = make_engine(own_server.url).new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=QUICK)
    for number in range(4):
        broker.publish("orders", number)
    first = threading.Lock()

    def handle(events: Sequence[Event]) -> None:
        if first.acquire(blocking=False):
            own_server.kill()
            later(1.0, own_server.start)
            later(1.5, consumer.stop)

    with caplog.at_level(logging.INFO, "fluxa_fast"):
        consumer.run(handle, 1, **options)
    messages = [record.message for record in caplog.records]
    assert sum("is cut off" in message for message in messages) == 1, messages
    assert sum("is back" in message for message in messages) == 1, messages
