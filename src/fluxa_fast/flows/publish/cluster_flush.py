"""Publishing to a cluster: a flush, which is one pipeline for each node at the same time, and a single event.

Each Redis key has a buffer of its own, because a slot moves with all of its keys. A node has nothing of the events that
it refuses for now (MOVED, ASK, TRYAGAIN, CLUSTERDOWN...). They are sent again in their order, to the node that has the
slot then. Where a connection broke, it is not known what the node has: those events stay in the flusher, as with a
single server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from redis.exceptions import ClusterDownError, ConnectionError, RedisError, TimeoutError

from ...errors import FluxaError
from ...protocol.interface import (
    INCOMPLETE,
    CommandBuffer,
    Confirmations,
    EntryHead,
    ErrorReply,
    Implementation,
    ReplyReader,
)
from ..asking import with_asking
from ..replies import ENTRY_ID, OK, error_of, id_of
from ..retry import Patience
from ..server_errors import rule_of
from ..steps import Concurrently, Connect, Flow, Pause, Pipeline, Publish, Receive, Refresh, Send
from ..topology import ClusterMap, next_node
from .pipeline import BufferFlush, Outcome, Replication, replicated, write_event

__all__ = ["Attempts", "NodePipeline", "NotReachedError", "SendAll", "flush_cluster", "publish_one"]


class Attempts:
    """The outcomes of the events of one buffer that was sent more than once; in the place of `Confirmations`.

    Attributes:
        received: how many events were confirmed, or refused for good.
        errors: for each event that was refused for good its place and the message.
    """

    def __init__(self, events: int) -> None:
        self._ids: list[str | None] = [None] * events
        self._outcomes: list[Outcome] = ["unconfirmed"] * events
        self._messages: dict[int, str] = {}

    def add(self, places: Sequence[int], replies: Confirmations, redirected: set[int]) -> None:
        """Add the replies to the events at `places`. `redirected` are indexes of `places`."""
        messages = dict(replies.errors)
        ids = iter(replies.ids())
        for index in range(replies.received):
            place = places[index]
            if index in redirected:
                continue
            if index in messages:
                self.refuse(place, messages[index])
            else:
                self._outcomes[place] = "confirmed"
                self._ids[place] = next(ids)

    def refuse(self, place: int, message: str) -> None:
        """Note that the event at that place was refused for good."""
        self._outcomes[place] = "refused"
        self._messages[place] = message

    @property
    def received(self) -> int:
        return len(self._outcomes) - self._outcomes.count("unconfirmed")

    @property
    def errors(self) -> list[tuple[int, str]]:
        return sorted(self._messages.items())

    def ids(self) -> list[str | None]:
        """The IDs of the confirmed events."""
        return [id for id, outcome in zip(self._ids, self._outcomes, strict=True) if outcome == "confirmed"]

    def outcomes(self) -> Iterator[tuple[Outcome, int]]:
        """As `FlushReplies.outcomes`."""
        for outcome, run in groupby(self._outcomes):
            yield outcome, len(list(run))


class BufferSend:
    """The events of one buffer that are to be sent, or to be sent again.

    Attributes:
        flush: the flush of the buffer.
        key: the Redis key of all of its events.
        buffer: the XADDs that are to be sent.
        places: for each of them its place in the buffer of the flush; None: they are all of it.
        replies: the replies to them.
        ask_redirect: the node that has the key and not yet the slot, so that it must be told ASKING; or None.
    """

    __slots__ = ("ask_redirect", "buffer", "flush", "key", "places", "replies")

    def __init__(self, flush: BufferFlush, key: str) -> None:
        self.flush: BufferFlush = flush
        self.key: str = key
        self.buffer: CommandBuffer = flush.buffer
        self.places: Sequence[int] | None = None
        self.replies: Confirmations = flush.replies
        self.replies.expected = self.buffer.command_count
        self.ask_redirect: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the events were sent once, and none of those that were answered was refused."""
        return self.places is None and not self.replies.errors

    def redirected(self) -> dict[int, ErrorReply]:
        """The events that can be sent again: for the index of each its reply."""
        errors = ((index, ErrorReply(message)) for index, message in self.replies.errors)
        return {index: reply for index, reply in errors if rule_of(reply).resent}

    def note(self, redirected: set[int]) -> None:
        """Add the replies to those of earlier attempts."""
        if not redirected and self.places is None:
            return
        flush = self.flush
        if self.places is None:
            self.places = range(flush.buffer.command_count)
            flush.replies = Attempts(flush.buffer.command_count)
        flush.replies.add(self.places, self.replies, redirected)

    def keep_only(self, redirected: Sequence[int], implementation: Implementation) -> None:
        """Drop all events but these, which are to be sent again."""
        assert self.places is not None
        rest = implementation.CommandBuffer()
        rest.extend(self.buffer)
        rest.keep(redirected)
        self.places = [self.places[index] for index in redirected]
        self.buffer = rest
        self.replies = implementation.Confirmations(len(redirected))

    def refuse(self, redirected: dict[int, ErrorReply]) -> None:
        """Note that no node has taken these events in time."""
        assert self.places is not None
        for index, reply in redirected.items():
            self.flush.replies.refuse(self.places[index], reply.message)


