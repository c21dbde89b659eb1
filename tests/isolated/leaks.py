"""``python -m tests.isolated.leaks SCENARIO ROUNDS [URL]``: prints by how many bytes the process grew in so many rounds.

On a debug build of Python also: by how many references.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from redis.exceptions import RedisError

import fluxa_fast
from fluxa_fast import FlushError, ProtocolError, Registry, SerializationError
from fluxa_fast.protocol import default as implementation
from fluxa_fast.protocol.commands import entry_head

Round = Callable[[], object]

HEAD = entry_head("orders")
BODY = {"UserID": 1, "Items": [{"name": "größe", "price": 1.5}] * 3, "note": "x" * 40}
PACKED = fluxa_fast.pack(BODY)
ENTRY = b"*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\ns\r\n$%d\r\n%b\r\n$1\r\na\r\n$1\r\nb\r\n" % (len(PACKED), PACKED)
BATCH = b"*1\r\n*2\r\n$6\r\norders\r\n*3\r\n" + ENTRY * 3


class OddError(Exception):
    """Raised by hooks and handlers."""


def _raise(*_: object) -> Any:
    raise OddError


@dataclasses.dataclass
class Order:
    user: int
    items: list[str]


# ---- without a server -----------------------------------------------------------------------------------


def published() -> Round:
    commands = implementation.CommandBuffer()

    def once() -> None:
        commands.entry(HEAD, BODY, {"action": "created"})
        commands.clear()

    return once


def refused_body() -> Round:
    commands = implementation.CommandBuffer()
    body = {"items": [1, {"price": object()}]}

    def once() -> None:
        with suppress(SerializationError):
            commands.entry(HEAD, body, None)

    return once


def refused_tag() -> Round:
    commands = implementation.CommandBuffer()

    def once() -> None:
        with suppress(SerializationError):
            commands.entry(HEAD, BODY, {"action": 5})  # type: ignore[dict-item]

    return once


def default_hook() -> Round:
    commands = implementation.CommandBuffer(lambda value: [str(type(value))])

    def once() -> None:
        commands.entry(HEAD, {"odd": object()}, None)
        commands.clear()

    return once


def default_hook_raises() -> Round:
    commands = implementation.CommandBuffer(_raise)

    def once() -> None:
        with suppress(OddError, SerializationError):
            commands.entry(HEAD, {"odd": [object()]}, None)

    return once


def bodies_raise() -> Round:
    flusher = _broker("127.0.0.1:1").new_flusher()

    def bodies() -> Any:
        yield BODY
        raise OddError

    def once() -> None:
        with suppress(OddError):
            flusher.publish_many("orders", bodies())

    return once


def read() -> Round:
    replies = implementation.ReplyReader()

    def once() -> None:
        replies.feed(BATCH)
        batch: Any = replies.read_streams(_raise)
        for event in batch.events:
            assert all((event.body, event.tags, event.timestamp))

    return once


def body_of_no_msgpack() -> Round:
    replies = implementation.ReplyReader()
    text = BATCH.replace(PACKED, b"\xc1" * len(PACKED))

    def once() -> None:
        replies.feed(text)
        batch: Any = replies.read_streams()
        with suppress(SerializationError):
            assert batch.events[0].body

    return once


def _refused_reply(text: bytes) -> Round:
    replies = implementation.ReplyReader()

    def once() -> None:
        replies.feed(text)
        with suppress(ProtocolError):
            replies.read_streams()
        replies.reset()

    return once


def no_resp() -> Round:
    return _refused_reply(BATCH[:-5] + b"\xff" * 20)


def another_reply() -> Round:
    return _refused_reply(b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\ns\r\n:5\r\n")


def confirmed_and_refused() -> Round:
    replies = implementation.ReplyReader()

    def once() -> None:
        told = implementation.Confirmations(3)
        replies.feed(b"$3\r\n1-1\r\n-OOM full\r\n$3\r\n1-2\r\n")
        assert told.take(replies)
        assert all((told.ids(), told.errors))

    return once


def typed() -> Round:
    commands = implementation.CommandBuffer()
    replies = implementation.ReplyReader()
    order = Order(1, ["a", "b"])
    texts = [
        BATCH.replace(b"$%d\r\n%b" % (len(PACKED), PACKED), b"$%d\r\n%b" % (len(body), body))
        for body in (fluxa_fast.pack(order), fluxa_fast.pack({"user": "no number", "items": []}))
    ]

    def once() -> None:
        commands.entry(HEAD, order, None)
        commands.clear()
        for text in texts:
            replies.feed(text)
            batch: Any = replies.read_streams()
            with suppress(SerializationError):
                batch.events[0].unserialize(Order)

    return once


# ---- with one -------------------------------------------------------------------------------------------


def _broker(url: str, **options: Any) -> Any:
    registry = Registry()
    registry.register_redis(url, **options)
    for stream in ("orders", "users"):
        registry.register_redis_stream(stream)
    return registry.validate().new_context().get_event_broker()


def handler_raises(url: str) -> Round:
    broker = _broker(url)
    broker.publish("orders", BODY)
    consumer = broker.consumer_single("orders")

    def once() -> None:
        with suppress(OddError):
            consumer.consume(10, None, _raise)

    return once


def run_ends(url: str) -> Round:
    broker = _broker(url)
    consumer = broker.consumer_single("orders")

    def once() -> None:
        broker.publish("orders", BODY)
        with suppress(OddError):
            consumer.run(_raise, 10)
        consumer.consume(10, None, lambda events: None)

    return once


def loop_left(url: str) -> Round:
    broker = _broker(url)
    broker.publish("orders", BODY)
    consumer = broker.consumer_single("orders")

    def once() -> None:
        for _ in consumer.batches(10, None):
            break

    return once


def flush_refused(url: str) -> Round:
    with redis.Redis.from_url(url) as client:
        client.set("users", "no stream")
    flusher = _broker(url).new_flusher()

    def once() -> None:
        flusher.publish("users", BODY, {"action": "created"})
        with suppress(FlushError):
            flusher.flush()
        flusher.discard_refused()

    return once


def unreachable(url: str) -> Round:
    flusher = _broker("127.0.0.1:1").new_flusher()

    def once() -> None:
        flusher.publish("orders", BODY)
        with suppress(FlushError):
            flusher.flush()
        flusher.clear()

    return once


def consumers_come_and_go(url: str) -> Round:
    broker = _broker(url)

    def once() -> None:
        broker.publish("orders", BODY)
        with suppress(RedisError), broker.consumer_many("orders") as consumer:
            consumer.consume(10, None, lambda events: None)

    return once


ALONE: dict[str, Callable[[], Round]] = {
    scenario.__name__: scenario
    for scenario in (
        published, refused_body, refused_tag, default_hook, default_hook_raises, bodies_raise, read, body_of_no_msgpack,
        no_resp, another_reply, confirmed_and_refused, typed,
    )
}  # fmt: skip
WITH_SERVER: dict[str, Callable[[str], Round]] = {
    scenario.__name__: scenario
    for scenario in (handler_raises, run_ends, loop_left, flush_refused, unreachable, consumers_come_and_go)
}


def _resident() -> int:
    """Bytes."""
    gc.collect()
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, check=True)
    return int(told.stdout) * 1024


def _references() -> int:
    """All that there are; 0 if this Python does not count them."""
    count: int = getattr(sys, "gettotalrefcount", int)()
    return count


def repeat(once: Round, rounds: int) -> None:
    """Python collects cycles now and then. How many pile up before that differs from version to version."""
    for number in range(rounds):
        once()
        if number % (rounds // 50 + 1) == 0:
            gc.collect()


def main() -> None:
    name, rounds = sys.argv[1], int(sys.argv[2])
    gc.collect()
    gc.freeze()  # modules are not looked through in every collection
    once = ALONE[name]() if name in ALONE else WITH_SERVER[name](sys.argv[3])
    repeat(once, rounds // 5)  # until every cache and free list is full
    before = _resident(), _references()
    repeat(once, rounds)
    print(_resident() - before[0], _references() - before[1])


if __name__ == "__main__":
    main()
