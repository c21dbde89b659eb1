"""Where keys are: what a flow knows of the nodes of a cluster, and what it does when a node redirects it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from redis.exceptions import AskError, MovedError

from ..protocol.body_codec import BodyCodec
from ..protocol.interface import Implementation

__all__ = ["ClusterMap", "NextNode", "NodeMap", "next_node"]


class NodeMap(Protocol):
    """What a flow must know of where keys are: on one server, or on the nodes of a cluster."""

    @property
    def generation(self) -> int:
        """Counts how often the cluster was asked which node has which slots."""

    def place(self, key: str) -> str | None:
        """The name of the node that has the key; None if no node is known to have it."""

    def redirected(self, error: AskError, asked: str) -> str:
        """The name of the node that a redirection of the node `asked` leads to. A slot that has moved is noted."""


class ClusterMap(NodeMap, Protocol):
    """What a flow must know of a cluster."""

    @property
    def name(self) -> str: ...
    @property
    def implementation(self) -> Implementation: ...
    @property
    def codec(self) -> BodyCodec: ...


class NextNode(NamedTuple):
    """Where a command goes after a node has answered it with an error.

    Attributes:
        name: the node that the error names; None: the one that has the slot, once the topology is known again.
        asking: the node has the key and not yet the slot, so that ASKING must precede the command there.
        stale: the topology is outdated: the cluster is to be asked for it again.
    """

    name: str | None
    asking: bool
    stale: bool

    @property
    def ask_redirect(self) -> str | None:
        """The node that must be told ASKING; None if `NodeMap.place` knows the node."""
        return self.name if self.asking else None


def next_node(nodes: NodeMap, error: Exception, asked: str) -> NextNode:
    """Where a command goes that the node `asked` has answered with that error.

    Raises:
        redis.AskError: the redirection, if `nodes` is a single server.
    """
    if not isinstance(error, AskError):
        return NextNode(None, asking=False, stale=True)
    name = nodes.redirected(error, asked)
    if isinstance(error, MovedError):
        return NextNode(name, asking=False, stale=True)
    return NextNode(name, asking=True, stale=False)
