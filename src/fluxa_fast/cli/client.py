"""A client of redis-py for what the command asks of a server by itself."""

from __future__ import annotations

import redis

from ..errors import RegistryError
from ..transport.addresses import checked_url, shown

__all__ = ["client_of"]


def client_of(url: str) -> redis.Redis:
    """A client of the server at that URL.

    Raises:
        RegistryError: for a URL that can't be one.
    """
    try:
        checked_url(url)
        return redis.Redis.from_url(url)
    except ValueError as error:
        raise RegistryError([f"{shown(url)}: {error}"]) from None
