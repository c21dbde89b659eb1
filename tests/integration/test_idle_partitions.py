"""A flusher keeps state for the partitions that it has events for, however many a stream has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import fluxa_fast.asyncio
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.flows.publish.pipeline import BufferFlush
from fluxa_fast.partitions import partition_of, partition_streams
from fluxa_fast.protocol import Implementation
from fluxa_fast.shared.buffer_targets import BufferTarget
from fluxa_fast.shared.publish_buffer import PublishBuffer
from tests.fix_asyncio import Run
from tests.fix_servers import PROGRAMS

pytestmark = pytest.mark.xdist_group("idle partitions")  # so that there is one cluster

PARTITIONS = 4096
EAGER = pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(3, 0, PROGRAMS[sorted(PROGRAMS)[-1]], node_timeout=1.0) as cluster:
        yield cluster


@pytest.fixture(params=["server", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of an empty server or cluster."""
    if request.param == "cluster":
        cluster: EmbeddedCluster = request.getfixturevalue("own_cluster")
        for node in cluster.nodes:
            node.command("FLUSHALL")
        return cluster.url
    server: EmbeddedServer = request.getfixturevalue("own_server")
    server.command("FLUSHALL")
    return server.url


@pytest.fixture
def new_flusher(faces: Any, url: str) -> Iterator[Callable[..., Any]]:
    """Makes flushers with the streams `orders` (partitions) and `users` (one key)."""
    registry = faces.Registry()
    registry.register_redis(url)
    registry.register_redis_stream("orders", partitions=PARTITIONS)
    registry.register_redis_stream("users")
    engine = registry.validate()
    yield engine.new_context().get_event_broker().new_flusher
    engine.close()


def buffer_of(flusher: Any) -> PublishBuffer[Any]:
    buffer: PublishBuffer[Any] = getattr(flusher, "_target", flusher)._buffer
    return buffer


def keys_of_all_partitions() -> list[int]:
    """One partition key for each partition, by the number of the partition."""
    found: dict[int, int] = {}
    key = 0
    while len(found) < PARTITIONS:
        found.setdefault(partition_of(key, PARTITIONS), key)
        key += 1
    return [found[partition] for partition in range(PARTITIONS)]


@EAGER
def test_one_event_makes_state_for_its_own_partition(
    new_flusher: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, eager: bool
) -> None:
    made = []
    for kind in (BufferTarget, BufferFlush):
        monkeypatch.setattr(kind, "__init__", _noting(kind.__init__, made))
    flusher = new_flusher(eager=eager)
    assert made == []
    for round_ in range(3):
        flusher.publish("orders", round_, None, "k")
        assert len(flusher.flush()) == 1
    assert [type(one) for one in made] == [BufferTarget, BufferFlush, BufferFlush, BufferFlush]
    assert len(buffer_of(flusher)._spares) == 1
    assert flusher.clear() == 0


def _noting(init: Any, made: list[object]) -> Any:
    def noted(self: object, *arguments: Any, **options: Any) -> None:
        made.append(self)
        init(self, *arguments, **options)

    return noted


def test_a_flush_touches_only_the_targets_that_have_events(
    new_flusher: Callable[..., Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of_all_partitions()
    flusher = new_flusher()
    for key in keys:
        flusher.publish("orders", key, None, key)
    assert len(flusher.flush()) == PARTITIONS
    targets = list(buffer_of(flusher).targets)
    assert len(targets) == (PARTITIONS if url.startswith("redis+cluster") else 1)
    taken: list[BufferTarget[Any]] = []
    take = BufferTarget.take
    monkeypatch.setattr(BufferTarget, "take", lambda self, spare: (taken.append(self), take(self, spare))[1])
    for partition in (7, 7, 4000):
        flusher.publish("orders", 0, None, keys[partition])
        flusher.publish("users", 0)
        taken.clear()
        assert len(flusher.flush()) == 2
        assert len({target.key for target in taken} - {""}) == (2 if len(targets) > 1 else 0)
        assert len(taken) == (2 if len(targets) > 1 else 1)
    assert len(buffer_of(flusher)._spares) == len(taken)  # what others had was freed
    assert sorted(target.key for target in taken) in (
        [""],
        sorted([partition_streams("orders", PARTITIONS)[4000], "users"]),
    )


@EAGER
def test_a_flush_that_is_cancelled_while_it_frees_memory_sends_nothing_twice(
    implementation: Implementation,
    server_url: str,
    client: redis.Redis,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    eager: bool,
) -> None:
    monkeypatch.setattr("fluxa_fast.asyncio.flusher._GIVEN_BACK", 64 * 1024)
    registry = fluxa_fast.asyncio.Registry()
    for pool, stream in (("one", "orders"), ("two", "users")):
        registry.register_redis(server_url, pool=pool)
        registry.register_redis_stream(stream, pool)
    settle = PublishBuffer.settle

    def settle_and_cancel(self: PublishBuffer[Any], flushing: Any) -> Any:
        result = settle(self, flushing)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return result

    async def flushes() -> None:
        async with registry.validate() as engine:
            flusher = engine.new_context().get_event_broker().new_flusher(eager=eager)
            for _ in range(2):
                flusher.publish("orders", b"x" * 3_000_000)
                flusher.publish("users", b"x" * 3_000_000)
            with monkeypatch.context() as patch:
                patch.setattr(PublishBuffer, "settle", settle_and_cancel)
                flushing = asyncio.ensure_future(flusher.flush())
                with pytest.raises(asyncio.CancelledError):
                    await flushing
            assert len(flusher) == 0
            for _ in range(2):
                flusher.publish("orders", 1)
                flusher.publish("users", 1)
                assert len(await flusher.flush()) == 2

    run(flushes())
    assert client.xlen("orders") == client.xlen("users") == 4
