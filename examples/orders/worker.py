"""A worker that handles orders until SIGINT or SIGTERM stops it. Start as many workers as you like.

python -m examples.orders.worker
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress

from fluxa_fast.asyncio import Event, EventConsumer

from .streams import STREAM, Order, registry

log = logging.getLogger("orders")

_CALLS = 8  # how many calls of the handler run at the same time
_ABANDONED = 60.0  # seconds after which what another worker has left pending is taken over


async def handle(events: Sequence[Event]) -> None:
    """Do your work: write to a database, call a service... After an exception these events are delivered again."""
    orders = [event.unserialize(Order) for event in events]
    await asyncio.sleep(0)
    log.info("handled %d orders of %d users", len(orders), len({order.user_id for order in orders}))


def stop_on_signals(consumer: EventConsumer) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows Ctrl-C cancels the task instead, which loses no event either
            loop.add_signal_handler(number, consumer.stop)


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    async with registry().validate() as engine:
        broker = engine.new_context().get_event_broker()
        async with broker.consumer_many(STREAM) as consumer:
            stop_on_signals(consumer)
            await consumer.run(handle, count=100, concurrency=_CALLS, claim_idle=_ABANDONED)
    log.info("stopped")


if __name__ == "__main__":
    asyncio.run(main())
