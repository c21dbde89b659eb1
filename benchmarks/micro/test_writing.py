"""Writing commands: an event into a flusher's buffer, and the acknowledgement of a thousand."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from redis.connection import Connection

from fluxa_fast.protocol import Implementation
from fluxa_fast.protocol.commands import entry_head

_THOUSAND = range(1000)


@pytest.mark.benchmark(group="publish a thousand events into a buffer")
def test_publish(benchmark: BenchmarkFixture, implementation: Implementation, body: Any) -> None:
    buffer = implementation.CommandBuffer()
    publish = implementation.EventWriter(
        {"orders": [entry_head("orders")]}, lambda stream, partition: (0, 0, buffer)
    ).publish

    def thousand() -> None:
        for _ in _THOUSAND:
            publish("orders", body)
        buffer.clear()

    benchmark(thousand)


@pytest.mark.benchmark(group="publish a thousand events into a buffer")
def test_publish_peer(benchmark: BenchmarkFixture, body: Any) -> None:
    """What redis-py does for a pipeline of XADDs before it sends."""
    connection = Connection()
    pack = msgpack.packb

    def thousand() -> None:
        connection.pack_commands([("XADD", "orders", "*", "s", pack(body)) for _ in _THOUSAND])

    benchmark(thousand)


@pytest.mark.benchmark(group="acknowledge a thousand events")
def test_acknowledge(benchmark: BenchmarkFixture, implementation: Implementation, reply: bytes) -> None:
    reader = implementation.ReplyReader()
    reader.feed(reply)
    events = reader.read_streams().events  # type: ignore[union-attr]
    buffer = implementation.CommandBuffer()

    def acknowledge() -> None:
        buffer.with_ids(("EVALSHA", "0" * 40, 1, "orders", "consumer_group"), events)
        buffer.clear()

    benchmark(acknowledge)


@pytest.mark.benchmark(group="acknowledge a thousand events")
def test_acknowledge_peer(benchmark: BenchmarkFixture) -> None:
    connection = Connection()
    ids = [b"1709136000000-%03d" % number for number in _THOUSAND]
    benchmark(lambda: connection.pack_command("XACK", "orders", "consumer_group", *ids))
