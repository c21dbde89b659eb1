"""Publishing: one event at a time, or a flusher's buffers with an account of every event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis.exceptions import ConnectionError, RedisError

from ..errors import FlushError, RefusedEvent, SerializationError, UnconfirmedEvents
from ..protocol.interface import CommandBuffer, Confirmations, EntryHead, ErrorReply, EventWriter
from .replies import error_of
from .steps import Flow, Pipeline, Push

__all__ = ["FlushResult", "PoolFlush", "id_of", "retain", "settle_flush", "write_event"]

Order = Sequence[tuple[int, int]]
"""Runs of (index of the pool, number of events), in the order of publishing."""


# One event is published in two halves, with a question to the server between them: a flow would take longer than both.


def write_event(commands: CommandBuffer, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> None:
    """The first half: the XADD."""
    try:
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

    def push(self) -> Flow[None]:
        """Begin to send what is in the buffer so far. After an error nothing more is sent until `flow` has told it."""
        if self.error is None:
            self.replies.expected = self.buffer.commands
            yield from self._kept(Push(self.buffer, self.replies))

    def flow(self) -> Flow[None]:
        """Send the buffer and count the replies. An error of the network ends it, and is kept."""
        self.replies.expected = self.buffer.commands
        if self.error is not None or not self.buffer.commands:
            return
        yield from self._kept(Pipeline(self.buffer, self.replies))

    def _kept(self, step: Pipeline) -> Flow[None]:
        try:
            yield step
        except RedisError as error:
            self.error = error
        except BaseException as interruption:  # Ctrl-C, for one: the account is kept all the same
            self.error = ConnectionError(f"interrupted by {type(interruption).__name__}")
            raise

    @property
    def complete(self) -> bool:
        """Whether every event was confirmed. A flush that never began is not complete either."""
        return self.replies.received == self.buffer.commands and not self.replies.errors


class FlushResult(Sequence[str]):
    """The IDs of the events that a flush confirmed, in the order of publishing. They are decoded when first used."""

    def __init__(self, order: Order, replies: Sequence[Confirmations]) -> None:
        self._order = order
        self._replies = replies
        self._count = sum(reply.received - len(reply.errors) for reply in replies)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def ids(self) -> list[str]:
        """The ID of every confirmed event."""
        if len(self._replies) == 1:
            return list(self._replies[0].ids())  # type: ignore[arg-type]
        confirmed = [iter(reply.ids()) for reply in self._replies]
        refused = [{position for position, _ in reply.errors} for reply in self._replies]
        return [
            next(confirmed[index])  # type: ignore[misc]
            for _, index, place in _events(self._order, len(self._replies))
            if place < self._replies[index].received and place not in refused[index]
        ]

    def __getitem__(self, index: Any) -> Any:
        return self.ids[index]

    def __repr__(self) -> str:
        return f"<FlushResult: {len(self)} events>"


def settle_flush(flushes: Sequence[PoolFlush], writer: EventWriter) -> FlushResult:
    """Keep in the buffers what was not confirmed, and say what became of every event.

    Raises:
        FlushError: unless all events were confirmed.
    """
    order = writer.order
    result = FlushResult(order, [flush.replies for flush in flushes])
    if all(flush.complete for flush in flushes):
        for flush in flushes:
            flush.buffer.clear()
        writer.restart(())
        return result
    refusals = [dict(flush.replies.errors) for flush in flushes]
    refused = list(_refused(order, flushes, refusals))
    unconfirmed = list(_unconfirmed(order, flushes))

    def is_kept(index: int, place: int) -> bool:
        return place in refusals[index] or place >= flushes[index].replies.received

    retain([flush.buffer for flush in flushes], writer, is_kept)
    raise FlushError(result, refused, unconfirmed)


def _refused(
    order: Order, flushes: Sequence[PoolFlush], refusals: Sequence[Mapping[int, str]]
) -> Iterator[RefusedEvent]:
    streams = [
        dict(zip(messages, flush.buffer.keys(messages), strict=True))
        for flush, messages in zip(flushes, refusals, strict=True)
    ]
    for position, index, place in _events(order, len(flushes)):
        message = refusals[index].get(place)
        if message is not None:
            yield RefusedEvent(position, streams[index][place], flushes[index].pool, error_of(ErrorReply(message)))


def _unconfirmed(order: Order, flushes: Sequence[PoolFlush]) -> Iterator[UnconfirmedEvents]:
    lost: list[list[int]] = [[] for _ in flushes]
    for position, index, place in _events(order, len(flushes)):
        if place >= flushes[index].replies.received:
            lost[index].append(position)
    for flush, positions in zip(flushes, lost, strict=True):
        if positions and flush.error is not None:
            yield UnconfirmedEvents(flush.pool, positions, flush.error)


def retain(buffers: Sequence[CommandBuffer], writer: EventWriter, is_kept: Callable[[int, int], bool]) -> None:
    """Drop all events but those for which `is_kept` (index of the buffer, place in it) is true; the order stays."""
    kept: list[list[int]] = [[] for _ in buffers]
    runs: list[tuple[int, int]] = []
    for _, index, place in _events(writer.order, len(buffers)):
        if is_kept(index, place):
            kept[index].append(place)
            before = runs.pop()[1] if runs and runs[-1][0] == index else 0
            runs.append((index, before + 1))
    for buffer, places in zip(buffers, kept, strict=True):
        buffer.keep(places)
    writer.restart(runs)


def _events(order: Order, pools: int) -> Iterator[tuple[int, int, int]]:
    """(position in the order of publishing, index of the pool, place in its buffer) of every event."""
    position = 0
    places = [0] * pools
    for index, count in order:
        for _ in range(count):
            yield position, index, places[index]
            position += 1
            places[index] += 1
