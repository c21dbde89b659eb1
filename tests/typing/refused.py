"""What type checkers must refuse. A line that they accept is an error: mypy and pyright complain of comments in vain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

from fluxa_fast import Event, EventConsumer, EventFlusher, Handler, TypedStream, asyncio


async def awaited(events: Sequence[Event]) -> None: ...


def generating(events: Sequence[Event]) -> Iterator[int]:
    yield len(events)


async def generating_awaited(events: Sequence[Event]) -> AsyncIterator[int]:
    yield len(events)


class Service:
    async def handle(self, events: Sequence[Event]) -> None: ...


def given_to_a_blocking_consumer(consumer: EventConsumer) -> None:
    consumer.run(awaited)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.run(generating)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.run(generating_awaited)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.run(Service().handle)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.run(partial(awaited))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.run(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.consume(1, None, awaited)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.consume(1, None, generating)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.auto_claim(1, 1.0, awaited)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    consumer.auto_claim(1, 1.0, generating)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def collected_by_a_flusher_of_the_other_face(
    stream: TypedStream[int], other: asyncio.TypedStream[int], flusher: EventFlusher, awaited: asyncio.EventFlusher
) -> None:
    stream.collect(flusher, 1)
    other.collect(awaited, 1)
    stream.collect(flusher, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    stream.collect(awaited, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    other.collect(flusher, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


handler: Handler = awaited  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
