"""What the cluster pools and links of both transports have in common: all of it that waits for nothing.

The methods that wait stand twice, blocking and awaited. They are short, because all decisions are made here, in flows
and in the topology. A script that generates the blocking ones from the awaited ones would be longer than they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from redis.exceptions import AskError, ConnectionError, MovedError

from ..flows.topology import next_node
from ..redis_adapter.topology import TopologyBase
from .link_base import LinkBase
from .pool_base import PoolBase, ServerPoolBase

__all__ = ["ClusterPoolBase", "RoutedLinkBase"]

T = TypeVar("T", bound=TopologyBase)
N = TypeVar("N", bound=ServerPoolBase[Any])


class ClusterPoolBase(PoolBase, Generic[T, N]):
    """The nodes of a cluster, each with a pool of its own that is made when it is first needed.

    Args:
        new_pool: makes the pool of a node.

    Attributes:
        topology: which node has which slots.
    """

    def __init__(self, name: str, topology: T, new_pool: Callable[..., N], **options: Any) -> None:
        super().__init__(name, **options)
        self.topology: T = topology
        self._new_pool = new_pool
        self._nodes: dict[str, N] = {}
        self._slots: dict[str, int] = {}

    # ---- which node ----

    def buffer_of(self, key: str) -> str:
        """What shares a buffer with this Redis key: nothing, because a slot moves with its keys and no others."""
        return key

    def link_to_push(self) -> None:
        """A link on which a flush begins early: none, because a flush sends to all nodes at the same time."""
        return None

    def slot_of(self, key: str) -> int:
        """The slot of a Redis key."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = self.implementation.key_slot(key)
        return slot

    @property
    def generation(self) -> int:
        """The generation of the topology."""
        return self.topology.generation

    def place(self, key: str) -> str | None:
        """The name of the node that has the Redis key; None if that is not known."""
        slot = self._slots.get(key)
        return self.topology.owner(self.slot_of(key) if slot is None else slot)

    def _found(self, key: str) -> str:
        """The name of the node that has the Redis key, once the cluster was asked.

        Raises:
            redis.ConnectionError: if no node is known to have it.
        """
        place = self.place(key)
        if place is None:
            raise ConnectionError(f"no node of the cluster has the slot of {key!r}")
        return place

    def redirected(self, error: AskError, asked: str) -> str:
        """The name of the node that a redirection of the node `asked` names. If a slot has moved, that is noted."""
        target = self.topology.name_of(error, asked)
        if isinstance(error, MovedError):
            self.topology.moved(error.slot_id, target, asked)
        return target

    # ---- pools ----

    def _pool_of(self, name: str) -> N:
        """The pool of one node. The caller sees to it that no other thread makes it at the same time."""
        found = self._nodes.get(name)
        if found is None:
            found = self._new_pool(
                f"{self.name} ({name})",
                self.topology.connections(name),
                owned=True,
                implementation=self.implementation,
                codec=self.codec,
            )
            found.in_cluster = True
            self._nodes[name] = found  # other threads see it from here on
        return found


class RoutedLinkBase(LinkBase):
    """A link to the node that has a key. While the slot of the key is moving to another node, it asks that node."""

    def __init__(self, cluster: ClusterPoolBase[Any, Any], key: str, ask_at: str | None = None) -> None:
        super().__init__(cluster)  # until it connects: then `pool` is the node's
        self._cluster = cluster
        self._key = key
        self._node = ""
        self._ask_at = ask_at

    def _follow(self, error: Exception | None) -> bool:
        """Take note of a redirection. Returns whether the topology should be asked for anew."""
        self._ask_at = None
        if not isinstance(error, AskError) or not self._node:
            return False
        to = next_node(self._cluster, error, self._node)
        self._ask_at = to.ask_redirect
        return to.stale
