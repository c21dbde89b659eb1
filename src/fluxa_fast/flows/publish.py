"""Publishing: one event at a time, or a flusher's buffers with an account of every event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from redis.exceptions import ConnectionError, RedisError

from ..errors import FlushError, RefusedEvent, SerializationError, UnconfirmedEvents
from ..protocol.interface import CommandBuffer, Confirmations, EntryHead, ErrorReply, EventWriter
from .replies import error_of
from .steps import Flow, Pipeline, ask

__all__ = ["FlushResult", "PoolFlush", "publish", "settle_flush"]

Order = Sequence[tuple[int, int]]
"""Runs of (index of the pool, number of events), in the order of publishing."""


def publish(commands: CommandBuffer, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> Flow[str]:
    """Publish one event, and return its ID."""
    try:
        commands.entry(head, body, tags)
    except SerializationError as error:
        error.stream = head.stream
        raise
    reply = yield from ask(commands)
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

    def flow(self) -> Flow[None]:
        """Send the buffer and count the replies. An error of the network ends it, and is kept."""
        try:
            yield Pipeline(self.buffer, self.replies)
        except RedisError as error:
            self.error = error
        except BaseException as interruption:  # Ctrl-C, for one: the account is kept all the same
            self.error = ConnectionError(f"interrupted by {type(interruption).__name__}")
            raise

    @property
    def complete(self) -> bool:
        return self.error is None and not self.replies.errors


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
        seen = [0] * len(self._replies)
        ids: list[str] = []
        for index, count in self._order:
            for position in range(seen[index], min(seen[index] + count, self._replies[index].received)):
                if position not in refused[index]:
                    ids.append(next(confirmed[index]))  # type: ignore[arg-type]
            seen[index] += count
        return ids

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
    account = _Account(order, flushes)
    for flush, kept in zip(flushes, account.kept, strict=True):
        flush.buffer.keep(kept)
    writer.restart(account.order)
    raise FlushError(result, account.refused, account.unconfirmed)


@dataclass(slots=True)
class _Account:
    """What was not confirmed, by position in the order of publishing."""

    runs: Order
    flushes: Sequence[PoolFlush]
    refused: list[RefusedEvent] = field(default_factory=list)
    unconfirmed: list[UnconfirmedEvents] = field(default_factory=list)
    kept: list[list[int]] = field(default_factory=list)
    order: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept = [[] for _ in self.flushes]
        refusals = [dict(flush.replies.errors) for flush in self.flushes]
        streams = [
            dict(zip(refused, flush.buffer.keys(refused), strict=True))
            for flush, refused in zip(self.flushes, refusals, strict=True)
        ]
        lost: list[list[int]] = [[] for _ in self.flushes]
        for position, index, place in self._events():
            if place in refusals[index]:
                error = error_of(ErrorReply(refusals[index][place]))
                self.refused.append(
                    RefusedEvent(position, streams[index][place], self.flushes[index].pool, error)
                )
            elif place >= self.flushes[index].replies.received:
                lost[index].append(position)
            else:
                continue
            self._keep(index, place)
        for flush, positions in zip(self.flushes, lost, strict=True):
            if positions and flush.error is not None:
                self.unconfirmed.append(UnconfirmedEvents(flush.pool, positions, flush.error))

    def _events(self) -> Iterator[tuple[int, int, int]]:
        """(position in the order of publishing, index of the pool, place in its buffer)"""
        position = 0
        places = [0] * len(self.flushes)
        for index, count in self.runs:
            for _ in range(count):
                yield position, index, places[index]
                position += 1
                places[index] += 1

    def _keep(self, index: int, place: int) -> None:
        self.kept[index].append(place)
        if self.order and self.order[-1][0] == index:
            self.order[-1] = (index, self.order[-1][1] + 1)
        else:
            self.order.append((index, 1))
