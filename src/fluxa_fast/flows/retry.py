"""Trying again: how long to wait before the next attempt, and when to give up.

Two kinds of callers wait. A consumer waits out an outage, as its `Recovery` says: a lost connection is made again, a
server that is not ready is waited for. One call over the nodes of a cluster sends a command again for a few seconds
(`Patience`), which is what a failover or a slot that moves takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.backoff import AbstractBackoff, EqualJitterBackoff
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from ..hooks import Hooks, OutageReport
from ..protocol.interface import ErrorReply
from ..shared.validation import Duration, seconds
from .replies import error_of
from .server_errors import Verdict, rule_of, unwrapped, verdict_of
from .steps import Disconnect, Flow, Pause

__all__ = [
    "OUTAGES",
    "Backoff",
    "Outage",
    "Patience",
    "Recovery",
    "ServerNotReadyError",
    "outage_of",
    "raise_for_error",
    "recovered",
    "shared_delay",
]

log: logging.Logger = logging.getLogger("fluxa_fast")

T = TypeVar("T")

_SHORTEST_DELAY = 0.001  # seconds
_LARGEST_POWER = 64
_REDIRECTIONS = 5  # in a row that are followed without a pause

# ---- how long a consumer waits --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, init=False)
class Recovery:
    """How a consumer goes on after a lost connection, or with a server that is not ready.

    Attributes:
        deadline: seconds (or a timedelta), from when an outage is noticed, after which it is raised to the caller;
            ``math.inf``: never.
        base: seconds (or a timedelta), at least 0.001; the approximate delay before the second attempt. Each following
            delay is twice as long.
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
        """Seconds to wait before the next attempt, after `failures` earlier failures."""
        backoff = self.backoff or EqualJitterBackoff(self.cap, self.base)
        if not failures:
            backoff.reset()  # type: ignore[no-untyped-call]
        # redis-py computes 2 ** failures, and multiplies that with a float: a larger power would overflow.
        return max(_SHORTEST_DELAY, backoff.compute(min(failures, _LARGEST_POWER)))


class Outage:
    """Tracks an outage of one consumer, so that it is logged once.

    A consumer may have several connections. Each of them may meet the same outage.

    Args:
        who: the consumer, in the words of the log.
        hooks: that are told as well; None: there are none.
    """

    __slots__ = ("_began", "_hooks", "_waiting", "_who")

    def __init__(self, who: str, hooks: Hooks | None = None) -> None:
        self._who = who
        self._hooks = hooks
        self._waiting = 0  # how many wait for the end of the outage
        self._began = 0.0

    def entered(self, error: Exception, recovery: Recovery) -> None:
        """One more waits for the end of the outage. The first of them is logged."""
        if not self._waiting:
            self._began = time.monotonic()
            log.warning("%s is cut off, trying again for %g s: %s", self._who, recovery.deadline, error)
            if self._hooks is not None:
                self._hooks.on_outage(OutageReport(self._who, error, 0.0, 1))
        self._waiting += 1

    def resolved(self, tries: int, *, over: bool) -> None:
        """One of them waits no longer. The last of them is logged if the outage is over.

        Args:
            tries: how many attempts it has made.
            over: whether the last attempt was a success.
        """
        self._waiting -= 1
        if over and not self._waiting:
            seconds = time.monotonic() - self._began
            log.warning("%s is back after %.1f s and %d tries", self._who, seconds, tries)
            if self._hooks is not None:
                self._hooks.on_outage(OutageReport(self._who, None, seconds, tries))


