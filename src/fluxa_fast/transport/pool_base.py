"""What the pools of both transports have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from redis.exceptions import AskError

from ..flows.replies import in_a_cluster
from ..protocol.interface import Implementation
from .failures import closed_error

__all__ = ["IDLE_LINKS", "WINDOW", "PoolBase"]

WINDOW = 128 * 1024  # bytes of commands that go out before their replies are waited for
IDLE_LINKS = 1  # connections that a pool keeps for itself between two uses

E = TypeVar("E", bound=Exception)
L = TypeVar("L")


class PoolBase(Generic[L]):
    """The connections to one Redis, and a few links over them that are ready to be used.

    Attributes:
        name: as it was registered.
        connections: redis-py's pool.
        abandoned: connections of links that were forgotten; to be given back when another link connects.
        lent: the connections that links have. Whichever of the link and `close` takes one out gives it back.
        closed: whether the engine was closed.
        generation: of the topology, which a single server does not have.
        in_cluster: whether it is a node of a cluster that was registered as one.
    """

    generation: int = 0
    in_cluster: bool = False

    def __init__(
        self,
        name: str,
        connections: Any,
        *,
        owned: bool,
        implementation: Implementation,
        default: Callable[[Any], Any] | None,
    ) -> None:
        self.name = name
        self.connections = connections
        self.implementation = implementation
        self.default = default
        self.abandoned: deque[Any] = deque()
        self.lent: dict[Any, Any] = {}
        self._owned = owned
        self._idle: list[L] = []
        self.closed: bool = False

    def buffer_of(self, key: str) -> str:
        """What shares a buffer with this key: everything."""
        return ""

    def place(self, key: str) -> str | None:
        """The name of the node that has the key: there is one node only."""
        return ""

    def redirected(self, error: AskError, asked: str) -> str:
        """A server that is in a cluster was registered without it.

        Raises:
            redis.AskError: what it said (or redis.MovedError), and what to do.
        """
        raise self.told(error)

    def told(self, error: E) -> E:
        """The server's error as the caller is told it: a redirection, which is not followed here, says what to do."""
        return error if self.in_cluster else in_a_cluster(error, self.name)

    def check_open(self) -> None:
        """Refuse what would begin now.

        Raises:
            FluxaError: if the engine is closed.
        """
        if self.closed:
            raise closed_error()
