"""Going on after an outage: a lost connection is made again, a server that is not ready is waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.backoff import EqualJitterBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, ConnectionError, TimeoutError

from ..protocol.interface import ErrorReply
from .replies import error_of
from .steps import Disconnect, Flow, Pause

__all__ = ["OUTAGES", "Recovery", "checked", "recovered"]

log = logging.getLogger("fluxa_fast")

T = TypeVar("T")

# What a server says that will serve again, or whose place another one takes.
_NOT_READY = frozenset({"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"})
# redis-py counts these as errors of the connection; waiting does not cure them.
_FINAL = (AuthenticationError, AuthorizationError)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a consumer goes on after a lost connection, or with a server that is not ready.

    Attributes:
        deadline: seconds after which an outage is raised to the caller.
        base: seconds; the delay before the second try, about. Each following one is twice as long.
        cap: seconds; the longest delay.
    """

    deadline: float = 30.0
    base: float = 0.05
    cap: float = 2.0


class ServerNotReadyError(Exception):
    """Carries the server's error to `recovered`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


OUTAGES = (ConnectionError, TimeoutError, ServerNotReadyError)
"""What `recovered` waits for to pass."""


def checked(reply: Any) -> Any:
    """The reply, if it is no error.

    Raises:
        ServerNotReadyError: for an error that passes; `recovered` waits for that.
        redis.ResponseError: for any other error.
    """
    if isinstance(reply, ErrorReply):
        error = error_of(reply)
        raise ServerNotReadyError(error) if reply.code in _NOT_READY else error
    return reply


def recovered(
    recovery: Recovery, attempt: Callable[[], Flow[T]], stopped: Callable[[], bool] = lambda: False
) -> Flow[T | None]:
    """The result of `attempt`, tried again until it isn't met by an outage. None if `stopped` during one.

    What is attempted must be safe to repeat.
    """
    failures = 0
    began = 0.0
    backoff = EqualJitterBackoff(recovery.cap, recovery.base)
    while True:
        try:
            result = yield from attempt()
        except _FINAL:
            raise
        except OUTAGES as failure:
            error = failure.error if isinstance(failure, ServerNotReadyError) else failure
            if not failures:
                began = time.monotonic()
                log.warning("Redis can't be reached, trying again for %g s: %s", recovery.deadline, error)
            delay = backoff.compute(failures)
            failures += 1
            if time.monotonic() + delay > began + recovery.deadline:
                raise error from None
            yield Disconnect()
            if stopped():
                return None
            yield Pause(delay)
        else:
            if failures:
                log.warning("Redis is back after %.1f s and %d tries", time.monotonic() - began, failures)
            return result