class Backoff:
    """Counts the failures in a row of what is tried again, and says how long to wait before each next attempt.

    Call `next_delay` after each failure, and `end` after a success or when no attempt follows. One object may be used
    again after `end`.

    Attributes:
        failures: in a row. Redirections that were followed without a pause do not count.
        redirections: in a row.
        began: when the first of the failures was noticed, in monotonic seconds.
    """

    __slots__ = ("_outage", "_recovery", "began", "failures", "redirections")

    def __init__(self, recovery: Recovery, outage: Outage) -> None:
        self._recovery = recovery
        self._outage = outage
        self.failures: int = 0
        self.redirections: int = 0
        self.began: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether something has failed, or was redirected, since the last success."""
        return self.failures > 0 or self.redirections > 0

    def next_delay(self, error: Exception) -> float:
        """Seconds to wait before the next attempt; 0.0 for a redirection, which is no outage.

        Raises:
            redis.RedisError: the error, if waiting does not help, or if the outage would last beyond the deadline.
        """
        return shared_delay((self,), error)

    def end(self, *, over: bool) -> None:
        """Stop to count. `over`: the last attempt was a success."""
        if self.failures:
            self._outage.resolved(self.failures, over=over)
        self.failures = 0
        self.redirections = 0
        self.began = 0.0


def shared_delay(backoffs: Sequence[Backoff], error: Exception) -> float:
    """As `Backoff.next_delay`, for several things that have met the same error and are tried again together."""
    if verdict_of(error) is Verdict.FINAL:
        raise error
    if verdict_of(error) is Verdict.REDIRECT:
        for one in backoffs:
            one.redirections += 1
        if all(one.redirections <= _REDIRECTIONS for one in backoffs):
            return 0.0
    now = time.monotonic()
    recovery = backoffs[0]._recovery
    delay = recovery.delay(max(one.failures for one in backoffs))
    if now + delay > min(one.began or now for one in backoffs) + recovery.deadline:
        raise error from None
    for one in backoffs:
        if not one.failures:
            one.began = now
            one._outage.entered(error, recovery)
        one.failures += 1
    return delay


# ---- what a consumer waits for --------------------------------------------------------------------------


class ServerNotReadyError(Exception):
    """Carries an error of the server that passes to `recovered`.

    Attributes:
        error: redis-py's exception for it.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


OUTAGES = (ConnectionError, TimeoutError, ServerNotReadyError)
"""What `recovered` waits out."""


def outage_of(failure: BaseException) -> Exception | None:
    """Return redis-py's exception for what is waited out; None for a failure that lasts.

    An error of the server that passes comes as a ServerNotReadyError if it is the reply to a command of ours. If it met
    a command of redis-py's handshake (BUSY to SELECT, for example), it comes as redis-py raises it.
    """
    if isinstance(failure, ServerNotReadyError):
        return failure.error
    if isinstance(failure, (ConnectionError, TimeoutError)):
        return failure
    if isinstance(failure, ResponseError) and verdict_of(failure) is Verdict.WAIT:
        return failure
    return None


def raise_for_error(reply: Any) -> Any:
    """Return the reply if it is no error.

    Raises:
        ServerNotReadyError: for an error that passes; `recovered` waits for that.
        redis.ResponseError: for any other error.
    """
    if isinstance(reply, ErrorReply):
        error = error_of(unwrapped(reply))
        raise ServerNotReadyError(error) if rule_of(reply).passes else error
    return reply


def recovered(
    recovery: Recovery,
    outage: Outage,
    attempt: Callable[[], Flow[T]],
    stopped: Callable[[], bool] = lambda: False,
    located: Callable[[ResponseError], ResponseError] = lambda error: error,
) -> Flow[T | None]:
    """Return the result of `attempt`, which is made again after each outage that it meets.

    Args:
        recovery: how long to wait.
        outage: of the consumer.
        attempt: must be safe to repeat.
        stopped: whether to give up during an outage. The result is None then.
        located: adds to an error that lasts which stream it is about.
    """
    backoff = Backoff(recovery, outage)
    over = False
    try:
        while True:
            try:
                result = yield from attempt()
            except (ResponseError, *OUTAGES) as failure:
                if (error := outage_of(failure)) is None:
                    raise (located(failure) if isinstance(failure, ResponseError) else failure) from None
                delay = backoff.next_delay(error)
                yield Disconnect(error)
                if delay and stopped():
                    return None
                if delay:
                    yield Pause(delay)
            else:
                over = True
                return result
    finally:
        backoff.end(over=over)


# ---- how long one call over a cluster waits -------------------------------------------------------------

_PATIENCE = 3.0  # seconds to wait for a node that has the slots
_FIRST_PAUSE = 0.02  # seconds; each following pause is twice as long
_LONGEST_PAUSE = 0.3


class Patience:
    """How long one call over the nodes of a cluster tries again: for three seconds from its first failure."""

    def __init__(self) -> None:
        self._end = 0.0
        self._pause = 0.0

    @property
    def over(self) -> bool:
        """Whether the time is over, so that the next failure is raised."""
        return bool(self._end) and time.monotonic() >= self._end

    def next_pause(self) -> float:
        """Seconds to wait before the next attempt; 0.0 before the first one."""
        if not self._end:
            self._end = time.monotonic() + _PATIENCE
        pause, self._pause = self._pause, min(_LONGEST_PAUSE, 2 * self._pause or _FIRST_PAUSE)
        return pause
