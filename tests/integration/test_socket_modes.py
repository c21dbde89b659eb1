"""Large bodies over connections that take little at once, after whatever was done over the same connections before."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
import redis

import fluxa_fast
from fluxa_fast.embedded.cluster import EmbeddedCluster
from tests.awaited import Faces
from tests.fix_broker import MakeEngine
from tests.fix_cluster import ON_CLUSTERS, MakeClusterEngine

if sys.platform == "win32":
    pytest.skip("faults of POSIX processes", allow_module_level=True)

LARGE = "x" * 1_000_000
"""More than the kernel takes at once, with a send buffer of the least size."""


def _small_buffers(connection: Any) -> Any:
    """What redis-py calls when it has connected."""
    sock = connection._sock if hasattr(connection, "_sock") else connection._writer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return connection.on_connect()


def _flush_to_all(broker: Any, large: int) -> int:
    """To one partition many events, to the others few: so the nodes are done one after the other, not all at once."""
    with broker.new_flusher() as flusher:
        for number in range(15_000):
            flusher.publish("orders", number, key=large if number % 100 else number // 100)
        return len(flusher)


KEYS = range(12)  # of all partitions, for sure


class TestOnAClusterAfterAFlushToSeveralNodes:
    pytestmark = ON_CLUSTERS

    @pytest.fixture
    def broker(self, faces: Any, cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine) -> Any:
        options = {} if isinstance(faces, Faces) else {"redis_connect_func": _small_buffers}
        broker = make_cluster_engine(cluster.url, **options).new_context().get_event_broker()
        return broker

    def test_large_bodies_are_published_to_each_node(self, broker: Any) -> None:
        for large in KEYS[:4]:
            _flush_to_all(broker, large)
            for key in KEYS:
                assert broker.publish("orders", LARGE[:200_000], key=key)

    def test_statistics_and_acknowledgements_come(self, broker: Any) -> None:
        count = _flush_to_all(broker, 1)
        (statistics,) = broker.get_streams_statistics("orders")
        assert statistics.len == count
        for key in KEYS:
            broker.publish("orders", LARGE, key=key)
        handled = []
        consumer = broker.consumer_many("orders")
        for batch in consumer.batches(10_000, None):
            _flush_to_all(broker, 2) if not handled else None
            for event in list(batch)[-3:]:
                event.ack()
            handled += batch
        assert len(handled) == 2 * count + len(KEYS)
        assert consumer.cleanup() == 0


class TestOnOneServer:
    @pytest.mark.blocking
    def test_a_pool_that_is_shared_has_its_connections_as_they_were(
        self, make_engine: MakeEngine, server_url: str, client: redis.Redis
    ) -> None:
        """The least that redis-py itself needs of a connection that it gets back: it blocks, for its own time-out."""
        theirs = redis.Redis.from_url(server_url, redis_connect_func=_small_buffers, socket_timeout=77.0)
        engine = make_engine(client=theirs)
        broker = engine.new_context().get_event_broker()
        flusher = broker.new_flusher(eager=True)
        for number in range(20_000):
            flusher.publish("orders", number)
        flusher.flush()
        broker.publish("orders", LARGE)
        consumer = broker.consumer_many("orders")
        consumer.consume(10, None, lambda _: None)
        consumer.cleanup()
        engine.close()
        kept = theirs.connection_pool._available_connections
        assert kept
        assert {one._sock.gettimeout() for one in kept if one._sock is not None} == {77.0}
        piped = fluxa_fast.pipeline(theirs)
        piped.xadd("orders", {"large": LARGE})
        piped.set("large", LARGE)
        assert len(piped.execute()) == 2
        theirs.close()
