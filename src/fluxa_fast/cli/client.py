"""A redis-py client for the questions that the command itself asks a server."""

from __future__ import annotations

from typing import Any

import redis
from redis.exceptions import RedisClusterException

from ..errors import RegistryError
from ..redis_adapter.addresses import checked_url, redacted
from ..redis_adapter.pools import (
    BLOCKING,
    PoolSpec,
    cluster_client,
    connection_pool,
    is_cluster,
    told_without_secrets,
)

__all__ = ["client_of"]


def client_of(url: str) -> Any:
    """Return a client of the server or the cluster at a URL: a `redis.Redis` or a `redis.RedisCluster`.

    Raises:
        RegistryError: if the URL is wrong.
        redis.ConnectionError: if no node of a cluster answers.
    """
    spec = PoolSpec(url)
    try:
        if is_cluster(spec):
            return cluster_client(spec, BLOCKING)()
        checked_url(url)
        connection_pool(spec, BLOCKING)  # checks the options as well
        return redis.Redis.from_url(url)
    except (ValueError, TypeError, redis.RedisError) as error:
        if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
            raise
        raise RegistryError([f"{redacted(url)}: {told_without_secrets(error, spec)}"]) from None
    except RedisClusterException as error:
        raise redis.ConnectionError(f"{redacted(url)}: {error}") from error
