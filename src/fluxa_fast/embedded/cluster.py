"""`EmbeddedCluster`: a private Redis or Valkey cluster on the loopback interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType

from redis.exceptions import RedisError

from ..errors import FluxaError
from ..protocol.hashing import SLOTS
from .server import EmbeddedServer

__all__ = ["EmbeddedCluster"]

_READY_SECONDS = 30.0


class EmbeddedCluster:
    """Servers that form a cluster, without persistence. They never outlive the process that started them.

    Args:
        primaries: how many nodes share the slots.
        replicas: how many replicas each primary has.
        program: the server program; None: `find_server`.
        node_timeout: seconds after which the nodes take a silent node for failed.
        config: further settings of the servers.

    Raises:
        FluxaError: if there is no server program, or if the cluster does not come up.
    """

    def __init__(
        self,
        primaries: int = 3,
        replicas: int = 0,
        program: str | None = None,
        *,
        node_timeout: float = 2.0,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self._program = program
        self._config = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(round(node_timeout * 1000)),
            "cluster-config-file": "nodes.conf",
            **(config or {}),
        }
        self.nodes: list[EmbeddedServer] = []
        try:
            for _ in range(primaries * (1 + replicas)):
                self.start_node()
            self._assign(primaries)
            self._meet(self.nodes[1:])
            for index, node in enumerate(self.nodes[primaries:]):
                self._replicate(node, self.nodes[index % primaries])
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The cluster's URL for `Registry.register_redis`."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start_node(self) -> EmbeddedServer:
        """Start another server, which does not know the cluster yet."""
        node = EmbeddedServer(self._program, config=self._config)
        self.nodes.append(node)
        return node

    def add_node(self, replica_of: EmbeddedServer | None = None) -> EmbeddedServer:
        """Add a node without slots, or a replica, and wait until the others know it."""
        node = self.start_node()
        self._meet([node])
        if replica_of is not None:
            self._replicate(node, replica_of)
        self.wait_until_ready()
        return node

    def _port(self, node: EmbeddedServer) -> int:
        """Return the port by which other nodes reach a node."""
        return node.port

    def _assign(self, primaries: int) -> None:
        for index, node in enumerate(self.nodes[:primaries]):
            begin, end = (SLOTS * at // primaries for at in (index, index + 1))
            node.command("CLUSTER", "ADDSLOTS", *range(begin, end))
            node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)

    def _meet(self, nodes: list[EmbeddedServer]) -> None:
        """Introduce nodes to all other nodes. Gossip alone would take longer."""
        for node in nodes:
            for other in self.running:
                if other is not node:
                    node.command("CLUSTER", "MEET", "127.0.0.1", self._port(other))
        self.wait_until(
            lambda: all(len(self._known(node)) >= len(self.running) for node in self.running), "the nodes did not meet"
        )

    def _known(self, node: EmbeddedServer) -> list[str]:
        """Return the names of the nodes that a node knows and has talked to."""
        lines = _text(node, "NODES").splitlines()
        return [line.split()[0] for line in lines if "handshake" not in line]

    def id_of(self, node: EmbeddedServer) -> str:
        """Return the node's name in the cluster (``CLUSTER MYID``)."""
        return _text(node, "MYID")

    def _replicate(self, node: EmbeddedServer, primary: EmbeddedServer) -> None:
        node.command("CLUSTER", "REPLICATE", self.id_of(primary))

    def wait_until_ready(self) -> None:
        """Wait until all running nodes tell that the cluster is ready, and all replicas that they follow."""
        self.wait_until(lambda: all(map(_is_ready, self.running)), "the cluster did not come up")

    @property
    def running(self) -> list[EmbeddedServer]:
        """The nodes that run."""
        return [node for node in self.nodes if node.pid]

    def wait_until(self, done: Callable[[], bool], otherwise: str) -> None:
        """Wait until `done` returns True.

        Raises:
            FluxaError: after 30 seconds, with the message `otherwise`.
        """
        end = time.monotonic() + _READY_SECONDS
        while True:
            with suppress(RedisError):
                if done():
                    return
            if time.monotonic() > end:
                raise FluxaError(otherwise)
            time.sleep(0.05)

    def owner(self, slot: int) -> EmbeddedServer:
        """Return the running node that tells that it owns a slot."""
        for node in self.running:
            with suppress(RedisError):
                for line in _text(node, "NODES").splitlines():
                    _, _, flags, _, _, _, _, _, *ranges = line.split()
                    if "myself" in flags and "master" in flags and any(_covers(one, slot) for one in ranges):
                        return node
        raise FluxaError(f"no running node has slot {slot}")

    def close(self) -> None:
        """Stop all nodes, and remove their folders."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> EmbeddedCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _text(node: EmbeddedServer, about: str) -> str:
    """Return the reply of a node to ``CLUSTER <about>`` as text."""
    return bytes(node.command("CLUSTER", about)).decode()


def _covers(slots: str, slot: int) -> bool:
    """Whether ``17-42`` or ``17`` has the slot. A migrating slot (``[17->-...]``) is listed without brackets too."""
    if slots.startswith("["):
        return False
    begin, _, end = slots.partition("-")
    return int(begin) <= slot <= int(end or begin)


def _is_ready(node: EmbeddedServer) -> bool:
    with node.client(decode_responses=True) as client:
        replication = client.info("replication")
        if replication["role"] == "slave" and replication["master_link_status"] != "up":
            return False
    return "cluster_state:ok" in _text(node, "INFO")
