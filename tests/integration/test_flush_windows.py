"""Flushes that are larger than every buffer on the way, over every kind of socket, eager or not.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest
import redis

from fluxa_fast import Engine, EventBroker, FlushError, FluxaError, SerializationError, UnregisteredStreamError
from fluxa_fast.benchmark.usage import peak_memory
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from fluxa_fast.protocol.commands import entry_head
from fluxa_fast.protocol.interface import Confirmations
from fluxa_fast.transport.blocking.pipeline_sender import PipelineSender
from tests.fix_broker import MakeEngine
from tests.fix_servers import PROGRAMS, Certificates, tls_settings
from tests.proxy import Proxy
from tests.threads import needs_gil

EAGER = pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])


@pytest.fixture(params=["tcp", "unix", "tls"])
def engine(request: pytest.FixtureRequest, make_engine: MakeEngine, certificates: Certificates) -> Iterator[Engine]:
    program = PROGRAMS.get("redis") or PROGRAMS["valkey"]
    if request.param == "tls":
        if "redis" not in PROGRAMS:
            pytest.skip("needs a server with TLS")
        with EmbeddedServer(program, config=tls_settings(certificates)) as server:
            url = f"rediss://localhost:{server.config['tls-port']}"
            yield make_engine(url, ssl_ca_certs=certificates.authority)
    else:
        with EmbeddedServer(program, unix_socket=request.param == "unix") as server:
            yield make_engine(server.url)


@EAGER
def test_bodies_of_a_mebibyte(engine: Engine, eager: bool) -> None:
    broker = engine.new_context().get_event_broker()
    flusher = broker.new_flusher(eager=eager)
    for number in range(20):
        flusher.publish("orders", bytes([number]) * (1 << 20))
    assert len(flusher.flush()) == 20
    bodies = [event.body for events in broker.consumer_single("orders").batches(7, None) for event in events]
    assert bodies == [bytes([number]) * (1 << 20) for number in range(20)]


@EAGER
def test_replies_larger_than_the_socket_buffers(engine: Engine, eager: bool) -> None:
    broker = engine.new_context().get_event_broker()
    flusher = broker.new_flusher(eager=eager)
    for _ in range(200):
        flusher.publish_many("orders", [1] * 1000)
    result = flusher.flush()
    assert len(result) == len(set(result.ids)) == 200_000
    assert broker.get_stream_statistics("orders").len == 200_000


@needs_gil  # what the IDs take is measured
@pytest.mark.slow
@EAGER
def test_half_a_million_events_in_one_flush(broker: EventBroker, client: redis.Redis, eager: bool) -> None:
    flusher = broker.new_flusher(eager=eager)
    flusher.publish_many("orders", (number % 100 for number in range(500_000)))
    wire = flusher.size
    before = peak_memory()
    result = flusher.flush()
    assert len(result) == 500_000 == client.xlen("orders")
    assert peak_memory() - before < wire  # the IDs are kept, and nothing else
    client.flushall()


def test_eager_sends_before_flush_and_plain_does_not(broker: EventBroker, client: redis.Redis) -> None:
    plain, eager = broker.new_flusher(), broker.new_flusher(eager=True)
    eager.publish("users", "so that there is a connection")
    eager.flush()
    client.delete("users")
    for number in range(2000):
        plain.publish("users", number)
        eager.publish("orders", number)
    end = time.monotonic() + 10
    while not client.xlen("orders"):
        assert time.monotonic() < end
    assert client.xlen("users") == 0
    assert len(eager) == 2000
    assert len(eager.flush()) == 2000 == client.xlen("orders")
    assert len(plain.flush()) == 2000 == client.xlen("users")
    assert [event.body for events in broker.consumer_single("orders").batches(500, None) for event in events] == list(
        range(2000)
    )


def test_eager_does_not_wait_for_a_server_that_does_not_read(
    make_engine: MakeEngine, own_server: EmbeddedServer
) -> None:
    """publish never blocks: what the socket does not take is kept for flush."""
    broker = make_engine(own_server.url).new_context().get_event_broker()
    flusher = broker.new_flusher(eager=True)
    with own_server.client() as client:
        client.client_pause(500)
        for _ in range(100):
            flusher.publish("orders", b"x" * 100_000)
        assert len(flusher) == 100
        assert len(flusher.flush()) == 100


@pytest.mark.parametrize("direction", ["up", "down"])
def test_promise_3_eager_and_the_connection_is_cut(
    make_engine: MakeEngine, proxy: Proxy, own_server: EmbeddedServer, direction: str
) -> None:
    broker = make_engine(f"127.0.0.1:{proxy.port}").new_context().get_event_broker()
    flusher = broker.new_flusher(eager=True)
    for at in (1000, 5000, 20_000, 60_000, 150_000):
        with own_server.client() as client:
            client.flushall()
        setattr(proxy, f"cut_{direction}", at)
        for number in range(3000):
            flusher.publish("orders", number)
        confirmed: list[str] = []
        for _ in range(20):
            try:
                confirmed += flusher.flush().ids
                break
            except FlushError as error:
                confirmed += error.confirmed.ids
                assert len(flusher) == 3000 - len(confirmed)
                assert sum(map(len, error.unconfirmed)) == len(flusher)
                setattr(proxy, f"cut_{direction}", None)
        assert len(confirmed) == len(set(confirmed)) == 3000
        direct = make_engine(own_server.url).new_context().get_event_broker()
        bodies = [event.body for events in direct.consumer_single("orders").batches(1000, None) for event in events]
        assert set(bodies) == set(range(3000))


def test_an_eager_flusher_of_a_closed_engine_keeps_the_events(make_engine: MakeEngine, server_url: str) -> None:
    engine = make_engine(server_url)
    flusher = engine.new_context().get_event_broker().new_flusher(eager=True)
    engine.close()
    for number in range(2000):
        flusher.publish("orders", number)
    with pytest.raises(FluxaError, match="closed"):
        flusher.flush()
    assert flusher.clear() == 2000


@pytest.mark.blocking
def test_promise_3_an_eager_flusher_that_is_interrupted_sends_nothing_twice(
    broker: EventBroker, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    flusher = broker.new_flusher(eager=True)
    take = PipelineSender._take_what_arrived

    def interrupted(sender: PipelineSender, replies: Confirmations) -> None:
        if replies.received > 100:
            raise KeyboardInterrupt
        take(sender, replies)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PipelineSender, "_take_what_arrived", interrupted)
        while True:
            flusher.publish("orders", len(flusher))
    count = len(flusher)
    confirmed: list[str] = []
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    confirmed += caught.value.confirmed.ids
    assert len(confirmed) > 100
    assert len(flusher) == count - len(confirmed)
    confirmed += flusher.flush().ids
    assert len(set(confirmed)) == count
    assert {id.decode() for id, _ in client.xrange("orders")} >= set(confirmed)


def test_eager_with_refused_events(broker: EventBroker, client: redis.Redis) -> None:
    client.set("users", "not a stream")
    flusher = broker.new_flusher(eager=True)
    for number in range(3000):
        flusher.publish("users" if number % 1000 == 7 else "orders", number)
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    assert [event.position for event in caught.value.refused] == [7, 1007, 2007]
    assert len(caught.value.confirmed) == 2997
    assert len(flusher) == 3
    assert flusher.discard_refused() == 3
    assert len(flusher.flush()) == 0


def test_an_eager_flusher_that_is_cleared_or_dropped_gives_its_connection_back(
    make_engine: MakeEngine, server_url: str, client: redis.Redis
) -> None:
    broker = make_engine(server_url, max_connections=1).new_context().get_event_broker()
    for _ in range(3):
        flusher = broker.new_flusher(eager=True)
        flusher.publish_many("orders", range(3000))
        flusher.publish_many("orders", range(3000))
        assert flusher.clear() == 6000
        flusher.publish_many("orders", range(3000))
        with pytest.warns(ResourceWarning, match="3000 events"):
            del flusher
        gc.collect()  # redis-py 5.0 leaves a cycle behind when it connects to a Redis before 7.2
    assert broker.publish("orders", 1)


# ---- publish_many -------------------------------------------------------------------------------------


def test_publish_many(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    assert flusher.publish_many("orders", ({"n": number} for number in range(100)), {"kind": "test"}) == 100
    flusher.publish("users", 1)
    assert flusher.publish_many("orders", []) == 0
    assert flusher.publish_many("users", [None, None], {"only": "tags"}) == 2
    assert len(flusher) == 103
    assert len(flusher.flush().ids) == 103
    events = [event for events in broker.consumer_single("orders").batches(100, None) for event in events]
    assert [event.body["n"] for event in events] == list(range(100))
    assert {event.tag("kind") for event in events} == {"test"}
    assert client.xlen("users") == 3


def test_promise_2_publish_many_is_all_or_nothing(broker: EventBroker) -> None:
    flusher = broker.new_flusher()
    flusher.publish("orders", 1)
    before = bytes(flusher._buffer.targets[0].buffer)

    def failing() -> Iterator[object]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(SerializationError, match=r"orders: bodies\[2\]\['x'\]\[0\]: object"):
        flusher.publish_many("orders", [1, 2, {"x": [object()]}, 4])
    with pytest.raises(SerializationError, match=r"bodies\[1\]"):
        flusher.publish_many("orders", [1, None])
    with pytest.raises(SerializationError, match="tags"):
        flusher.publish_many("orders", [1, 2], {"s": "x"})
    with pytest.raises(LookupError):
        flusher.publish_many("orders", failing())
    with pytest.raises(UnregisteredStreamError):
        flusher.publish_many("unknown", [1])
    with pytest.raises(TypeError):
        flusher.publish_many("orders", 5)  # type: ignore[arg-type]
    assert bytes(flusher._buffer.targets[0].buffer) == before
    assert len(flusher) == 1
    assert len(flusher.flush()) == 1


@pytest.mark.blocking
@pytest.mark.parametrize("use", ["publish", "publish_many", "flush", "clear"])
def test_bodies_that_use_the_flusher_are_refused(broker: EventBroker, client: redis.Redis, use: str) -> None:
    flusher = broker.new_flusher()
    calls = {
        "publish": lambda: flusher.publish("orders", 1),
        "publish_many": lambda: flusher.publish_many("orders", [1]),
        "flush": flusher.flush,
        "clear": flusher.clear,
    }

    def bodies() -> Iterator[int]:
        yield 1
        calls[use]()
        yield 2

    flusher.publish("orders", 0)
    with pytest.raises(SerializationError, match="is being written to"):
        flusher.publish_many("orders", bodies())
    assert len(flusher) == 1
    assert len(flusher.flush()) == 1 == client.xlen("orders")


def test_writers_of_both_implementations_agree(implementation: Implementation) -> None:
    full: list[int] = []
    buffer = implementation.CommandBuffer()
    buffer.full_at = 200
    writer = implementation.EventWriter({"s": [entry_head("s")]}, lambda stream, partition: (0, 0, buffer), full.append)
    while not full:
        assert len(buffer) < 200
        writer.publish("s", 1)
    assert full == [0]
    before = buffer.command_count
    buffer.full_at = len(buffer) + 100
    assert writer.publish_many("s", range(1)) == 1
    assert full == [0]
    assert writer.publish_many("s", range(5)) == 5
    assert full == [0, 0]
    assert list(writer.order) == [(0, before + 6)]
