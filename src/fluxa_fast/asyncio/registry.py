"""`Registry`: as that of `fluxa_fast`, for asyncio."""

from __future__ import annotations

import redis.asyncio

from ..redis_adapter.connections import ASYNCIO
from ..registry import RegistryBase
from ..transport.aio.cluster import ClusterPool
from ..transport.aio.pool import Pool
from .engine import Engine

__all__ = ["Registry"]


class Registry(RegistryBase[redis.asyncio.Redis | redis.asyncio.RedisCluster]):
    """Collects pools and streams until `validate` makes an `Engine` of them. None of its methods is awaited.

    Args:
        default: asked for a replacement of every value that msgpack has no type for, when an event is published.

    Raises:
        TypeError: if `default` can't be called.
    """

    def validate(self) -> Engine:
        """Check everything that was registered, and make an engine of it. Does not connect; no event loop is needed.

        Raises:
            RegistryError: with every problem that was found.

        Warns:
            ImplementationWarning: once, if the compiled protocol is missing and the pure one was not asked for.
        """
        return Engine(*self._checked(ASYNCIO, Pool, ClusterPool))
