"""What the pools of clusters have in common, for blocking use and for asyncio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from redis.exceptions import AskError, MovedError

from ..protocol.interface import Implementation
from .failures import closed_error

__all__ = ["ClusterPoolBase"]

T = TypeVar("T")
N = TypeVar("N")


class ClusterPoolBase(Generic[T, N]):
    """The nodes of a cluster, each with a pool of its own that is made when it is first needed.

    Attributes:
        name: as it was registered.
        topology: which node has which slots.
        closed: whether the engine was closed.
    """

    def __init__(
        self,
        name: str,
        topology: T,
        *,
        owned: bool,
        implementation: Implementation,
        default: Callable[[Any], Any] | None,
    ) -> None:
        self.name = name
        self.topology: T = topology
        self.implementation = implementation
        self.default = default
        self._owned = owned
        self._nodes: dict[str, N] = {}
        self._slots: dict[str, int] = {}
        self.closed: bool = False

    def buffer_of(self, key: str) -> str:
        """What shares a buffer with this key: nothing, because a slot moves with all of its keys and no others."""
        return key

    def slot_of(self, key: str) -> int:
        """The slot of a key."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = self.implementation.key_slot(key)
        return slot

    @property
    def generation(self) -> int:
        """Of the topology."""
        topology: Any = self.topology
        return int(topology.generation)

    def place(self, key: str) -> str | None:
        """The name of the node that has the key, as far as is known."""
        topology: Any = self.topology
        owner: str | None = topology.owner(self.slot_of(key))
        return owner

    def redirected(self, error: AskError, asked: str) -> str:
        """The name of the node that a redirection of the node `asked` names. If a slot has moved, that is noted."""
        topology: Any = self.topology
        target: str = topology.name_of(error, asked)
        if isinstance(error, MovedError):
            topology.moved(error.slot_id, target, asked)
        return target

    def check_open(self) -> None:
        """Refuse what would begin now.

        Raises:
            FluxaError: if the engine is closed.
        """
        if self.closed:
            raise closed_error()
