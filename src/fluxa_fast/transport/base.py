"""The interface of pools and links, which faces and drivers rely on. There are two of each: blocking, and awaited.

A pool is what a registered Redis becomes: one server, or a cluster. A link is one connection of it, with one owner.
`tests/typing/interfaces.py` has the type checker compare the classes with these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from redis.exceptions import AskError

from ..flows.publish.pipeline import BufferFlush, Replication
from ..flows.steps import Flow, Take
from ..protocol.body_codec import BodyCodec
from ..protocol.interface import CommandBuffer, Confirmations, EntryHead, Implementation, ReplyReader
from ..statistics import RedisStreamStatistics
from .pool_base import PoolBase

__all__ = ["AnyLink", "AnyPool", "AsyncLink", "AsyncPool", "BlockingLink", "BlockingPool"]

T = TypeVar("T")


class AnyPool(Protocol):
    """What waits for nothing, and so is the same for both kinds of pools.

    Attributes:
        name: the name that it was registered under.
        implementation: the implementation of the protocol.
        codec: the hooks of the registry about bodies.
        closed: whether the engine was closed.
    """

    name: str
    implementation: Implementation
    codec: BodyCodec
    closed: bool

    @property
    def generation(self) -> int:
        """Counts how often the cluster was asked for its topology. One server: 0."""

    def place(self, key: str) -> str | None:
        """The name of the node that has this Redis key; None if that is not known. One server: an empty name."""

    def redirected(self, error: AskError, asked: str) -> str:
        """The name of the node that a redirection of the node `asked` names. If a slot has moved, that is noted.

        Raises:
            redis.AskError: the redirection, if the pool is one server.
        """

    def buffer_of(self, key: str) -> str:
        """The name of the flush buffer that events for this Redis key share. One server: an empty name for all."""

    def check_open(self) -> None:
        """Refuse what would begin now.

        Raises:
            FluxaError: if the engine is closed.
        """


class BlockingPool(AnyPool, Protocol):
    """A pool for blocking use. Threads may share it."""

    def new_link(self, key: str) -> BlockingLink:
        """A link that one owner keeps, for commands about this Redis key."""

    def node_link(self, node: str, key: str) -> BlockingLink:
        """A link to a node.

        Args:
            node: the name of the node.
            key: the only Redis key of its commands, if the node has the key without its slot; empty: any key.
        """

    def link_to_push(self) -> BlockingLink | None:
        """A link on which a flush begins early; None: there is none that can send at once."""

    def run(self, flow: Flow[T], key: str) -> T:
        """The result of a flow about this Redis key, on a link of its own."""

    def refresh(self, seen: int) -> None:
        """Ask the cluster which node has which slots, unless that was done since generation `seen`."""

    def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> str:
        """Send one event, and return its ID."""

    def statistics(self, streams: Sequence[str]) -> list[RedisStreamStatistics]:
        """The state of these streams, in one round trip to each node."""

    def flush(
        self, flushes: Sequence[tuple[str, BufferFlush]], replication: Replication | None, link: Any = None
    ) -> None:
        """Send buffers, each under its name (see `buffer_of`). `link`: has begun with that of one server, perhaps."""

    def close(self) -> None:
        """Return or close all connections."""


class AsyncPool(AnyPool, Protocol):
    """A pool for an event loop, as `BlockingPool`. Tasks may share it."""

    def new_link(self, key: str) -> AsyncLink: ...
    def node_link(self, node: str, key: str) -> AsyncLink: ...
    def link_to_push(self) -> AsyncLink | None: ...
    async def run(self, flow: Flow[T], key: str) -> T: ...
    async def refresh(self, seen: int) -> None: ...
    async def publish(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> str: ...
    async def statistics(self, streams: Sequence[str]) -> list[RedisStreamStatistics]: ...
    async def flush(
        self, flushes: Sequence[tuple[str, BufferFlush]], replication: Replication | None, link: Any = None
    ) -> None: ...
    async def close(self) -> None: ...


class AnyLink(Protocol):
    """What waits for nothing, and so is the same for both kinds of links.

    Attributes:
        reader: reads the replies.
        commands: a buffer for the commands of the owner.
    """

    reader: ReplyReader
    commands: CommandBuffer

    @property
    def pool(self) -> PoolBase:
        """The pool of its connection."""

    @property
    def in_order(self) -> bool:
        """Whether the next command may be sent on this connection."""

    def arrived(self) -> bool:
        """Whether something can be read at once."""

    def push(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Begin a pipeline: send what can be sent without waiting. `pipeline` goes on from there."""


