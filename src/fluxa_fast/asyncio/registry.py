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
            For a type that has a form of its own (UUID, Decimal, set...) it may return NotImplemented.
        decode: the counterpart of `default`. Called with a class that is asked for and that fluxa_fast does not know,
            and the plain value; returns a value of that class. Called with `msgpack.ExtType` for every extension that
            fluxa_fast does not know.
        encode_body: called with the msgpack bytes of every body; returns the bytes to store, such as compressed ones.
        decode_body: the counterpart of `encode_body`: called with the stored bytes; returns msgpack.
        hooks: are told what the engine does: `Hooks`, or several of them.
        prefix: stands in Redis in front of the name of every stream, so that several environments can share a server:
            with ``"staging:"`` the stream ``orders`` is the Redis key ``staging:orders``.
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
