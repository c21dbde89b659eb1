"""The stream that the service and the workers share, and the type of its bodies."""

from __future__ import annotations

import os

from pydantic import BaseModel

from fluxa_fast.asyncio import Registry

STREAM = "order-events"


class Order(BaseModel):
    """The body of an event."""

    user_id: int
    product_id: int
    quantity: int = 1


def registry() -> Registry:
    """Return a registry of the stream, on the server that REDIS_URL names."""
    registry = Registry()
    registry.register_redis(os.environ.get("REDIS_URL", "redis://localhost:6379"))
    registry.register_redis_stream(STREAM)
    return registry