class _RepliesInOrder:
    """The replies to the buffers that share a connection; the link takes them as `Confirmations`."""

    def __init__(self, sends: Sequence[BufferSend]) -> None:
        self._parts = [_RepliesWithAsking(one.replies) if one.ask_redirect else one.replies for one in sends]
        self._next = 0
        self.expected = sum([part.expected for part in self._parts])

    def take(self, reader: ReplyReader) -> bool:
        """As `Confirmations.take`."""
        while self._next < len(self._parts):
            if not self._parts[self._next].take(reader):
                return False
            self._next += 1
        return True


class _RepliesWithAsking:
    """The replies to pairs of ASKING and XADD."""

    def __init__(self, replies: Confirmations) -> None:
        self._replies = replies
        self._wanted = replies.expected
        self._replies.expected = 0
        self.expected = 2 * self._wanted

    def take(self, reader: ReplyReader) -> bool:
        """As `Confirmations.take`."""
        while self._replies.received < self._wanted or self._replies.expected < self._wanted:
            if self._replies.received == self._replies.expected:
                if OK(reader) is INCOMPLETE:
                    return False
                self._replies.expected += 1
            if not self._replies.take(reader):
                return False
        return True


class NotReachedError(Exception):
    """There was no connection, so nothing was sent. The cause is the error of the network."""


class NodePipeline(NamedTuple):
    """What one node is sent.

    Attributes:
        node: the name of the node.
        commands: the XADDs.
        replies: the replies to them.
    """

    node: str
    commands: CommandBuffer
    replies: Any

    def flow(self) -> Flow[None]:
        """Send it.

        Raises:
            NotReachedError: if there is no connection.
            redis.ConnectionError, redis.TimeoutError: if the connection broke.
        """
        try:
            yield Connect()
        except (ConnectionError, TimeoutError) as error:
            raise NotReachedError from error
        yield Pipeline(self.commands, self.replies)


class SendAll(Concurrently):
    """Run the pipelines of several nodes at the same time. A driver may do that without their flows.

    Attributes:
        pipelines: of the nodes.
    """

    __slots__ = ("pipelines",)

    def __init__(self, pipelines: Sequence[NodePipeline]) -> None:
        super().__init__([(one.node, one.flow()) for one in pipelines])
        self.pipelines: Sequence[NodePipeline] = pipelines


# ---- a flush --------------------------------------------------------------------------------------------


def flush_cluster(
    cluster: ClusterMap, flushes: Sequence[tuple[str, BufferFlush]], replication: Replication | None
) -> Flow[None]:
    """Send the buffers of these Redis keys. An error of the network ends the buffers of that node, and is kept."""
    waiting = [BufferSend(flush, key) for key, flush in flushes]
    in_flight: list[BufferSend] = []
    patience = Patience()
    for one in waiting:
        one.flush.not_replicated = replication is not None
    try:
        while waiting:
            generation = cluster.generation
            by_node, waiting = _assign(cluster, waiting, patience)
            stale = bool(waiting)
            pipelines = [_pipeline(cluster, node, sends) for node, sends in by_node.items()]
            in_flight = [one for sends in by_node.values() for one in sends]
            if not pipelines:
                outcomes = []
            elif replication is None:
                outcomes = yield SendAll(pipelines)
            else:
                jobs = [_replicated(cluster, one, by_node[one.node], replication) for one in pipelines]
                outcomes = yield Concurrently(jobs)
            in_flight = []
            for (node, sends), outcome in zip(by_node.items(), outcomes, strict=True):
                to_resend, outdated = _settle(cluster, node, sends, outcome, patience)
                waiting += to_resend
                stale = stale or outdated
            if waiting and stale:
                waiting = yield from _refresh(generation, waiting, patience)
    except BaseException as interruption:  # Ctrl-C, for example: the flushes still say what became of the events
        for one in in_flight:
            one.note(set(one.redirected()))
        closed = isinstance(interruption, FluxaError)
        for _, flush in flushes:
            if flush.error is None:
                told = ConnectionError(f"interrupted by {type(interruption).__name__}")
                flush.error = interruption if closed else told  # type: ignore[assignment]
        if not closed:
            raise


def _assign(
    cluster: ClusterMap, waiting: Sequence[BufferSend], patience: Patience
) -> tuple[dict[str, list[BufferSend]], list[BufferSend]]:
    """Find the node of each buffer. Returns the buffers of each node, and those for which no node is known."""
    by_node: dict[str, list[BufferSend]] = {}
    unassigned = []
    for one in waiting:
        node = one.ask_redirect or cluster.place(one.key)
        if node is None and patience.over:
            one.flush.error = ConnectionError(f"no node of the cluster has the slot of {one.key!r}")
        elif node is None:
            unassigned.append(one)
        else:
            by_node.setdefault(node, []).append(one)
    return by_node, unassigned


