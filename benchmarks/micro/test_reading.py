"""Parsing the reply to an XREADGROUP of a thousand entries, in one piece and in many, with and without the bodies."""

from __future__ import annotations

import hiredis
import msgpack
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fluxa_fast.protocol import Implementation


@pytest.mark.benchmark(group="parse a thousand entries")
@pytest.mark.parametrize("pieces", [1, 100])
def test_parse(benchmark: BenchmarkFixture, implementation: Implementation, reply: bytes, pieces: int) -> None:
    reader = implementation.ReplyReader()
    size = -(-len(reply) // pieces)
    cut = [reply[at : at + size] for at in range(0, len(reply), size)]

    def parse() -> int:
        for piece in cut:
            reader.feed(piece)
            batch = reader.read_streams()
        return len(batch.events)  # type: ignore[union-attr]

    assert benchmark(parse) == 1000


@pytest.mark.benchmark(group="parse a thousand entries")
def test_parse_peer(benchmark: BenchmarkFixture, reply: bytes) -> None:
    reader = hiredis.Reader()

    def parse() -> int:
        reader.feed(reply)
        return len(reader.gets()[0][1])

    assert benchmark(parse) == 1000


@pytest.mark.benchmark(group="parse a thousand entries and decode their bodies")
def test_parse_and_decode(benchmark: BenchmarkFixture, implementation: Implementation, reply: bytes) -> None:
    reader = implementation.ReplyReader()

    def parse() -> int:
        reader.feed(reply)
        return len([event.body for event in reader.read_streams().events])  # type: ignore[union-attr]

    assert benchmark(parse) == 1000


@pytest.mark.benchmark(group="parse a thousand entries and decode their bodies")
def test_parse_and_decode_peer(benchmark: BenchmarkFixture, reply: bytes) -> None:
    reader = hiredis.Reader()

    def parse() -> int:
        reader.feed(reply)
        return len([msgpack.unpackb(fields[1]) for _, fields in reader.gets()[0][1]])

    assert benchmark(parse) == 1000
