"""A worker that handles orders, until it is told to stop. Start as many as you like.

python -m examples.orders.worker
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress

from fluxa_fast.asyncio import Event, EventBroker, EventConsumer

from .streams import STREAM, Order, registry

log = logging.getLogger("orders")

_CALLS = 8  # of the handler at the same time
_ABANDONED = 60.0  # seconds after which other workers' events are taken over


async def handle(events: Sequence[Event]) -> None:
    """Your work: write to a database, call a service... An exception leaves these events to be delivered again."""
    orders = [event.unserialize(Order) for event in events]
    await asyncio.sleep(0)
    log.info("handled %d orders of %d users", len(orders), len({order.user_id for order in orders}))


async def take_over(broker: EventBroker) -> None:
    """Now and then, handle what workers left behind that are gone."""
    async with broker.consumer_many(STREAM) as consumer:
        while True:
            await consumer.auto_claim(count=100, min_idle=_ABANDONED, handler=handle)
            await asyncio.sleep(_ABANDONED / 2)


def stop_on_signals(consumer: EventConsumer) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C cancels instead, which loses nothing either
            loop.add_signal_handler(number, consumer.stop)


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    async with registry().validate() as engine:
        broker = engine.new_context().get_event_broker()
        async with broker.consumer_many(STREAM) as consumer:
            stop_on_signals(consumer)
            beside = asyncio.create_task(take_over(broker))
            try:
                await consumer.run(handle, count=100, concurrency=_CALLS)
            finally:
                beside.cancel()
                await asyncio.wait([beside])
    log.info("stopped")


if __name__ == "__main__":
    asyncio.run(main())
