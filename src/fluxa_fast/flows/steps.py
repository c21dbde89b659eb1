"""What a flow can ask of its driver, and the shortest conversations made of that.

An error of the network is thrown into the flow at the step that met it, as redis-py's exception; so is whatever a
handler raises. The driver opens a connection when a step needs one, and drops one that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..protocol.interface import CommandBuffer, Confirmations, EntryHead, ReplyReader

if TYPE_CHECKING:
    from .consume.in_hand import Hand
    from .consume.reporting import BatchReporter

__all__ = [
    "Arrived",
    "Ask",
    "Concurrently",
    "Connect",
    "Deliver",
    "Disconnect",
    "Exchange",
    "Flow",
    "Pause",
    "Pipeline",
    "Publish",
    "Receive",
    "ReceiveAll",
    "Refresh",
    "Send",
    "Start",
    "Step",
    "YieldControl",
    "ask",
    "ask_all",
]

T = TypeVar("T")
Take = Callable[[ReplyReader], Any]
"""A method of the reader that returns one reply, or INCOMPLETE."""


# Plain classes: a step is made for every conversation with the server, and a frozen dataclass takes three times longer.


class Send:
    """Send all commands of the buffer, and empty it.

    Attributes:
        behind: replies of this connection are still to come; the new ones come behind them.
    """

    __slots__ = ("behind", "commands")

    def __init__(self, commands: CommandBuffer, behind: bool = False) -> None:
        self.commands: CommandBuffer = commands
        self.behind: bool = behind


class Receive:
    """Wait for one reply. Outcome: the reply.

    Attributes:
        take: how to read it.
        wait: seconds that the server may take on purpose (BLOCK), on top of the socket's timeout.
    """

    __slots__ = ("take", "wait")

    def __init__(self, take: Take, wait: float = 0.0) -> None:
        self.take: Take = take
        self.wait: float = wait


class ReceiveAll:
    """Wait for several replies, of which none takes long on purpose. Outcome: a list of them.

    Attributes:
        takes: how to read each.
        replies: that have come so far.
    """

    __slots__ = ("replies", "takes")

    def __init__(self, takes: Sequence[Take]) -> None:
        self.takes: Sequence[Take] = takes
        self.replies: list[Any] = []


class Exchange:
    """`Send` behind what is in flight, and `ReceiveAll` in one. Outcome: a list of the replies that come first.

    Attributes:
        commands: of the buffer, which is emptied.
        takes: how to read each reply.
    """

    __slots__ = ("commands", "takes")

    def __init__(self, commands: CommandBuffer, takes: Sequence[Take]) -> None:
        self.commands: CommandBuffer = commands
        self.takes: Sequence[Take] = takes


class Ask:
    """`Send` and `Receive` in one, for the one command of the buffer. Outcome: its reply."""

    __slots__ = ("commands", "take", "wait")

    def __init__(self, commands: CommandBuffer, take: Take, wait: float = 0.0) -> None:
        self.commands: CommandBuffer = commands
        self.take: Take = take
        self.wait: float = wait


class Arrived:
    """Outcome: whether the beginning of a reply is there already."""

    __slots__ = ()


class Pipeline:
    """Send all commands of the buffer in windows, and take the replies while they come in. The buffer is kept."""

    __slots__ = ("commands", "confirmations")

    def __init__(self, commands: CommandBuffer, confirmations: Confirmations) -> None:
        self.commands: CommandBuffer = commands
        self.confirmations: Confirmations = confirmations


class Deliver:
    """Hand events to the handler, or to the loop that iterates over the batches.

    Outcome: None when they were handled; `TOO_LATE` if the consumer may not hand them over any more; `CUT_SHORT` if the
    handler had no time to finish; `TAKEN` if the driver hands them over while the flow goes on, and sees to what
    follows.

    Attributes:
        events: of one batch; the list is the handler's own.
        pending: false for events that were read at most once.
        reporter: reports what comes of the batch, where the driver takes it; None: nothing is reported.
        stale_at: from when on (monotonic seconds) another consumer may have taken it over.
        hand: is told when the handler is called; None: nothing is kept meanwhile.
    """

    TOO_LATE: object = object()
    CUT_SHORT: object = object()
    TAKEN: object = object()

    __slots__ = ("events", "hand", "pending", "reporter", "stale_at")

    def __init__(
        self,
        events: list[Any],
        pending: bool,
        reporter: BatchReporter | None,
        stale_at: float,
        hand: Hand | None,
    ) -> None:
        self.events: list[Any] = events
        self.pending: bool = pending
        self.reporter: BatchReporter | None = reporter
        self.stale_at: float = stale_at
        self.hand: Hand | None = hand


class Pause:
    """Do nothing for that many seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds: float = seconds


