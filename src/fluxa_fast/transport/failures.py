"""Errors of the network as users know them, told from those that a signal handler raises."""

from __future__ import annotations

import builtins
import copy
import signal
from typing import Any

from redis.exceptions import ConnectionError, TimeoutError

from ..errors import FluxaError
from ..redis_adapter.closing import CLOSED

__all__ = ["network_error", "raised_by_a_signal", "told_again"]


def network_error(error: OSError, doing: str, pool: Any) -> ConnectionError | TimeoutError | FluxaError:
    """redis-py's exception for it; ours if it came because the engine was closed."""
    told = f"while {doing} Redis pool {pool.name!r}"
    if pool.closed:
        return FluxaError(
            f"{CLOSED}; it was closed {told}: the server may have what was sent, an event that was being published too"
        )
    if isinstance(error, builtins.TimeoutError):
        return TimeoutError(f"timeout {told}")
    return ConnectionError(f"error {told}: {error}")


def raised_by_a_signal(error: BaseException) -> BaseException | None:
    """What a signal handler has raised, if that is why there is this error; or else None.

    A time limit may raise Python's own TimeoutError, which looks like a socket's. A traceback with the code of a signal
    handler in it tells them apart.
    """
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    seen: BaseException | None = error
    while seen is not None and codes:
        frames = seen.__traceback__
        while frames is not None:
            if frames.tb_frame.f_code in codes:
                return seen
            frames = frames.tb_next
        seen = seen.__cause__ or seen.__context__
    return None


def _code_of(handler: Any) -> Any:
    for found in (handler, getattr(handler, "__func__", None), getattr(type(handler), "__call__", None)):  # noqa: B004
        code = getattr(found, "__code__", None)
        if code is not None:
            return code
    return None


def told_again(error: Exception) -> Exception:
    """A copy for another task, because tasks add their tracebacks to an exception."""
    own = copy.copy(error)
    own.__cause__ = error
    return own
