"""Moving slots between the nodes of a cluster by hand, as an operator does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary

from redis.exceptions import RedisError

from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster

__all__ = ["move_slot", "moving_slot", "primaries", "put_back"]

_MOVED: WeakKeyDictionary[EmbeddedCluster, dict[int, EmbeddedServer]] = WeakKeyDictionary()  # where slots came from


@contextmanager
def moving_slot(
    cluster: EmbeddedCluster, slot: int, target: EmbeddedServer, first: Sequence[str] | None = None
) -> Iterator[None]:
    """Move a slot to a node; in the block its keys have moved, and it has not: the old node answers ASK for them.

    Args:
        first: only these keys have moved in the block.
    """
    source = cluster.owner(slot)
    if source is target:
        yield
        return
    _MOVED.setdefault(cluster, {}).setdefault(slot, source)
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
    if first is None:
        _migrate_all(source, target, slot)
    else:
        for key in first:
            _migrate(source, target, key)
    yield
    _migrate_all(source, target, slot)
    for node in (target, source):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))


def _migrate(source: EmbeddedServer, target: EmbeddedServer, key: str) -> None:
    """Move a key. A key that the target has already is an error, as it is for an operator's tools."""
    source.command("MIGRATE", "127.0.0.1", target.config.get("tls-port", target.port), key, 0, 5000)


def _migrate_all(source: EmbeddedServer, target: EmbeddedServer, slot: int) -> None:
    while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
        for key in keys:
            _migrate(source, target, key)


def move_slot(cluster: EmbeddedCluster, slot: int, target: EmbeddedServer) -> None:
    """Move a slot to a node, at once."""
    with moving_slot(cluster, slot, target):
        pass


def put_back(cluster: EmbeddedCluster) -> None:
    """Move every slot back to its first node. The nodes have no keys."""
    for slot, home in _MOVED.pop(cluster, {}).items():
        for node in cluster.nodes:
            node.command("CLUSTER", "SETSLOT", slot, "STABLE")  # a test that failed may have stopped half-way
        move_slot(cluster, slot, home)
    _MOVED.pop(cluster, None)


def primaries(cluster: EmbeddedCluster) -> list[EmbeddedServer]:
    """The running nodes that are primaries."""
    found = []
    for node in cluster.running:
        with suppress(RedisError), node.client() as client:
            if client.info("replication")["role"] == "master":
                found.append(node)
    return found
