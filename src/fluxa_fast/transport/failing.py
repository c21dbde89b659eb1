"""Errors of the network, in the words that users know."""

from __future__ import annotations

import builtins
import copy

from redis.exceptions import ConnectionError, TimeoutError

__all__ = ["network_error", "told_again"]


def network_error(error: OSError, doing: str, pool: str) -> ConnectionError | TimeoutError:
    """redis-py's exception for it."""
    told = f"while {doing} Redis pool {pool!r}"
    if isinstance(error, builtins.TimeoutError):
        return TimeoutError(f"timeout {told}")
    return ConnectionError(f"error {told}: {error}")


def told_again(error: Exception) -> Exception:
    """A copy for another task, because tasks add their tracebacks to an exception."""
    own = copy.copy(error)
    own.__cause__ = error
    return own
