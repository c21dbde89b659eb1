"""Moving slots between the nodes of a cluster by hand, as an operator does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded_cluster import EmbeddedCluster

__all__ = ["move_slot", "moving_slot", "primaries"]


@contextmanager
def moving_slot(cluster: EmbeddedCluster, slot: int, target: EmbeddedServer) -> Iterator[None]:
    """Move a slot to a node; in the block its keys have moved, and it has not: the old node answers ASK for them."""
    source = cluster.owner(slot)
    if source is target:
        yield
        return
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
    _migrate(source, target, slot)
    yield
    _migrate(source, target, slot)
    for node in (target, source):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))


def _migrate(source: EmbeddedServer, target: EmbeddedServer, slot: int) -> None:
    end = time.monotonic() + 30.0
    while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
        for key in keys:
            try:
                source.command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
            except RedisError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def move_slot(cluster: EmbeddedCluster, slot: int, target: EmbeddedServer) -> None:
    """Move a slot to a node, at once."""
    with moving_slot(cluster, slot, target):
        pass


def primaries(cluster: EmbeddedCluster) -> list[EmbeddedServer]:
    """The running nodes that are primaries."""
    found = []
    for node in cluster.running:
        with suppress(RedisError), node.client() as client:
            if client.info("replication")["role"] == "master":
                found.append(node)
    return found
