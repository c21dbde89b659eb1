"""Packing and unpacking one body."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fluxa_fast.protocol import Implementation


@pytest.mark.benchmark(group="pack")
def test_pack(benchmark: BenchmarkFixture, implementation: Implementation, body: Any) -> None:
    packed = benchmark(implementation.pack, body)
    assert msgpack.unpackb(packed) == body


@pytest.mark.benchmark(group="pack")
@pytest.mark.parametrize("peer", ["msgpack", "msgspec"])
def test_pack_peers(benchmark: BenchmarkFixture, peer: str, body: Any) -> None:
    pack = msgpack.Packer().pack if peer == "msgpack" else msgspec.msgpack.Encoder().encode
    assert msgpack.unpackb(benchmark(pack, body)) == body


@pytest.mark.benchmark(group="unpack")
def test_unpack(benchmark: BenchmarkFixture, implementation: Implementation, body: Any) -> None:
    assert benchmark(implementation.unpack, msgpack.packb(body)) == body


@pytest.mark.benchmark(group="unpack")
@pytest.mark.parametrize("peer", ["msgpack", "msgspec"])
def test_unpack_peers(benchmark: BenchmarkFixture, peer: str, body: Any) -> None:
    unpack = msgpack.unpackb if peer == "msgpack" else msgspec.msgpack.Decoder().decode
    assert benchmark(unpack, msgpack.packb(body)) == body
