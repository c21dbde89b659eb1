"""Several calls of a handler at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..flows.consume.group_member import GroupMember
from ..flows.consume.reading import next_batch
from ..shared.handlers import HandlerFailedError, call_awaiting
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.driver import Driver
from ..transport.aio.link import Link
from ..transport.aio.pool import Pool
from .acknowledging import Acknowledging

__all__ = ["run_concurrently"]


async def run_concurrently(
    pool: Pool | ClusterPool,
    link: Link,
    member: GroupMember,
    handler: Callable[[Sequence[Any]], Any],
    count: int,
    limit: int,
) -> None:
    """Hand over batch after batch until `stop()`, up to `limit` of them at once; each is acknowledged when handled.

    While pending entries are replayed, one batch is handed over at a time: the server lists them from the beginning, so
    those that are being handled would come again.
    """
    acknowledging = Acknowledging(pool, member, pending=not member.at_most_once)
    replayed = Acknowledging(pool, member)
    slots = asyncio.Semaphore(limit)
    running: set[asyncio.Task[None]] = set()
    starting: deque[Sequence[Any]] = deque()  # the batches of tasks that were made and have not begun

    def too_late() -> bool:
        return member.stopping.is_set() and not member.at_most_once  # what was read at most once would be lost

    async def work(events: Sequence[Any], acknowledging: Acknowledging) -> None:
        starting.popleft()  # tasks begin in the order in which they were made
        if too_late():
            slots.release()
            requeue(member, events)
            return
        done = False
        try:
            await call_awaiting(handler, list(events))  # a copy: what is acknowledged is not what the handler holds
            await acknowledging.all(events)
            done = True
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise HandlerFailedError(error) from None  # a group of tasks would pass over it
            raise
        finally:
            slots.release()
            if not done:
                member.replaying = True

    async def read_and_start() -> None:
        if member.replaying and running:
            await asyncio.wait(running)
            return
        replay = member.replaying
        events = await Driver(link).drive(next_batch(member, count))
        if not events:
            return
        starting.append(events)
        await slots.acquire()
        task = group.create_task(work(events, replayed if replay else acknowledging))
        running.add(task)
        task.add_done_callback(running.discard)

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            while not member.stopping.is_set():
                await read_and_start()
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
        failure = first.error if isinstance(first, HandlerFailedError) else first
    finally:
        for events in starting:
            requeue(member, events)
    if failure is not None:
        raise failure  # outside of the block above, so that its cause and context stay its own


def requeue(member: GroupMember, events: Sequence[Any]) -> None:
    """These events were read, and nobody was given them."""
    if member.at_most_once:
        member.in_hand += events
    else:
        member.replaying = True
