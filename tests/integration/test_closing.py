"""An engine is closed while others use it: every call ends with words, and none goes on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from fluxa_fast import FlushError, FluxaError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.redis_adapter import connections
from tests.awaited import Faces
from tests.fix_cluster import ON_CLUSTERS
from tests.proxy import Proxy
from tests.unresponsive_server import unresponsive

if sys.platform == "win32":
    pytest.skip("faults of POSIX processes", allow_module_level=True)

CLOSED = pytest.raises(FluxaError, match="the engine is closed")
LONG = 40.0  # seconds: what takes so long waits for something

KINDS = ["plain", "many", "ordered"]
"""Of consumers: of one stream, of all partitions of one, of those that it owns."""


@pytest.fixture
def make(faces: Any) -> Iterator[Callable[..., Any]]:
    """Makes engines with the streams `orders` (partitions) and `users`; closes them in the end."""
    engines = []

    def make(*address: object, **options: object) -> Any:
        registry = faces.Registry()
        registry.register_redis(*address, **options)
        registry.register_redis_stream("orders", partitions=4)
        registry.register_redis_stream("users")
        engines.append(registry.validate())
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def _broker(engine: Any) -> Any:
    return engine.new_context().get_event_broker()


def _consumer(broker: Any, kind: str) -> Any:
    if kind == "plain":
        return broker.consumer_many("users")
    return broker.consumer_many("orders") if kind == "many" else broker.consumer_ordered("orders", lease=2.0)


class _Calling(threading.Thread):
    """Calls something in a thread, and keeps what came of it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        super().__init__(daemon=True)
        self._call = function, arguments
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        function, arguments = self._call
        try:
            self.outcome = function(*arguments)
        except BaseException as error:
            self.outcome = error

    def end(self) -> Any:
        self.join(LONG)
        assert not self.is_alive(), "it goes on"
        return self.outcome

    def ends_closed(self) -> None:
        outcome = self.end()
        assert isinstance(outcome, FluxaError), repr(outcome)
        assert "the engine is closed" in str(outcome)


_flushers: list[Any] = []


def _new_flusher(broker: Any, **options: Any) -> Any:
    flusher = broker.new_flusher(**options)
    _flushers.append(flusher)
    return flusher


@pytest.fixture(autouse=True)
def _events_that_stay() -> Iterator[None]:
    """Flushers are left with events that a closed engine does not take: drop them, or the flushers warn."""
    yield
    while _flushers:
        flusher = _flushers.pop()
        getattr(flusher, "_target", flusher)._buffer.clear()


def _every_call(engine: Any, broker: Any) -> dict[str, Callable[[], object]]:
    """Made before the engine is closed; all of what is read is there."""
    calls: dict[str, Callable[[], object]] = {
        "publish": lambda: broker.publish("users", 1),
        "publish with a key": lambda: broker.publish("orders", 1, key="k"),
        "statistics": lambda: broker.get_streams_statistics(),
    }
    for eager in (False, True):
        flusher = _new_flusher(broker, eager=eager)
        for number in range(2000):
            flusher.publish("users", number)
            flusher.publish("orders", number, key=number)
        calls[f"flush, eager={eager}"] = flusher.flush
    events: list[Any] = []
    for kind in KINDS:
        consumer = _consumer(broker, kind)
        consumer.consume(10, None, events.extend)
        fresh = _consumer(broker, kind)
        for told, one in (("fresh", fresh), ("used", consumer)):
            calls |= {
                f"consume, {told} {kind}": lambda one=one: one.consume(10, None, events.extend),
                f"run, {told} {kind}": lambda one=one: one.run(events.extend),
                f"batches, {told} {kind}": lambda one=one: list(one.batches(10, None)),
                f"cleanup, {told} {kind}": one.cleanup,
            }
        if kind != "ordered":
            calls[f"auto_claim, {kind}"] = lambda one=consumer: one.auto_claim(10, 0, events.extend)
    consumer = _consumer(broker, "plain")
    batch = next(iter(consumer.batches(2, None)))
    calls["ack"] = batch[0].ack
    calls["a new consumer"] = lambda: broker.consumer_single("users")
    return calls


def _all_are_refused(engine: Any) -> None:
    broker = _broker(engine)
    for number in range(40):
        broker.publish("users", number)
        broker.publish("orders", number, key=number)
    calls = _every_call(engine, broker)
    engine.close()
    wrong = {}
    for name, call in calls.items():
        thread = _Calling(call)
        outcome = thread.end()
        if not isinstance(outcome, FluxaError) or "the engine is closed" not in str(outcome):
            wrong[name] = outcome
    assert not wrong


