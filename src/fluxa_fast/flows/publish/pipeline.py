"""Publishing: one event at a time, or a flusher's buffers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from redis.exceptions import ConnectionError, RedisError

from ...errors import FluxaError, NotReplicatedError, SerializationError
from ...protocol.interface import CommandBuffer, Confirmations, EntryHead, ErrorReply
from ..replies import NUMBER, error_of
from ..server_errors import rule_of
from ..steps import Disconnect, Flow, Pipeline, Receive, Send

__all__ = ["BufferFlush", "FlushReplies", "Outcome", "Replication", "not_begun", "replicated", "write_event"]

Outcome = Literal["confirmed", "refused", "unconfirmed"]

# One event is published in two halves, with a question to the server between them: a flow would take longer than both.
# The second half is `replies.id_of`.


def write_event(commands: CommandBuffer, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> None:
    """The first half: the XADD."""
    try:
        head.check_body(body)
        commands.entry(head, body, tags)
    except SerializationError as error:
        error.stream = head.stream
        raise


class Pushing(Protocol):
    """A link that can begin a pipeline: it sends what can be sent without waiting."""

    def push(self, commands: CommandBuffer, replies: Confirmations) -> None: ...


@dataclass(frozen=True, slots=True)
class Replication:
    """What a flush asks for beyond the master's replies.

    Attributes:
        replicas: that must have the events.
        timeout: seconds to wait for them.
    """

    replicas: int
    timeout: float


class FlushReplies(NamedTuple):
    """What the server of one pool has said.

    Attributes:
        replies: to the XADDs, as far as they came.
        not_replicated: whether they confirm nothing, because too few replicas have the events.
    """

    replies: Any  # Confirmations, or what came of several attempts (`resending.Attempts`)
    not_replicated: bool

    def outcomes(self) -> Iterator[tuple[Outcome, int]]:
        """The outcomes of the events in the buffer, and how many in a row share each; without an end."""
        if (own := getattr(self.replies, "outcomes", None)) is not None:
            for fate, count in own():
                yield "unconfirmed" if self.not_replicated and fate == "confirmed" else fate, count
        confirmed = 0 if self.not_replicated else self.replies.received
        place = 0
        for refused, _ in self.replies.errors:
            yield "confirmed", max(0, min(refused, confirmed) - place)
            yield "unconfirmed", refused - max(place, min(refused, confirmed))
            yield "refused", 1
            place = refused + 1
        yield "confirmed", max(0, confirmed - place)
        yield "unconfirmed", sys.maxsize

    @property
    def confirmed(self) -> int:
        """Events that are where they were to be."""
        return 0 if self.not_replicated else self.replies.received - len(self.replies.errors)


def replicated(commands: CommandBuffer, pool: str, replication: Replication) -> Flow[None]:
    """``WAIT replicas milliseconds``: on the same connection, because it is about what that one has written."""
    wanted, timeout = replication.replicas, replication.timeout
    commands.command("WAIT", wanted, max(1, round(timeout * 1000)))  # 0 would wait for ever
    yield Send(commands, behind=True)
    reply = yield Receive(NUMBER, timeout)
    if isinstance(reply, ErrorReply):
        raise error_of(reply)
    if reply < wanted:
        raise NotReplicatedError(pool, reply, wanted, timeout)


@dataclass(slots=True)
class BufferFlush:
    """What became of one buffer: of a pool, or on a cluster of one key.

    Attributes:
        pool: the name of the pool.
        buffer: its XADDs; after the flush, those that were not confirmed.
        replies: the replies that came.
        error: why the others did not come, if they didn't; or why those that did confirm nothing.
        not_replicated: as in `FlushReplies`.
        of_one_server: whether the pool was registered as a single server, as far as is known.
        held_back: nothing of it is to be sent, because of the error.
    """

    pool: str
    buffer: CommandBuffer
    replies: Any
    error: Exception | None = None
    not_replicated: bool = False
    of_one_server: bool = False
    held_back: bool = False

    def push(self, link: Pushing) -> None:
        """Begin to send what is in the buffer so far. After an error nothing more is sent until `flow` has told it."""
        if self.error is None:
            self.replies.expected = self.buffer.command_count
            with self._kept():
                link.push(self.buffer, self.replies)

    def flow(self, replication: Replication | None = None) -> Flow[None]:
        """Send the buffer and count the replies. An error of the network ends it, and is kept."""
        self.replies.expected = self.buffer.command_count
        self.of_one_server = True  # the buffers of a cluster are sent by `flush_cluster`
        self.not_replicated = replication is not None
        if self.error is not None or not self.buffer.command_count:
            return
        with self._kept():
            yield Pipeline(self.buffer, self.replies)
            if replication is not None and self.replies.received > len(self.replies.errors):
                yield from replicated(type(self.buffer)(), self.pool, replication)
            self.not_replicated = False
        if any(rule_of(ErrorReply(message)).demoted for _, message in self.replies.errors):
            yield Disconnect()  # this server is a replica now: the next flush asks anew who is the master

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, FluxaError) as error:  # too few replicas; or the engine was closed
            self.error = error
        except BaseException as interruption:  # Ctrl-C, for one: the account is kept all the same
            self.error = ConnectionError(f"interrupted by {type(interruption).__name__}")
            raise

    @property
    def answers(self) -> FlushReplies:
        return FlushReplies(self.replies, self.not_replicated)

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed. A flush that never began is not complete either."""
        return self.answers.confirmed == self.buffer.command_count


def not_begun(flushes: Sequence[tuple[str, BufferFlush]], error: Exception) -> None:
    """Nothing was sent of these: the engine is closed. Other pools may have had their part, so the account tells it."""
    for _, flush in flushes:
        flush.error = flush.error or error
