"""Errors of the network, in the words that users know."""

from __future__ import annotations

import builtins

from redis.exceptions import ConnectionError, TimeoutError

__all__ = ["network_error"]


def network_error(error: OSError, doing: str, pool: str) -> ConnectionError | TimeoutError:
    """redis-py's exception for it."""
    told = f"while {doing} Redis pool {pool!r}"
    if isinstance(error, builtins.TimeoutError):
        return TimeoutError(f"timeout {told}")
    return ConnectionError(f"error {told}: {error}")