class BlockingLink(AnyLink, Protocol):
    """A link that belongs to one thread."""

    @property
    def timeout(self) -> float | None:
        """Seconds that the server may be silent."""

    def connect(self) -> object:
        """See that there is a connection that is ready for a new command."""

    def send(self, commands: CommandBuffer, *, behind: bool = False) -> None:
        """Send the commands, and empty their buffer. `behind`: more replies are to come, and these after them."""

    def receive(self, take: Take, wait: float) -> Any:
        """The next reply. The server may take `wait` seconds longer than the connection's time-out."""

    def receive_all(self, takes: Sequence[Take]) -> list[Any]:
        """The next replies, each as `receive`."""

    def exchange(self, commands: CommandBuffer, takes: Sequence[Take]) -> list[Any]:
        """Send the commands behind what is in flight, empty their buffer, and return the replies that come first."""

    def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any:
        """Send the one command of the buffer, empty it, and wait for its reply."""

    def pipeline(self, commands: CommandBuffer, replies: Confirmations) -> None:
        """Send the commands by the window, and take the replies of one window while the next is under way."""

    def disconnect(self, error: Exception | None) -> None:
        """Close the connection, because of that error. A redirection says where the next one goes."""

    def limit(self, until: float | None) -> None:
        """Fail in whatever is not done by then (monotonic seconds). None: the connection's own time-out counts."""

    def limit_after(self, error: BaseException) -> None:
        """Leave a second to settle what was handled, if the error is an interruption and not one of the network."""

    def drop(self) -> None:
        """Close the connection, whatever state it is in."""

    def release(self) -> None:
        """Return the connection to redis-py's pool, in working order."""

    # ---- one of many, whose sockets a thread waits for together ----

    @property
    def socket(self) -> Any:
        """The socket, for a selector."""

    def receive_now(self, take: Take) -> Any:
        """The next reply, or INCOMPLETE if it is not here yet."""

    def pushed(self, commands: CommandBuffer, replies: Confirmations) -> bool:
        """As `push`. True once all was sent and all replies are there: `pipeline` in many steps."""

    def sending(self, commands: CommandBuffer) -> bool:
        """Whether `push` has not sent all of it."""

    def gather(self, replies: Confirmations, *, overdue: bool) -> None:
        """Wait for the rest of the replies to a pipeline that was pushed. `overdue`: not for the first of them."""

    def time_out(self) -> None:
        """The server was silent for too long."""


class AsyncLink(AnyLink, Protocol):
    """A link that belongs to one task, as `BlockingLink`."""

    async def connect(self) -> object: ...
    def send_now(self, commands: CommandBuffer, *, behind: bool = False) -> bool:
        """As `send`, if there is nothing to wait for. False: nothing was sent."""

    def receive_now(self, take: Take) -> Any:
        """The next reply; or INCOMPLETE, if it is not here yet."""

    async def send(self, commands: CommandBuffer, *, behind: bool = False) -> None: ...
    async def receive(self, take: Take, wait: float) -> Any: ...
    async def receive_all(self, takes: Sequence[Take]) -> list[Any]: ...
    async def exchange(self, commands: CommandBuffer, takes: Sequence[Take]) -> list[Any]: ...
    async def ask(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> Any: ...
    async def pipeline(self, commands: CommandBuffer, replies: Confirmations) -> None: ...
    def abandon(self) -> None: ...
    async def disconnect(self, error: Exception | None) -> None: ...
    async def drop(self) -> None: ...
    async def release(self) -> None: ...