def test_every_call_after_close_is_refused(make: Callable[..., Any], server_url: str, client: redis.Redis) -> None:
    _all_are_refused(make(server_url))


@pytest.mark.blocking
def test_the_right_errors_although_the_server_is_gone(make: Callable[..., Any], own_server: EmbeddedServer) -> None:
    engine = make(own_server.url)
    broker = _broker(engine)
    broker.publish("users", 1)
    own_server.kill()
    engine.close()
    with CLOSED:
        broker.publish("users", 1)


# ---- consumers that wait, or work -----------------------------------------------------------------------


def _how(how: str, consumer: Any, handler: Callable[[Any], object]) -> _Calling:
    if how == "run":
        return _Calling(consumer.run, handler)
    if how == "consume":

        def consume() -> None:
            while True:
                consumer.consume(10, LONG * 2, handler)

        return _Calling(consume)
    return _Calling(lambda: [handler(batch) for batch in consumer.batches(10)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["run", "consume", "batches"])
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_consumer_ends(
    make: Callable[..., Any],
    server_url: str,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    how: str,
    state: str,
) -> None:
    engine = make(server_url)
    broker = _broker(engine)
    stream = "users" if kind == "plain" else "orders"
    handled = threading.Event()
    consuming = _how(how, _consumer(broker, kind), lambda _: handled.set())
    broker.publish(stream, 1)
    assert handled.wait(LONG)
    stopped = threading.Event()

    def publish() -> None:
        other = make(server_url)
        with _new_flusher(_broker(other)) as flusher:
            while not stopped.is_set():
                for number in range(100):
                    flusher.publish(stream, number, key=number if kind != "plain" else None)
                flusher.flush()

    publishing = _Calling(publish) if state == "busy" else None
    time.sleep(0.3)
    engine.close()
    consuming.ends_closed()
    stopped.set()
    if publishing is not None:
        publishing.end()
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_of_an_unresponsive_server_ends(
    make: Callable[..., Any], own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    engine = make(own_server.url, socket_timeout=LONG * 5)
    broker = _broker(engine)
    handled = threading.Event()
    consuming = _how("run", _consumer(broker, kind), lambda _: handled.set())
    broker.publish("users" if kind == "plain" else "orders", 1)
    assert handled.wait(LONG)
    with unresponsive(own_server):
        time.sleep(1.5)
        engine.close()
        consuming.ends_closed()
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_that_waits_for_an_outage_to_pass_ends(
    make: Callable[..., Any], own_server: EmbeddedServer, kind: str
) -> None:
    engine = make(own_server.url)
    broker = _broker(engine)
    handled = threading.Event()
    consuming = _how("run", _consumer(broker, kind), lambda _: handled.set())
    broker.publish("users" if kind == "plain" else "orders", 1)
    assert handled.wait(LONG)
    own_server.kill()
    time.sleep(0.5)
    engine.close()
    consuming.ends_closed()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_being_handled_stays_pending(
    make: Callable[..., Any], server_url: str, client: redis.Redis, kind: str
) -> None:
    engine = make(server_url)
    broker = _broker(engine)
    stream = "users" if kind == "plain" else "orders"
    broker.publish(stream, "mine", key="k" if kind != "plain" else None)
    handling, closed = threading.Event(), threading.Event()

    def handle(_: Any) -> None:
        handling.set()
        closed.wait(LONG)

    consuming = _how("run", _consumer(broker, kind), handle)
    assert handling.wait(LONG)
    engine.close()
    closed.set()
    consuming.ends_closed()
    keys = [key.decode() for key in client.keys(f"{stream}*") if client.type(key) == b"stream"]
    assert sum(client.xpending(key, "consumer_group")["pending"] for key in keys if client.xlen(key)) == 1


# ---- publishers -----------------------------------------------------------------------------------------


def test_threads_that_publish_end(make: Callable[..., Any], server_url: str, client: redis.Redis) -> None:
    for _ in range(5):
        engine = make(server_url)
        broker = _broker(engine)

        def publish(broker: Any = broker) -> None:
            while True:
                broker.publish("users", 1)

        def flush(broker: Any = broker) -> None:
            flusher = _new_flusher(broker)
            while True:
                for number in range(50):
                    flusher.publish("orders", number, key=number)
                flusher.flush()

        threads = [_Calling(publish), _Calling(publish), _Calling(publish), _Calling(flush), _Calling(flush)]
        time.sleep(0.1)
        engine.close()
        for thread in threads:
            thread.ends_closed()


def test_a_publish_that_is_under_way_may_have_reached_the_server(make: Callable[..., Any], proxy: Proxy) -> None:
    engine = make(f"127.0.0.1:{proxy.port}")
    broker = _broker(engine)
    broker.publish("users", 1)
    proxy.stall()
    publishing = _Calling(broker.publish, "users", 2)
    time.sleep(0.3)
    engine.close()
    outcome = publishing.end()
    assert isinstance(outcome, FluxaError)
    assert "the engine is closed" in str(outcome)
    assert "the server may have what was sent" in str(outcome)


@pytest.mark.parametrize("eager", [False, True])
def test_a_flush_that_is_under_way_tells_what_became_of_the_events(
    make: Callable[..., Any], proxy: Proxy, eager: bool
) -> None:
    engine = make(f"127.0.0.1:{proxy.port}")
    flusher = _new_flusher(_broker(engine), eager=eager)
    flusher.publish("users", 0)
    flusher.flush()
    proxy.stall()
    for number in range(20_000):
        flusher.publish("users", number)
    flushing = _Calling(flusher.flush)
    time.sleep(0.5)
    engine.close()
    outcome = flushing.end()
    assert isinstance(outcome, FlushError), repr(outcome)
    (lost,) = outcome.unconfirmed
    assert len(outcome.confirmed) + len(lost) == 20_000
    assert "the engine is closed" in str(lost.error)
    assert len(flusher) == len(lost)


def test_an_outage_that_close_meets_is_no_foreign_error(make: Callable[..., Any], own_server: EmbeddedServer) -> None:
    """Redis-py is making connections for these threads; the server never answers."""
    engine = make(own_server.url, socket_timeout=LONG * 5)
    broker = _broker(engine)
    with unresponsive(own_server):
        threads = [_Calling(broker.publish, "users", 1), _Calling(broker.get_streams_statistics)]
        threads.append(_how("run", _consumer(broker, "plain"), print))
        time.sleep(0.5)
        engine.close()
        for thread in threads:
            thread.ends_closed()


# ---- closing itself -------------------------------------------------------------------------------------


def test_it_may_be_closed_twice_and_by_several_threads(
    make: Callable[..., Any], server_url: str, client: redis.Redis
) -> None:
    before = len(client.client_list())
    engine = make(server_url)
    broker = _broker(engine)
    consumers = [_consumer(broker, kind) for kind in KINDS]
    for number in range(20):
        broker.publish("users", number)
        broker.publish("orders", number, key=number)
    for consumer in consumers:
        consumer.consume(10, None, lambda _: None)
    threads = [_Calling(engine.close) for _ in range(5)]
    assert [thread.end() for thread in threads] == [None] * 5
    engine.close()
    end = time.monotonic() + LONG
    while len(client.client_list()) > before and time.monotonic() < end:
        time.sleep(0.01)
    assert len(client.client_list()) == before


class _Stubborn(redis.Connection):
    """A connection that can't be closed."""

    def disconnect(self, *arguments: Any, **options: Any) -> None:
        super().disconnect(*arguments, **options)
        raise RuntimeError("it can't be closed")


class _AwaitedStubborn(redis.asyncio.Connection):
    async def disconnect(self, *arguments: Any, **options: Any) -> None:
        await super().disconnect(*arguments, **options)
        raise RuntimeError("it can't be closed")


def test_all_pools_are_closed_though_one_fails(faces: Any, server_url: str, client: redis.Redis) -> None:
    before = len(client.client_list())
    stubborn = _AwaitedStubborn if isinstance(faces, Faces) else _Stubborn
    registry = faces.Registry()
    registry.register_redis(server_url, pool="first")
    registry.register_redis(server_url, pool="second", connection_class=stubborn)
    registry.register_redis(server_url, pool="third")
    for name in ("first", "second", "third"):
        registry.register_redis_stream(f"of {name}", pool=name)
    engine = registry.validate()
    broker = _broker(engine)
    consumers = []
    for name in ("first", "second", "third"):
        broker.publish(f"of {name}", 1)
        consumers.append(broker.consumer_many(f"of {name}"))
        consumers[-1].consume(1, None, lambda _: None)
    with pytest.raises(RuntimeError, match="it can't be closed"):
        engine.close()
    end = time.monotonic() + LONG
    while len(client.client_list()) > before and time.monotonic() < end:
        time.sleep(0.01)
    assert len(client.client_list()) == before
    for name in ("first", "second", "third"):
        with CLOSED:
            broker.publish(f"of {name}", 1)


def test_a_client_that_was_handed_in_has_all_of_its_connections_back(
    faces: Any, make: Callable[..., Any], server_url: str, client: redis.Redis
) -> None:
    module: Any = redis.asyncio if isinstance(faces, Faces) else redis
    pool = module.BlockingConnectionPool.from_url(server_url, max_connections=8, timeout=LONG / 2)
    theirs = module.Redis(connection_pool=pool)
    call: Any = faces.call if isinstance(faces, Faces) else lambda function, *arguments: function(*arguments)
    engine = make(client=theirs)
    broker = _broker(engine)
    consumers = [_consumer(broker, kind) for kind in KINDS]
    for number in range(20):
        broker.publish("users", number)
        broker.publish("orders", number, key=number)
    for consumer in consumers:
        consumer.consume(10, None, lambda _: None)
    running = _how("run", _consumer(broker, "plain"), lambda _: None)
    time.sleep(0.3)
    engine.close()
    running.ends_closed()
    borrow = connections.async_borrow if isinstance(faces, Faces) else connections.borrow
    borrowed = [call(borrow, pool) for _ in range(8)]
    for connection in borrowed:
        call(connection.send_command, "PING")
        assert call(connection.read_response) in (b"PONG", "PONG")
        call(pool.release, connection)
    assert call(theirs.ping)
    call(pool.disconnect)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_are_left_in_the_wrong_order(
    make: Callable[..., Any], server_url: str, client: redis.Redis, kind: str
) -> None:
    engine = make(server_url)
    consumer = _consumer(_broker(engine), kind)

    def wrong_order() -> None:
        with consumer, engine:
            consumer.consume(1, None, lambda _: None)

    _Calling(wrong_order).ends_closed()

    other = make(server_url)
    second = _consumer(_broker(other), kind)

    def left_with_an_error() -> None:
        with second, other:
            second.consume(1, None, lambda _: None)
            raise LookupError("of the block")

    outcome = _Calling(left_with_an_error).end()
    assert isinstance(outcome, LookupError), repr(outcome)


class TestOnAClusterToo:
    pytestmark = ON_CLUSTERS

    def test_every_call_after_close_is_refused(self, cluster: EmbeddedCluster, make: Callable[..., Any]) -> None:
        _all_are_refused(make(cluster.url))

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_consumer_ends(
        self, cluster: EmbeddedCluster, make: Callable[..., Any], caplog: pytest.LogCaptureFixture, kind: str
    ) -> None:
        engine = make(cluster.url)
        broker = _broker(engine)
        handled = threading.Event()
        consuming = _how("run", _consumer(broker, kind), lambda _: handled.set())
        broker.publish("users" if kind == "plain" else "orders", 1)
        assert handled.wait(LONG)
        engine.close()
        consuming.ends_closed()
        assert not caplog.records

    def test_threads_that_publish_end(self, cluster: EmbeddedCluster, make: Callable[..., Any]) -> None:
        engine = make(cluster.url)
        broker = _broker(engine)

        def publish() -> None:
            while True:
                broker.publish("orders", 1)

        def flush() -> None:
            flusher = _new_flusher(broker)
            while True:
                for number in range(300):
                    flusher.publish("orders", number, key=number)
                flusher.flush()

        threads = [_Calling(publish), _Calling(publish), _Calling(flush), _Calling(flush)]
        time.sleep(0.5)
        engine.close()
        for thread in threads:
            thread.ends_closed()

    def test_a_flush_to_unresponsive_nodes_tells_what_became_of_the_events(
        self, cluster: EmbeddedCluster, make: Callable[..., Any]
    ) -> None:
        engine = make(cluster.url, socket_timeout=LONG * 5)
        flusher = _new_flusher(_broker(engine))
        for number in range(300):
            flusher.publish("orders", number, key=number)
        flusher.flush()
        for number in range(300):
            flusher.publish("orders", number, key=number)
        with unresponsive(*cluster.nodes):
            flushing = _Calling(flusher.flush)
            time.sleep(0.5)
            engine.close()
            outcome = flushing.end()
        assert isinstance(outcome, FlushError), repr(outcome)
        assert sum(map(len, outcome.unconfirmed)) == len(flusher) == 300 - len(outcome.confirmed)
        assert "the engine is closed" in str(outcome)
