"""What pools have in common, blocking or awaited: all of it that waits for nothing."""

from __future__ import annotations

from collections import deque
from typing import Any, Generic, TypeVar

from redis.exceptions import AskError

from ..protocol.body_codec import BodyCodec
from ..protocol.interface import Implementation
from ..redis_adapter.closing import closed_error
from ..redis_adapter.errors import in_a_cluster

__all__ = ["IDLE_LINKS", "WINDOW", "PoolBase", "ServerPoolBase"]

WINDOW = 128 * 1024  # bytes of commands that go out before their replies are waited for
IDLE_LINKS = 1  # connections that a pool keeps for itself between two uses

E = TypeVar("E", bound=Exception)
L = TypeVar("L")


class PoolBase:
    """What a registered Redis becomes.

    Attributes:
        name: the name that it was registered under.
        implementation: the implementation of the protocol.
        codec: the hooks of the registry about bodies.
        closed: whether the engine was closed.
    """

    def __init__(self, name: str, *, owned: bool, implementation: Implementation, codec: BodyCodec) -> None:
        self.name: str = name
        self.implementation: Implementation = implementation
        self.codec: BodyCodec = codec
        self.closed: bool = False
        self._owned = owned

    def check_open(self) -> None:
        """Refuse what would begin now.

        Raises:
            FluxaError: if the engine is closed.
        """
        if self.closed:
            raise closed_error()


class ServerPoolBase(PoolBase, Generic[L]):
    """The connections to one server, and a few links over them that are ready to be used.

    Attributes:
        connections: redis-py's pool.
        abandoned: connections of links that were forgotten. The next link that connects gives them back.
        lent: the connections that links have. Either the link or `close` takes a connection out, and gives it back.
        generation: the generation of the topology, which one server does not have.
        in_cluster: whether it is a node of a cluster that was registered as one.
    """

    generation: int = 0
    in_cluster: bool = False

    def __init__(self, name: str, connections: Any, **options: Any) -> None:
        super().__init__(name, **options)
        self.connections: Any = connections
        self.abandoned: deque[Any] = deque()
        self.lent: dict[Any, Any] = {}
        self._idle: list[L] = []

    def buffer_of(self, key: str) -> str:
        """What shares a buffer with this Redis key: everything."""
        return ""

    def place(self, key: str) -> str | None:
        """The name of the node that has the Redis key: there is one node only."""
        return ""

    def redirected(self, error: AskError, asked: str) -> str:
        """A server that is in a cluster was registered without it.

        Raises:
            redis.AskError: what it said (or redis.MovedError), and what to do.
        """
        raise self.told(error)

    def told(self, error: E) -> E:
        """The server's error as the caller is told it. The text of a redirection says what to do about it."""
        return error if self.in_cluster else in_a_cluster(error, self.name)
