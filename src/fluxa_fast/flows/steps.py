"""What a flow can ask of whoever drives it, and the shortest conversations made of that.

An error of the network is thrown into the flow at the step that met it, as redis-py's exception; so is whatever a
handler raises. The driver opens a connection when a step needs one, and drops one that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from ..protocol.interface import CommandBuffer, Confirmations, ReplyReader

__all__ = [
    "Arrived",
    "Ask",
    "Breathe",
    "Deliver",
    "Disconnect",
    "Flow",
    "Pause",
    "Pipeline",
    "Receive",
    "Send",
    "Step",
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
    """Hand events to the handler, or to the loop that iterates over the batches."""

    __slots__ = ("events",)

    def __init__(self, events: Sequence[Any]) -> None:
        self.events: Sequence[Any] = events


class Pause:
    """Do nothing for that many seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds: float = seconds


class Breathe:
    """Let others run, where they share the thread: what a flow did up to here took long enough."""

    __slots__ = ()


class Disconnect:
    """Drop the connection: the next step that needs one makes a new one, to whoever is the master then."""

    __slots__ = ()


Step = Ask | Send | Receive | Arrived | Pipeline | Deliver | Pause | Breathe | Disconnect
Flow = Generator[Step, Any, T]


def any_reply(reader: ReplyReader) -> Any:
    """`Take`: one reply as Python values."""
    return reader.read()


def ask(commands: CommandBuffer, take: Take = any_reply, wait: float = 0.0) -> Flow[Any]:
    """Send the one command of the buffer, and return its reply."""
    return (yield Ask(commands, take, wait))


def ask_all(commands: CommandBuffer) -> Flow[list[Any]]:
    """Send all commands of the buffer, and return their replies."""
    count = commands.commands
    yield Send(commands)
    replies = []
    for _ in range(count):
        replies.append((yield Receive(any_reply)))
    return replies
