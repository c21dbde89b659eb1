"""One call about a Redis key: tried again for a few seconds while slots of a cluster move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .retry import Patience, ServerNotReadyError
from .steps import Disconnect, Flow, Pause

__all__ = ["patiently"]

T = TypeVar("T")


def patiently(pool: Any, key: str, attempt: Callable[[], Flow[T]]) -> Flow[T]:
    """Return what `attempt` returns. The pool runs this flow for `key`.

    Raises:
        redis.RedisError: the error of the server, or of the network. An error that passes is raised at once by one
            server, and by a cluster after three seconds.
    """
    on_cluster = pool.buffer_of(key) == key
    patience = Patience()
    while True:
        try:
            return (yield from attempt())
        except ServerNotReadyError as failure:
            error = failure.error
        yield Disconnect(error)  # where the slot is elsewhere, the next attempt goes there
        if not on_cluster or patience.over:
            raise error
        if pause := patience.next_pause():
            yield Pause(pause)
