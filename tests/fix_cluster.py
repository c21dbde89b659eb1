"""Real clusters on the loopback interface, of each server there is. One worker of the run has them, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from fluxa_fast import Engine
from fluxa_fast.embedded.cluster import EmbeddedCluster
from tests.fix_servers import PROGRAMS
from tests.slots import put_back

PARTITIONS = 6

ON_CLUSTERS = [
    pytest.mark.xdist_group("cluster"),
    pytest.mark.skipif("FLUXA_FAST_TEST_URL" in os.environ, reason="one server was given, and no cluster"),
]

MakeClusterEngine = Callable[..., Engine]


@pytest.fixture(scope="session", params=sorted(PROGRAMS))
def shared_cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """Three primaries, which the whole run shares."""
    with EmbeddedCluster(3, 0, PROGRAMS[request.param], node_timeout=1.0) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: EmbeddedCluster) -> EmbeddedCluster:
    """Three primaries, which are empty."""
    for node in shared_cluster.nodes:
        with node.client() as client:
            client.flushall()
            client.script_flush()
    put_back(shared_cluster)
    return shared_cluster


@pytest.fixture
def make_cluster_engine(faces: Any) -> Iterator[MakeClusterEngine]:
    """Makes engines of one cluster, with the streams `orders` (partitions) and `users` (one key)."""
    engines = []

    def make(
        *address: object, partitions: int | None = PARTITIONS, groups: Sequence[str] | None = None, **options: object
    ) -> Engine:
        registry = faces.Registry()
        registry.register_redis(*address, **options)
        registry.register_redis_stream("orders", partitions=partitions, groups=groups)
        registry.register_redis_stream("users")
        engine: Engine = registry.validate()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()
