"""What a flow can ask of whoever drives it, and the shortest conversations made of that.

An error of the network is thrown into the flow at the step that met it, as redis-py's exception; so is whatever a
handler raises. The driver opens a connection when a step needs one, and drops one that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..protocol.interface import CommandBuffer, Confirmations, ReplyReader

__all__ = ["Deliver", "Disconnect", "Flow", "Pause", "Pipeline", "Push", "Receive", "Send", "Step", "ask", "ask_all"]

T = TypeVar("T")
Take = Callable[[ReplyReader], Any]
"""A method of the reader that returns one reply, or INCOMPLETE."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send all commands of the buffer, and empty it.

    Attributes:
        behind: replies of this connection are still to come; the new ones come behind them.
    """

    commands: CommandBuffer
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for one reply. Outcome: the reply.

    Attributes:
        take: how to read it.
        wait: seconds that the server may take on purpose (BLOCK), on top of the socket's timeout.
    """

    take: Take
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Send all commands of the buffer in windows, and take the replies while they come in. The buffer is kept."""

    commands: CommandBuffer
    confirmations: Confirmations


@dataclass(frozen=True, slots=True)
class Push:
    """Begin a `Pipeline`: send what can be sent without waiting, and take the replies that are there."""

    commands: CommandBuffer
    confirmations: Confirmations


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand events to the handler, or to the loop that iterates over the batches."""

    events: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for that many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Drop the connection: the next step that needs one makes a new one, to whoever is the master then."""


Step = Send | Receive | Push | Pipeline | Deliver | Pause | Disconnect
Flow = Generator[Step, Any, T]


def any_reply(reader: ReplyReader) -> Any:
    """`Take`: one reply as Python values."""
    return reader.read()


def ask(commands: CommandBuffer, take: Take = any_reply, wait: float = 0.0) -> Flow[Any]:
    """Send the one command of the buffer, and return its reply."""
    yield Send(commands)
    return (yield Receive(take, wait))


def ask_all(commands: CommandBuffer) -> Flow[list[Any]]:
    """Send all commands of the buffer, and return their replies."""
    count = commands.commands
    yield Send(commands)
    replies = []
    for _ in range(count):
        replies.append((yield Receive(any_reply)))
    return replies
