"""`Registry`, for asyncio."""

from __future__ import annotations

import redis.asyncio

from ..redis_adapter.pools import ASYNCIO
from ..registry import RegistryBase
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.pool import Pool
from .engine import Engine

__all__ = ["Registry"]


class Registry(RegistryBase[redis.asyncio.Redis | redis.asyncio.RedisCluster]):
    """Collects pools and streams until `validate` makes an `Engine` of them. None of its methods is awaited.

    Args:
        default: called with every value of an event that msgpack has no type for; returns what to write in its place.
        hooks: are told what the engine does: `Hooks`, or several of them.
    """

    def validate(self) -> Engine:
        """Check everything that was registered, and make an engine of it. Does not connect; no event loop is needed.

        Raises:
            RegistryError: with every problem that was found.

        Warns:
            ImplementationWarning: once, if the compiled protocol is missing and FLUXA_FAST_IMPL does not ask for the
                pure one.
        """
        return Engine(*self._checked(ASYNCIO, Pool, ClusterPool), self._hooks)
