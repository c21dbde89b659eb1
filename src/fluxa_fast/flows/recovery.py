"""Going on after an outage: a lost connection is made again, a server that is not ready is waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.backoff import AbstractBackoff, EqualJitterBackoff
from redis.exceptions import AskError, AuthenticationError, AuthorizationError, ConnectionError, TimeoutError

from ..protocol.interface import ErrorReply
from .replies import error_of
from .steps import Disconnect, Flow, Pause

__all__ = ["FINAL", "OUTAGES", "Outage", "Recovery", "checked", "recovered"]

log: logging.Logger = logging.getLogger("fluxa_fast")

T = TypeVar("T")

# What a server says that will serve again, or whose place another one takes.
_NOT_READY = frozenset(
    {
        "ASK",
        "BUSY",  # it runs somebody's slow script
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MOVED",
        "MISCONF",  # it can't write to its disk, which is full
        "NOREPLICAS",  # fewer of them are connected than min-replicas-to-write
        "OOM",
        "READONLY",
        "TRYAGAIN",
    }
)
# redis-py counts these as errors of the connection; waiting does not cure them.
FINAL = (AuthenticationError, AuthorizationError)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a consumer goes on after a lost connection, or with a server that is not ready.

    Attributes:
        deadline: seconds, from when an outage is noticed, after which it is raised to the caller; ``math.inf``: never.
        base: seconds; the delay before the second try, about. Each following one is twice as long.
        cap: seconds; the longest delay.
        backoff: one of redis-py's back-off classes, instead of ``EqualJitterBackoff(cap, base)``.
    """

    deadline: float = 30.0
    base: float = 0.05
    cap: float = 2.0
    backoff: AbstractBackoff | None = None

    def delay(self, failures: int) -> float:
        """Seconds to wait after a failure that so many others went before."""
        backoff = self.backoff or EqualJitterBackoff(self.cap, self.base)
        if not failures:
            backoff.reset()  # type: ignore[no-untyped-call]
        # redis-py raises 2 to this power, and multiplies it with a float: there is a largest one.
        return backoff.compute(min(failures, _LARGEST_POWER))


class ServerNotReadyError(Exception):
    """Carries the server's error to `recovered`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


_LARGEST_POWER = 64
_REDIRECTIONS = 5  # in a row that are followed without a pause

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


class Outage:
    """What befalls one consumer: its conversations may meet the same outage, and the log is told once.

    Args:
        who: is cut off.
    """

    __slots__ = ("_began", "_met", "_who")

    def __init__(self, who: str) -> None:
        self._who = who
        self._met = 0  # conversations that wait for it to pass
        self._began = 0.0

    def met(self, error: Exception, recovery: Recovery) -> None:
        """A conversation waits from now on."""
        if not self._met:
            self._began = time.monotonic()
            log.warning("%s is cut off, trying again for %g s: %s", self._who, recovery.deadline, error)
        self._met += 1

    def left(self, tries: int, *, over: bool) -> None:
        """It waits no longer, perhaps because the outage is over."""
        self._met -= 1
        if over and not self._met:
            seconds = time.monotonic() - self._began
            log.warning("%s is back after %.1f s and %d tries", self._who, seconds, tries)


def recovered(
    recovery: Recovery, outage: Outage, attempt: Callable[[], Flow[T]], stopped: Callable[[], bool] = lambda: False
) -> Flow[T | None]:
    """The result of `attempt`, tried again until it isn't met by an outage. None if `stopped` during one.

    What is attempted must be safe to repeat.
    """
    failures = 0
    redirections = 0
    began = 0.0
    over = False
    try:
        while True:
            try:
                result = yield from attempt()
            except FINAL:
                raise
            except OUTAGES as failure:
                error = failure.error if isinstance(failure, ServerNotReadyError) else failure
                if isinstance(error, AskError) and redirections < _REDIRECTIONS:  # that is no outage
                    redirections += 1
                    yield Disconnect(error)
                    continue
                began = began or time.monotonic()
                delay = recovery.delay(failures)
                if time.monotonic() + delay > began + recovery.deadline:
                    raise error from None
                if not failures:
                    outage.met(error, recovery)
                failures += 1
                yield Disconnect(error)
                if stopped():
                    return None
                yield Pause(delay)
            else:
                over = True
                return result
    finally:
        if failures:
            outage.left(failures, over=over)
