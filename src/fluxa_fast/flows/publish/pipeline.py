"""Publishing: one event at a time, or a flusher's buffers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
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


def write_event(commands: CommandBuffer, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> None:
    """Write the XADD of one event. `replies.id_of` takes the reply.

    These two are no flow, because for one event a flow would take longer than both of them.
    """
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
        replicas: how many replicas must have the events.
        timeout: seconds to wait for the replicas.
    """

    replicas: int
    timeout: float


class FlushReplies(NamedTuple):
    """The replies to the XADDs of one buffer, and what they are worth.

    Attributes:
        replies: the replies that came: `Confirmations`, or `cluster_flush.Attempts` after several attempts.
        not_replicated: whether the replies confirm nothing, because too few replicas have the events.
    """

    replies: Any
    not_replicated: bool

    def outcomes(self) -> Iterator[tuple[Outcome, int]]:
        """Yield the outcomes of the events in the buffer, in order, and how many events in a row have each.

        After the last event of the buffer "unconfirmed" may follow, for any number of events.
        """
        if (of_attempts := getattr(self.replies, "outcomes", None)) is not None:
            for outcome, count in of_attempts():
                yield "unconfirmed" if self.not_replicated and outcome == "confirmed" else outcome, count
            return
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
        """The number of events that the server, and as many replicas as were asked for, have."""
        return 0 if self.not_replicated else self.replies.received - len(self.replies.errors)


def replicated(commands: CommandBuffer, pool: str, replication: Replication) -> Flow[None]:
    """Wait for the replicas: ``WAIT replicas milliseconds``, which is about the writes of its own connection.

    Raises:
        NotReplicatedError: if too few replicas have the events in time.
        redis.ResponseError: if the server refuses to wait.
    """
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
    """The flush of the buffer of one target, and what became of the events.

    Attributes:
        pool: the name of the pool.
        buffer: the XADDs of the events. After the flush those of the events that were not confirmed.
        replies: as in `FlushReplies`.
        error: why the other replies did not come, or why the replies that came confirm nothing; None: neither is so.
        not_replicated: as in `FlushReplies`.
        of_one_server: whether the pool is known to be registered as a single server.
        held_back: whether the buffer is not sent, because of `error`.
    """

    pool: str
    buffer: CommandBuffer
    replies: Any
    error: Exception | None = None
    not_replicated: bool = False
    of_one_server: bool = False
    held_back: bool = False

    def push(self, link: Pushing) -> None:
        """Send what is in the buffer so far, without waiting. After an error nothing is sent until the next flush."""
        if self.error is None:
            self.replies.expected = self.buffer.command_count
            try:
                link.push(self.buffer, self.replies)
            except BaseException as error:
                if not self.keeps(error):
                    raise

    def begin(self, replication: Replication | None = None) -> bool:
        """The buffer is about to be sent to the one server of its pool. Returns whether it may be, and has events."""
        self.replies.expected = self.buffer.command_count
        self.of_one_server = True  # the buffers of a cluster are sent by `flush_cluster`
        self.not_replicated = replication is not None
        return self.error is None and self.buffer.command_count > 0

    def flow(self, replication: Replication) -> Flow[None]:
        """Send the buffer and count the replies. An error of the network ends the flow, and is kept in `error`."""
        if not self.begin(replication):
            return
        try:
            yield Pipeline(self.buffer, self.replies)
            if self.replies.received > len(self.replies.errors):
                yield from replicated(type(self.buffer)(), self.pool, replication)
            self.not_replicated = False
        except BaseException as error:
            if not self.keeps(error):
                raise
        if self.demoted:
            yield Disconnect()

    def keeps(self, error: BaseException) -> bool:
        """Note why the other replies do not come. Returns whether that is all; False: it is an interruption."""
        if isinstance(error, (RedisError, FluxaError)):  # too few replicas; or the engine was closed
            self.error = error
            return True
        # Ctrl-C, for example: every event is accounted for all the same.
        self.error = ConnectionError(f"interrupted by {type(error).__name__}")
        return False

    @property
    def demoted(self) -> bool:
        """Whether the server is a replica now: the next flush has to ask again which server is the master."""
        errors = self.replies.errors
        return bool(errors) and any(rule_of(ErrorReply(message)).demoted for _, message in errors)

    @property
    def replies_so_far(self) -> FlushReplies:
        """The replies, and what they are worth."""
        return FlushReplies(self.replies, self.not_replicated)

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed. A flush that never began is not complete either."""
        replies = self.replies
        return not (self.not_replicated or replies.errors) and replies.received == self.buffer.command_count


def not_begun(flushes: Sequence[tuple[str, BufferFlush]], error: Exception) -> None:
    """Note why nothing of these was sent. The account of the flush tells it, because other pools may have events."""
    for _, flush in flushes:
        flush.error = flush.error or error
