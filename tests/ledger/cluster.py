"""The ledger on a cluster: faults of nodes, and slots that move, while producers and consumers go on."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from fluxa_fast.partitions import key_slot, partition_streams
from tests.ledger.faults import STREAM, Fault, State, state_of
from tests.ledger.run import Plan, Result, run
from tests.slots import move_slot, moving_slot, primaries
from tests.unresponsive_server import unresponsive

__all__ = ["CLUSTER_FAULTS", "ClusterSite", "with_cluster"]


class ClusterSite:
    """The nodes of a cluster, and the partitions of the stream."""

    def __init__(self, cluster: EmbeddedCluster, partitions: int) -> None:
        self.cluster = cluster
        self.keys = partition_streams(STREAM, partitions)

    def state(self) -> State:
        """What there is in all partitions."""
        left = pending = added = 0
        for key in self.keys:
            state = self._of(key)
            left += state.left
            pending += state.pending
            added += state.added or 0
        return State(left, pending, added)

    def _of(self, key: str) -> State:
        end = time.monotonic() + 30.0
        while True:
            try:
                with self.cluster.owner(key_slot(key)).client() as client:
                    return state_of(client, key)
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)


# ---- faults ---------------------------------------------------------------------------------------------


@contextmanager
def _slot_moved(site: ClusterSite) -> Iterator[None]:
    """By hand; while it lasts, the old node answers ASK."""
    slot = key_slot(random.choice(site.keys))
    source = site.cluster.owner(slot)
    target = random.choice([node for node in primaries(site.cluster) if node is not source])
    with moving_slot(site.cluster, slot, target):
        yield


@contextmanager
def _resharded(site: ClusterSite) -> Iterator[None]:
    """``redis-cli --cluster reshard``: a few thousand slots go to another node."""
    cli = shutil.which("redis-cli") or shutil.which("valkey-cli")
    target = random.choice(primaries(site.cluster))
    source = random.choice([node for node in primaries(site.cluster) if node is not target])
    if cli is not None:
        subprocess.run(
            [
                cli,
                *("--cluster", "reshard", f"127.0.0.1:{target.port}", "--cluster-yes", "--cluster-slots", "1500"),
                *("--cluster-from", site.cluster.id_of(source), "--cluster-to", site.cluster.id_of(target)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=False,  # the source may have fewer slots than that
        )
    yield


@contextmanager
def _node_added(site: ClusterSite) -> Iterator[None]:
    """It gets a slot of ours at once. Afterwards it stays."""
    if len(site.cluster.nodes) < 8:
        node = site.cluster.add_node()
        site.cluster.add_node(replica_of=node)
        move_slot(site.cluster, key_slot(random.choice(site.keys)), node)
    yield


@contextmanager
def _primary_killed(site: ClusterSite) -> Iterator[None]:
    """Its replica is promoted; it comes back as a replica of that one."""
    victim = site.cluster.owner(key_slot(random.choice(site.keys)))
    if not _has_replica(victim):
        yield
        return
    slot = next(slot for slot in map(key_slot, site.keys) if site.cluster.owner(slot) is victim)
    victim.kill()
    yield
    site.cluster.wait_until(lambda: _has_owner(site.cluster, slot), "no node took over")
    victim.start()
    site.cluster.wait_until_ready()


def _has_replica(node: EmbeddedServer) -> bool:
    with node.client() as client:
        replication: Any = client.info("replication")
    return any(isinstance(value, dict) and value.get("state") == "online" for value in replication.values())


def _has_owner(cluster: EmbeddedCluster, slot: int) -> bool:
    try:
        cluster.owner(slot)
    except Exception:
        return False
    return True


@contextmanager
def _cluster_down(site: ClusterSite) -> Iterator[None]:
    """Most of the primaries do not respond, so no replica can be elected: CLUSTERDOWN."""
    nodes = primaries(site.cluster)
    with unresponsive(*nodes[: len(nodes) // 2 + 1]):
        time.sleep(2.5)
        yield
    site.cluster.wait_until_ready()


CLUSTER_FAULTS = {
    "slot moved": Fault(_slot_moved),
    "resharded": Fault(_resharded),
    "node added": Fault(_node_added),
    "primary killed": Fault(_primary_killed, keeps_data=False),
    "cluster down": Fault(_cluster_down),
}


def with_cluster(plan: Plan, program: str, folder: Path) -> Result:
    """The plan on three primaries, each with a replica that must have an event before it counts as confirmed."""
    plan.partitions = plan.partitions or 12
    plan.replicas = 1
    plan.forgets = True  # acknowledgements are not waited for: a new primary may not have them
    settings = {
        "cluster-allow-replica-migration": "no"
    }  # or a node that has lost its slots would take its replica along
    with EmbeddedCluster(3, 1, program, node_timeout=1.0, config=settings) as cluster:
        pool = {"address": cluster.url, "socket_timeout": 1.5}
        return run(plan, ClusterSite(cluster, plan.partitions), pool, folder)
