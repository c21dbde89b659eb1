"""The links of one consumer to the nodes of its partitions, for both transports: all of it that waits for nothing."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

__all__ = ["NodeLinksBase"]

L = TypeVar("L")
L_co = TypeVar("L_co", covariant=True)


class _Pool(Protocol[L_co]):
    """What makes links."""

    def check_open(self) -> None: ...
    def node_link(self, node: str, key: str) -> L_co: ...


P = TypeVar("P", bound=_Pool[Any])


class NodeLinksBase(Generic[P, L]):
    """The links of one consumer to the nodes of its partitions, kept from session to session.

    Attributes:
        pool: that the stream is on.
    """

    def __init__(self, pool: P) -> None:
        pool.check_open()
        self.pool: P = pool
        self._links: dict[tuple[str, str], L] = {}

    def to(self, node: tuple[str, str]) -> L:
        """Return the link to a node. It is kept, unless it is for one Redis key that the node has without its slot."""
        link = self._links.get(node)
        if link is None:
            made: L = self.pool.node_link(*node)
            link = made
            if not node[1]:
                self._links[node] = link
        return link

    @property
    def _only(self) -> L | None:
        """The link to the one server; None: there is none yet, or the partitions are on the nodes of a cluster."""
        return self._links.get(("", ""))
