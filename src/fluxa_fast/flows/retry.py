"""Going on after an outage: a lost connection is made again, a server that is not ready is waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.backoff import AbstractBackoff, EqualJitterBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    ResponseError,
    TimeoutError,
)

from ..protocol.interface import ErrorReply
from ..shared.validation import Duration, seconds
from .replies import error_of
from .server_errors import WAITED_FOR, unwrapped
from .steps import Disconnect, Flow, Pause

__all__ = ["FINAL", "OUTAGES", "Outage", "Recovery", "raise_for_error", "recovered"]

log: logging.Logger = logging.getLogger("fluxa_fast")

T = TypeVar("T")

# redis-py counts these as errors of the connection; waiting does not cure them.
FINAL = (AuthenticationError, AuthorizationError)


@dataclass(frozen=True, slots=True, init=False)
class Recovery:
    """How a consumer goes on after a lost connection, or with a server that is not ready.

    Attributes:
        deadline: seconds (or a timedelta), from when an outage is noticed, after which it is raised to the caller;
            ``math.inf``: never.
        base: seconds (or a timedelta), at least 0.001; the delay before the second try, about. Each following delay is
            twice as long.
        cap: seconds (or a timedelta), at least 0.001; the longest delay.
        backoff: one of redis-py's back-off classes, instead of ``EqualJitterBackoff(cap, base)``. A delay that it
            computes is at least 0.001 seconds.

    Raises:
        TypeError, ValueError: if an argument is none of that; the error names it.
    """

    deadline: float
    base: float
    cap: float
    backoff: AbstractBackoff | None

    def __init__(
        self,
        deadline: Duration = 30.0,
        base: Duration = 0.05,
        cap: Duration = 2.0,
        backoff: AbstractBackoff | None = None,
    ) -> None:
        if backoff is not None and not isinstance(backoff, AbstractBackoff):
            raise TypeError(f"backoff is an object of one of the classes in redis.backoff, not {backoff!r}")
        checked: dict[str, Any] = {
            "deadline": seconds("deadline", deadline, infinite=True),
            "base": seconds("base", base),
            "cap": seconds("cap", cap),
            "backoff": backoff,
        }
        for name in ("base", "cap"):
            if checked[name] < _SHORTEST_DELAY:
                raise ValueError(f"{name} is at least {_SHORTEST_DELAY} seconds, not {checked[name]:g}")
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # the class is frozen

    def delay(self, failures: int) -> float:
        """Seconds to wait before the next try, after `failures` earlier failures."""
        backoff = self.backoff or EqualJitterBackoff(self.cap, self.base)
        if not failures:
            backoff.reset()  # type: ignore[no-untyped-call]
        # redis-py raises 2 to this power, and multiplies it with a float: there is a largest one.
        return max(_SHORTEST_DELAY, backoff.compute(min(failures, _LARGEST_POWER)))


class ServerNotReadyError(Exception):
    """Carries the server's error to `recovered`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


_SHORTEST_DELAY = 0.001  # seconds
_LARGEST_POWER = 64
_REDIRECTIONS = 5  # in a row that are followed without a pause

OUTAGES = (ConnectionError, TimeoutError, ServerNotReadyError)
"""What `recovered` waits for to pass."""


def raise_for_error(reply: Any) -> Any:
    """The reply, if it is no error.

    Raises:
        ServerNotReadyError: for an error that passes; `recovered` waits for that.
        redis.ResponseError: for any other error.
    """
    if isinstance(reply, ErrorReply):
        told = unwrapped(reply)
        error = error_of(told)
        raise ServerNotReadyError(error) if told.code in WAITED_FOR else error
    return reply


class Outage:
    """What befalls one consumer: its conversations may meet the same outage, and the log is told once.

    Args:
        who: is cut off.
    """

    __slots__ = ("_began", "_waiting", "_who")

    def __init__(self, who: str) -> None:
        self._who = who
        self._waiting = 0  # conversations that wait for it to pass
        self._began = 0.0

    def entered(self, error: Exception, recovery: Recovery) -> None:
        """A conversation waits from now on."""
        if not self._waiting:
            self._began = time.monotonic()
            log.warning("%s is cut off, trying again for %g s: %s", self._who, recovery.deadline, error)
        self._waiting += 1

    def resolved(self, tries: int, *, over: bool) -> None:
        """It waits no longer, perhaps because the outage is over."""
        self._waiting -= 1
        if over and not self._waiting:
            seconds = time.monotonic() - self._began
            log.warning("%s is back after %.1f s and %d tries", self._who, seconds, tries)


def recovered(
    recovery: Recovery,
    outage: Outage,
    attempt: Callable[[], Flow[T]],
    stopped: Callable[[], bool] = lambda: False,
    located: Callable[[ResponseError], ResponseError] = lambda error: error,
) -> Flow[T | None]:
    """The result of `attempt`, tried again until no outage meets it. None if `stopped` during an outage.

    What is attempted must be safe to repeat. `located` adds to an error that lasts which stream it is about.
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
            except ResponseError as lasting:
                raise located(lasting) from None
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
                    outage.entered(error, recovery)
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
            outage.resolved(failures, over=over)
