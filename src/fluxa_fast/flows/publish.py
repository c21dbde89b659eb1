"""Publishing: one event at a time, or a flusher's buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from redis.exceptions import ConnectionError, RedisError

from ..errors import SerializationError
from ..protocol.interface import CommandBuffer, Confirmations, EntryHead, ErrorReply
from .replies import error_of
from .steps import Flow, Pipeline

__all__ = ["PoolFlush", "id_of", "write_event"]

# One event is published in two halves, with a question to the server between them: a flow would take longer than both.


def write_event(commands: CommandBuffer, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> None:
    """The first half: the XADD."""
    try:
        head.check_body(body)
        commands.entry(head, body, tags)
    except SerializationError as error:
        error.stream = head.stream
        raise


def id_of(reply: Any) -> str:
    """The second half: the event's ID out of the server's reply.

    Raises:
        redis.ResponseError: if the server refused the event.
    """
    if isinstance(reply, ErrorReply):
        raise error_of(reply)
    return str(reply, "ascii")


class Pushing(Protocol):
    """A link that can begin a pipeline: it sends what can be sent without waiting."""

    def push(self, commands: CommandBuffer, replies: Confirmations) -> None: ...


@dataclass(slots=True)
class PoolFlush:
    """What became of one pool's buffer.

    Attributes:
        pool: the name of the pool.
        buffer: its XADDs; after the flush, those that were not confirmed.
        replies: the replies that came.
        error: why the others did not come, if they didn't.
    """

    pool: str
    buffer: CommandBuffer
    replies: Confirmations
    error: Exception | None = None

    def push(self, link: Pushing) -> None:
        """Begin to send what is in the buffer so far. After an error nothing more is sent until `flow` has told it."""
        if self.error is None:
            self.replies.expected = self.buffer.commands
            with self._kept():
                link.push(self.buffer, self.replies)

    def flow(self) -> Flow[None]:
        """Send the buffer and count the replies. An error of the network ends it, and is kept."""
        self.replies.expected = self.buffer.commands
        if self.error is not None or not self.buffer.commands:
            return
        with self._kept():
            yield Pipeline(self.buffer, self.replies)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            self.error = error
        except BaseException as interruption:  # Ctrl-C, for one: the account is kept all the same
            self.error = ConnectionError(f"interrupted by {type(interruption).__name__}")
            raise

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed. A flush that never began is not complete either."""
        return self.replies.received == self.buffer.commands and not self.replies.errors