class YieldControl:
    """Let others run, where they share the thread: what a flow did up to here took long enough."""

    __slots__ = ()


class Connect:
    """See that there is a connection, so that an error of it is told from one of the commands that follow."""

    __slots__ = ()


class Disconnect:
    """Drop the connection: the next step that needs one makes a new one, to the server that is the master then.

    Attributes:
        error: why. On a cluster it says to which node the next connection goes.
    """

    __slots__ = ("error",)

    def __init__(self, error: Exception | None = None) -> None:
        self.error: Exception | None = error


class Concurrently:
    """Run flows at the same time, each on a connection of its own.

    Outcome: for each of them what it returned, or the error that ended it.

    Attributes:
        jobs: for each the name of a node, and the flow.
    """

    __slots__ = ("jobs",)

    def __init__(self, jobs: Sequence[tuple[str, Flow[Any]]]) -> None:
        self.jobs: Sequence[tuple[str, Flow[Any]]] = jobs


class Publish:
    """Send one event to a node. Outcome: its ID.

    Attributes:
        node: the name of the node.
        head: of the XADD.
        body: of the event.
        tags: of the event.
    """

    __slots__ = ("body", "head", "node", "tags")

    def __init__(self, node: str, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> None:
        self.node: str = node
        self.head: EntryHead = head
        self.body: object = body
        self.tags: Mapping[str, str] | None = tags


class Refresh:
    """Ask the cluster which node has which slots, unless that was done since.

    Attributes:
        seen: the generation of the topology that was found wanting.
    """

    __slots__ = ("seen",)

    def __init__(self, seen: int) -> None:
        self.seen: int = seen


class Start:
    """Run a flow beside this one, on a connection of its own. Among the flows of a consumer only.

    Attributes:
        node: the name of the node that it talks to; and a key that it is asked for though it has not got the slot yet.
            None: it needs no connection.
        flow: what to run.
    """

    __slots__ = ("flow", "node")

    def __init__(self, node: tuple[str, str] | None, flow: Flow[None]) -> None:
        self.node: tuple[str, str] | None = node
        self.flow: Flow[None] = flow


Step = (
    Ask
    | Send
    | Receive
    | ReceiveAll
    | Exchange
    | Arrived
    | Pipeline
    | Deliver
    | Pause
    | YieldControl
    | Connect
    | Disconnect
    | Publish
    | Concurrently
    | Refresh
    | Start
)
Flow = Generator[Step, Any, T]


def any_reply(reader: ReplyReader) -> Any:
    """`Take`: one reply as Python values."""
    return reader.read()


def ask(commands: CommandBuffer, take: Take = any_reply, wait: float = 0.0) -> Flow[Any]:
    """Send the one command of the buffer, and return its reply."""
    return (yield Ask(commands, take, wait))


def ask_all(commands: CommandBuffer) -> Flow[list[Any]]:
    """Send all commands of the buffer, and return their replies."""
    takes = [any_reply] * commands.command_count
    yield Send(commands)
    replies: list[Any] = yield ReceiveAll(takes)
    return replies
