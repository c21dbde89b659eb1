"""A web service that publishes an event for every order, and responds when Redis has the event.

uvicorn examples.orders.service:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from redis.exceptions import RedisError

from fluxa_fast.asyncio import EventBroker, FlushError

from .streams import STREAM, Order, registry


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with registry().validate() as engine:
        app.state.broker = engine.new_context().get_event_broker()
        yield


def broker_of(request: Request) -> EventBroker:
    broker: EventBroker = request.app.state.broker
    return broker


app = FastAPI(lifespan=lifespan)
Broker = Annotated[EventBroker, Depends(broker_of)]


@app.post("/orders", status_code=201)
async def create(order: Order, broker: Broker) -> dict[str, str]:
    """Publish one order. Requests that arrive at the same time share a round trip to Redis."""
    try:
        return {"event": await broker.publish(STREAM, order, {"action": "created"})}
    except RedisError as error:  # Redis may have the event: if the client tries again, it may be published twice
        raise HTTPException(503, f"no event was confirmed: {error}") from error


@app.post("/orders/import", status_code=201)
async def create_many(orders: list[Order], broker: Broker) -> dict[str, int]:
    """Publish many orders. The event loop serves other requests in between, however many orders there are."""
    flusher = broker.new_flusher()
    await flusher.publish_many(STREAM, orders, {"action": "imported"})
    try:
        return {"events": len(await flusher.flush())}
    except FlushError as error:
        raise HTTPException(503, str(error)) from error


@app.get("/orders/statistics")
async def statistics(broker: Broker) -> dict[str, Any]:
    """Tell how far the workers are behind."""
    found = await broker.get_stream_statistics(STREAM)
    assert found is not None  # the stream is registered
    group = found.group
    return {"events": found.len, "pending": group.pending if group else 0, "oldest": found.oldest_event_seconds}
