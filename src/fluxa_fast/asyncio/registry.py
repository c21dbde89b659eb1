"""What exists, as `fluxa_fast.Registry` collects it, for asyncio."""

from __future__ import annotations

import redis.asyncio

from ..redis_adapter.pools import ASYNCIO
from ..registry import RegistryBase
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.pool import Pool
from .engine import Engine

__all__ = ["Registry"]


class Registry(RegistryBase[redis.asyncio.Redis | redis.asyncio.RedisCluster]):
    """Collects pools and streams until `validate` makes an `Engine` of them. Nothing of it has to be awaited.

    Args:
        default: asked for a replacement of every value that msgpack has no type for, when an event is published.
        hooks: are told what the engine does: `Hooks`, or several of them.
    """

    def validate(self) -> Engine:
        """Check everything that was registered, and make an engine of it. Does not connect; no event loop is needed.

        Raises:
            RegistryError: with every problem that was found.

        Warns:
            ImplementationWarning: once, if the compiled protocol is missing and nobody asked for the pure one.
        """
        return Engine(*self._checked(ASYNCIO, Pool, ClusterPool), self._hooks)
