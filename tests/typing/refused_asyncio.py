"""As `refused`, for the consumers of `fluxa_fast.asyncio`, which await async handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from fluxa_fast.asyncio import Event, EventBroker, EventConsumer, Handler


def plain(events: Sequence[Event]) -> None: ...


async def awaited(events: Sequence[Event]) -> None: ...


def generating(events: Sequence[Event]) -> Iterator[int]:
    yield len(events)


async def generating_awaited(events: Sequence[Event]) -> AsyncIterator[int]:
    yield len(events)


async def given_to_a_consumer(consumer: EventConsumer) -> None:
    await consumer.run(plain)
    await consumer.run(awaited, concurrency=8)
    await consumer.run(generating)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await consumer.run(generating_awaited)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await consumer.consume(1, None, generating)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await consumer.auto_claim(1, 1.0, generating_awaited)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


handlers: list[Handler] = [plain, awaited]


async def not_awaited(events: Sequence[Event], consumer: EventConsumer, broker: EventBroker) -> None:
    await events[0].ack()
    events[0].ack()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    consumer.run(plain)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    broker.publish("orders", 1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    broker.new_flusher().flush()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
