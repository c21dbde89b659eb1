"""A web service that publishes an event for every order, and answers when Redis has it.

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
    """Requests that come at the same time share a round trip to Redis."""
    try:
        return {"event": await broker.publish(STREAM, order, {"action": "created"})}
    except RedisError as error:  # it may be there all the same: a client that tries again may create it twice
        raise HTTPException(503, f"no event was confirmed: {error}") from error


@app.post("/orders/import", status_code=201)
async def create_many(orders: list[Order], broker: Broker) -> dict[str, int]:
    """However many there are, other requests are served in between."""
    flusher = broker.new_flusher()
    await flusher.publish_many(STREAM, orders, {"action": "imported"})
    try:
        return {"events": len(await flusher.flush())}
    except FlushError as error:
        raise HTTPException(503, str(error)) from error


@app.get("/orders/statistics")
async def statistics(broker: Broker) -> dict[str, Any]:
    """How far the workers are behind."""
    found = await broker.get_stream_statistics(STREAM)
    assert found is not None  # the stream is registered
    group = found.group
    return {"events": found.len, "pending": group.pending if group else 0, "oldest": found.oldest_event_seconds}
