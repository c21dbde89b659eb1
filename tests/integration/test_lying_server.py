"""Promise 7: replies that are RESP, and not what the command answers. A clear error, and a new connection after it.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fluxa_fast import Engine, EventBroker, FlushError, FluxaError, Recovery
from fluxa_fast.embedded import EmbeddedServer
from tests.proxy import Proxy

MakeEngine = Callable[..., Engine]
T = TypeVar("T")

REPLIES = [
    b":5\r\n", b":-1\r\n", b"+OK\r\n", b"*0\r\n", b"*-1\r\n", b"_\r\n", b"$3\r\nx-y\r\n", b"$1\r\n\xff\r\n", b"%1\r\n+a\r\n:1\r\n", b"*2\r\n+a\r\n+b\r\n",
    b"*1\r\n*1\r\n*1\r\n:1\r\n", b"*3\r\n:1\r\n*0\r\n$1\r\nx\r\n", b",1.5\r\n", b"#t\r\n", b"-ERR \r\n", b"-\r\n", b"*2\r\n:1\r\n:2\r\n",
]  # fmt: skip


def publish(broker: EventBroker) -> None:
    broker.publish("orders", 1)


def flush(broker: EventBroker) -> None:
    with broker.new_flusher() as flusher:
        flusher.publish("orders", 1)


def read(broker: EventBroker) -> None:
    broker.consumer_single("orders", recovery=Recovery(deadline=0)).consume(10, None, lambda events: None)


def claim(broker: EventBroker) -> None:
    broker.consumer_single("orders", recovery=Recovery(deadline=0)).auto_claim(10, 0, lambda events: None)


def leave(broker: EventBroker) -> None:
    broker.consumer_single("orders", recovery=Recovery(deadline=0)).cleanup()


def count(broker: EventBroker) -> None:
    broker.get_stream_statistics("orders")


def soon(call: Callable[[], T]) -> T:
    """What an honest server answers. A machine that is busy may be late for the short time-out, but not for ever."""
    for _ in range(10):
        try:
            return call()
        except (RedisTimeoutError, FlushError):
            pass
    return call()


@pytest.mark.parametrize("call", [publish, flush, read, claim, leave, count])
def test_a_reply_of_another_shape(
    make_engine: MakeEngine, own_server: EmbeddedServer, proxy: Proxy, call: Callable[[EventBroker], None]
) -> None:
    broker = (
        make_engine(f"redis://127.0.0.1:{proxy.port}?protocol=2", socket_timeout=0.4).new_context().get_event_broker()
    )
    for reply in REPLIES:
        for name in ("first", "second"):
            soon(lambda name=name: broker.publish("orders", name))  # type: ignore[misc]
        soon(lambda: call(broker))
        proxy.instead_down = reply
        try:
            call(broker)
        except (RedisError, FluxaError) as error:
            assert str(error)
        proxy.heal()
        soon(lambda: call(broker))
        assert soon(lambda: broker.publish("orders", "last")) in [id.decode() for id in _ids(own_server)], reply


def test_an_acknowledgement_of_another_shape(make_engine: MakeEngine, own_server: EmbeddedServer, proxy: Proxy) -> None:
    """Nothing counts as acknowledged that may not be."""
    broker = (
        make_engine(f"redis://127.0.0.1:{proxy.port}?protocol=2", socket_timeout=0.4).new_context().get_event_broker()
    )
    consumer = broker.consumer_single("orders", recovery=Recovery(deadline=0))
    for reply in REPLIES:
        flusher = broker.new_flusher()
        flusher.publish_many("orders", range(40))
        soon(flusher.flush)
        seen: list[int] = []

        def handle(events: Any, seen: list[int] = seen, reply: bytes = reply) -> None:
            seen.extend(event.body for event in events)
            proxy.instead_down = reply

        try:
            consumer.consume(30, None, handle)
        except (RedisError, FluxaError) as error:
            assert str(error)
        proxy.heal()
        while soon(
            lambda seen=seen: consumer.consume(  # type: ignore[misc]
                30, None, lambda events: seen.extend(event.body for event in events)
            )
        ):
            pass
        assert set(seen) == set(range(40)), reply
        assert not _ids(own_server), reply


def _ids(server: EmbeddedServer) -> list[bytes]:
    with server.client() as client:
        return [id for id, _ in client.xrange("orders")]
