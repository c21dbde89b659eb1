"""A flush to a cluster: one pipeline for each node, all at the same time; what is redirected is sent again, in order.

Each key has a buffer of its own, because a slot moves with all of its keys. Of what a node refuses for now (MOVED, ASK,
TRYAGAIN, CLUSTERDOWN...) it has nothing, so that is sent again, to whoever has the slot then. Where a connection broke
nobody knows what the node has: that stays in the flusher, as with a single server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from ...errors import FluxaError
from ...protocol.interface import (
    INCOMPLETE,
    CommandBuffer,
    Confirmations,
    EntryHead,
    ErrorReply,
    Implementation,
)
from ..asking import with_asking
from ..replies import ENTRY_ID, OK, error_of, id_of
from ..steps import Concurrently, Connect, Flow, Pause, Pipeline, Publish, Receive, Refresh, Send
from ..topology import ClusterMap, Patience
from .pipeline import BufferFlush, Outcome, Replication, replicated, write_event

__all__ = ["Attempts", "flush_cluster", "publish_one"]

_AGAIN = frozenset({"ASK", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "READONLY", "TRYAGAIN"})


class Attempts:
    """What became of the events of one buffer that was sent more than once; in the place of `Confirmations`.

    Attributes:
        received: replies in all, other than redirections.
        errors: (place, message) of every event that was refused for good.
    """

    def __init__(self, events: int) -> None:
        self._ids: list[str | None] = [None] * events
        self._fates: list[Outcome] = ["unconfirmed"] * events
        self._messages: dict[int, str] = {}

    def add(self, places: Sequence[int], replies: Confirmations, redirected: set[int]) -> None:
        """The replies to those of the events that stand at `places`; `redirected` are places in that."""
        messages = dict(replies.errors)
        ids = iter(replies.ids())
        for at in range(replies.received):
            place = places[at]
            if at in redirected:
                continue
            if at in messages:
                self.refuse(place, messages[at])
            else:
                self._fates[place] = "confirmed"
                self._ids[place] = next(ids)

    def refuse(self, place: int, message: str) -> None:
        """The event at that place was refused for good."""
        self._fates[place] = "refused"
        self._messages[place] = message

    @property
    def received(self) -> int:
        return len(self._fates) - self._fates.count("unconfirmed")

    @property
    def errors(self) -> list[tuple[int, str]]:
        return sorted(self._messages.items())

    def ids(self) -> list[str | None]:
        """The IDs of the confirmed events."""
        return [id for id, fate in zip(self._ids, self._fates, strict=True) if fate == "confirmed"]

    def outcomes(self) -> Iterator[tuple[Outcome, int]]:
        """As `FlushReplies.outcomes`."""
        for fate, run in groupby(self._fates):
            yield fate, len(list(run))


class BufferSend:
    """The events of one buffer that are to be sent, or sent again.

    Attributes:
        flush: what they belong to.
        buffer: their XADDs.
        places: where they stand in the buffer of the flush; None: they are all of it.
        replies: to them.
        asked: the node that is to be asked for them although it does not have the slot yet.
    """

    def __init__(self, flush: BufferFlush, key: str) -> None:
        self.flush = flush
        self.key = key
        self.buffer = flush.buffer
        self.places: Sequence[int] | None = None
        self.replies: Confirmations = flush.replies
        self.replies.expected = self.buffer.command_count
        self.asked: str | None = None

    def redirections(self) -> dict[int, ErrorReply]:
        """The events that can be sent again, by their places in the shipment."""
        return {place: reply for place, message in self.replies.errors if (reply := ErrorReply(message)).code in _AGAIN}

    def note(self, redirected: set[int]) -> None:
        """Add the replies to those of earlier attempts."""
        if not redirected and self.places is None:
            return
        flush = self.flush
        if self.places is None:
            self.places = range(flush.buffer.command_count)
            flush.replies = Attempts(flush.buffer.command_count)
        flush.replies.add(self.places, self.replies, redirected)

    def again(self, redirected: Sequence[int], implementation: Implementation) -> None:
        """Go on with these only."""
        assert self.places is not None
        rest = implementation.CommandBuffer()
        rest.extend(self.buffer)
        rest.keep(redirected)
        self.places = [self.places[at] for at in redirected]
        self.buffer = rest
        self.replies = implementation.Confirmations(len(redirected))

    def give_up(self, redirected: dict[int, ErrorReply]) -> None:
        """Nobody has taken these in time."""
        assert self.places is not None
        for at, reply in redirected.items():
            self.flush.replies.refuse(self.places[at], reply.message)


class _InTurn:
    """The replies to several shipments, one behind the other; `Confirmations` to the link that takes them."""

    def __init__(self, shipments: Sequence[BufferSend]) -> None:
        self._waiting = [_Asked(one.replies) if one.asked else one.replies for one in shipments]
        self._at = 0
        self.expected = sum(one.expected for one in self._waiting)

    def take(self, reader: Any) -> bool:
        """As `Confirmations.take`."""
        while self._at < len(self._waiting):
            if not self._waiting[self._at].take(reader):
                return False
            self._at += 1
        return True


class _Asked:
    """The replies to pairs of ASKING and XADD."""

    def __init__(self, replies: Confirmations) -> None:
        self._replies = replies
        self._wanted = replies.expected
        self._replies.expected = 0
        self.expected = 2 * self._wanted

    def take(self, reader: Any) -> bool:
        while self._replies.received < self._wanted or self._replies.expected < self._wanted:
            if self._replies.received == self._replies.expected:
                if OK(reader) is INCOMPLETE:
                    return False
                self._replies.expected += 1
            if not self._replies.take(reader):
                return False
        return True


class _NotReachedError(Exception):
    """There was no connection, so nothing was sent."""


def _send(
    cluster: ClusterMap, commands: CommandBuffer, shipments: Sequence[BufferSend], replication: Replication | None
) -> Flow[None]:
    """The flow of one node."""
    try:
        yield Connect()
    except (ConnectionError, TimeoutError) as error:
        raise _NotReachedError from error
    yield Pipeline(commands, _InTurn(shipments))  # type: ignore[arg-type]
    # A node that has taken nothing may be a replica by now, which refuses WAIT: its redirections say where to go.
    if replication is not None and any(one.replies.received > len(one.replies.errors) for one in shipments):
        yield from replicated(cluster.implementation.CommandBuffer(), cluster.name, replication)


def flush_cluster(
    cluster: ClusterMap, flushes: Sequence[tuple[str, BufferFlush]], replication: Replication | None
) -> Flow[None]:
    """Send the buffers of these keys. An error of the network ends what goes to that node, and is kept."""
    waiting = [BufferSend(flush, key) for key, flush in flushes]
    under_way: list[BufferSend] = []
    patience = Patience()
    for shipment in waiting:
        shipment.flush.not_replicated = replication is not None
    try:
        while waiting:
            generation = cluster.generation
            by_node, waiting, wanting = _by_node(cluster, waiting, patience)
            jobs = []
            for node, shipments in by_node.items():
                wire = cluster.implementation.CommandBuffer()
                for one in shipments:
                    wire.extend(with_asking(one.buffer) if one.asked else one.buffer)
                jobs.append((node, _send(cluster, wire, shipments, replication)))
            under_way = [one for shipments in by_node.values() for one in shipments]
            outcomes = (yield Concurrently(jobs)) if jobs else []
            under_way = []
            for (node, shipments), outcome in zip(by_node.items(), outcomes, strict=True):
                again, stale = _settle(cluster, node, shipments, outcome, patience)
                waiting += again
                wanting = wanting or stale
            if waiting and wanting:
                yield from _refreshed(generation, waiting, patience)
    except BaseException as interruption:  # Ctrl-C, for one: the account is kept all the same
        for one in under_way:
            one.note(set(one.redirections()))
        closed = isinstance(interruption, FluxaError)
        for _, flush in flushes:
            if flush.error is None:
                told = ConnectionError(f"interrupted by {type(interruption).__name__}")
                flush.error = interruption if closed else told  # type: ignore[assignment]
        if not closed:
            raise


def _refreshed(generation: int, waiting: Sequence[BufferSend], patience: Patience) -> Flow[None]:
    """Ask once for where the slots are, however many events wait for that."""
    if pause := patience.next_pause():
        yield Pause(pause)
    try:
        yield Refresh(generation)
    except RedisError as error:
        if patience.over:
            for one in waiting:
                one.flush.error = error
            waiting.clear()  # type: ignore[attr-defined]


def _by_node(
    cluster: ClusterMap, waiting: Sequence[BufferSend], patience: Patience
) -> tuple[dict[str, list[BufferSend]], list[BufferSend], bool]:
    """The shipments of each node; those for which there is none; and whether the topology is wanting."""
    by_node: dict[str, list[BufferSend]] = {}
    homeless = []
    for one in waiting:
        node = one.asked or cluster.place(one.key)
        if node is None and patience.over:
            one.flush.error = ConnectionError(f"no node of the cluster has the slot of {one.key!r}")
        elif node is None:
            homeless.append(one)
        else:
            by_node.setdefault(node, []).append(one)
    return by_node, homeless, bool(homeless)


def _settle(
    cluster: ClusterMap, node: str, shipments: Sequence[BufferSend], outcome: Any, patience: Patience
) -> tuple[list[BufferSend], bool]:
    """What is to be sent again, and whether the topology is wanting."""
    again: list[BufferSend] = []
    stale = False
    if isinstance(outcome, _NotReachedError):
        for one in shipments:
            one.asked = None
            if patience.over:
                one.flush.error = outcome.__cause__  # type: ignore[assignment]
                one.note(set())
            else:
                again.append(one)
        return again, True
    for one in shipments:
        redirected = one.redirections()
        one.note(set(redirected))
        if isinstance(outcome, Exception):
            # What was redirected stays as well: it would come behind what the node may have.
            one.flush.error = outcome
        elif not redirected:
            if one.places is None or one.flush.error is None:
                one.flush.not_replicated = False
        elif patience.over:
            one.give_up(redirected)
            one.flush.not_replicated = False
        else:
            stale = _follow(cluster, node, one, redirected) or stale
            one.again(sorted(redirected), cluster.implementation)
            again.append(one)
    if isinstance(outcome, BaseException) and not isinstance(outcome, (RedisError, FluxaError)):
        raise outcome
    return again, stale


def _follow(cluster: ClusterMap, node: str, shipment: BufferSend, redirected: dict[int, ErrorReply]) -> bool:
    """Note where a shipment is to go. True if the topology is wanting."""
    error = error_of(redirected[max(redirected)])  # the last one knows best
    shipment.asked = None
    if isinstance(error, AskError):
        target = cluster.redirected(error, node)
        if isinstance(error, MovedError):
            return True
        shipment.asked = target
        return False
    return True


# ---- one event ------------------------------------------------------------------------------------------

_PASSING = (AskError, BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)


def publish_one(cluster: ClusterMap, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> Flow[str]:
    """The ID of one event. Where a connection broke the event may be there: that is told, and not tried again."""
    patience = Patience()
    asked: str | None = None
    while True:
        generation = cluster.generation
        node = asked or cluster.place(head.stream)
        try:
            if node is None:
                raise ClusterDownError(f"no node of the cluster has the slot of {head.stream!r}")
            if asked is not None:
                return (yield from _publish_asking(cluster, node, head, body, tags))
            return str((yield Publish(node, head, body, tags)))
        except _PASSING as error:
            if patience.over:
                raise
            asked = None
            if isinstance(error, AskError):
                assert node is not None
                target = cluster.redirected(error, node)
                asked = None if isinstance(error, MovedError) else target
        except (ConnectionError, TimeoutError):
            with suppress(RedisError):
                yield Refresh(generation)  # somebody else may have its slots by now
            raise
        if asked is None:
            if pause := patience.next_pause():
                yield Pause(pause)
            yield Refresh(generation)


def _publish_asking(
    cluster: ClusterMap, node: str, head: EntryHead, body: object, tags: Mapping[str, str] | None
) -> Flow[str]:
    commands = cluster.implementation.CommandBuffer(cluster.default)
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