def _pipeline(cluster: ClusterMap, node: str, sends: Sequence[BufferSend]) -> NodePipeline:
    """Return the buffers of one node as one pipeline."""
    first = sends[0]
    if len(sends) == 1 and first.ask_redirect is None:
        return NodePipeline(node, first.buffer, first.replies)
    wire = cluster.implementation.CommandBuffer()
    for one in sends:
        wire.extend(with_asking(one.buffer) if one.ask_redirect else one.buffer)
    return NodePipeline(node, wire, _RepliesInOrder(sends))


def _replicated(
    cluster: ClusterMap, pipeline: NodePipeline, sends: Sequence[BufferSend], replication: Replication
) -> tuple[str, Flow[None]]:
    """Return a node, and the flow that sends its pipeline and waits for its replicas."""

    def flow() -> Flow[None]:
        yield from pipeline.flow()
        # A node that has taken no event may be a replica now, which refuses WAIT. Its redirections say where to go.
        if any(one.replies.received > len(one.replies.errors) for one in sends):
            yield from replicated(cluster.implementation.CommandBuffer(), cluster.name, replication)

    return pipeline.node, flow()


def _settle(
    cluster: ClusterMap, node: str, sends: Sequence[BufferSend], outcome: Any, patience: Patience
) -> tuple[list[BufferSend], bool]:
    """Take what a node has answered. Returns what is to be sent again, and whether the topology is outdated."""
    to_resend: list[BufferSend] = []
    stale = False
    if isinstance(outcome, NotReachedError):
        for one in sends:
            one.ask_redirect = None
            if patience.over:
                one.flush.error = outcome.__cause__  # type: ignore[assignment]
                one.note(set())
            else:
                to_resend.append(one)
        return to_resend, True
    for one in sends:
        if outcome is None and one.is_plain:
            one.flush.not_replicated = False
            continue
        redirected = one.redirected()
        one.note(set(redirected))
        if isinstance(outcome, Exception):
            # What was redirected stays in the flusher too: sent now, it would come behind what the node may have.
            one.flush.error = outcome
        elif not redirected:
            if one.places is None or one.flush.error is None:
                one.flush.not_replicated = False
        elif patience.over:
            one.refuse(redirected)
            one.flush.not_replicated = False
        else:
            target = next_node(cluster, error_of(redirected[max(redirected)]), node)  # the last reply is the newest
            one.ask_redirect = target.ask_redirect
            stale = stale or target.stale
            one.keep_only(sorted(redirected), cluster.implementation)
            to_resend.append(one)
    if isinstance(outcome, BaseException) and not isinstance(outcome, (RedisError, FluxaError)):
        raise outcome
    return to_resend, stale


def _refresh(generation: int, waiting: list[BufferSend], patience: Patience) -> Flow[list[BufferSend]]:
    """Ask once for the topology, however many buffers wait for it. Returns the buffers that still wait."""
    if pause := patience.next_pause():
        yield Pause(pause)
    try:
        yield Refresh(generation)
    except RedisError as error:
        if patience.over:
            for one in waiting:
                one.flush.error = error
            return []
    return waiting


# ---- one event ------------------------------------------------------------------------------------------


def publish_one(cluster: ClusterMap, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> Flow[str]:
    """Publish one event, and return its ID.

    Raises:
        redis.ConnectionError, redis.TimeoutError: if the connection broke: the node may have the event.
        redis.ResponseError: if the node refuses the event.
    """
    patience = Patience()
    ask_redirect: str | None = None
    while True:
        generation = cluster.generation
        node = ask_redirect or cluster.place(head.stream)
        try:
            if node is None:
                raise ClusterDownError(f"no node of the cluster has the slot of {head.stream!r}")
            if ask_redirect is not None:
                return (yield from _publish_asking(cluster, node, head, body, tags))
            return str((yield Publish(node, head, body, tags)))
        except RedisError as error:
            if not rule_of(error).resent:
                if isinstance(error, (ConnectionError, TimeoutError)):
                    with suppress(RedisError):
                        yield Refresh(generation)  # another node may have the slots by now
                raise
            if patience.over:
                raise
            ask_redirect = None if node is None else next_node(cluster, error, node).ask_redirect
        if ask_redirect is None:
            if pause := patience.next_pause():
                yield Pause(pause)
            yield Refresh(generation)


def _publish_asking(
    cluster: ClusterMap, node: str, head: EntryHead, body: object, tags: Mapping[str, str] | None
) -> Flow[str]:
    """As `publish_one`, at a node that does not have the slot yet."""
    commands = cluster.codec.event_buffer()
    commands.command("ASKING")
    write_event(commands, head, body, tags)

    def asking() -> Flow[str]:
        yield Send(commands)
        yield Receive(OK)
        return id_of((yield Receive(ENTRY_ID)))

    (outcome,) = yield Concurrently([(node, asking())])
    if isinstance(outcome, BaseException):
        raise outcome
    return str(outcome)
