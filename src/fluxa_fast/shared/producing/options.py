"""The arguments of `new_producer`, checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...flows.publish.pipeline import Replication
from ..flusher_base import replication_to
from ..validation import Duration, positive_int, seconds

__all__ = ["OnFull", "ProducerOptions"]

OnFull = Literal["wait", "raise", "drop"]

_WORTH_SENDING = 64 * 1024  # bytes of events, with which a batch does not wait for more of them
_LARGEST = 2**31  # bytes of a batch


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """The arguments of `new_producer`, in the types that the code uses.

    Attributes:
        linger: seconds.
        batch_bytes: with which a batch is complete.
        buffered_bytes: in all batches of a pool.
        buffered_events: the same.
        on_full: what `publish` does when there is no room.
        full_timeout: seconds for which it waits then.
        delivery_timeout: seconds after which an event is given up.
        exit_timeout: seconds for the rest at the end of the process.
        replication: what is asked of replicas; None: nothing.
        on_delivery: is called with each report; None: nothing is.
        on_error: is called with each report that tells of events that were not delivered.
    """

    linger: float
    batch_bytes: int
    buffered_bytes: int
    buffered_events: int
    on_full: OnFull
    full_timeout: float
    delivery_timeout: float
    exit_timeout: float
    replication: Replication | None
    on_delivery: Callable[[Any], Any] | None
    on_error: Callable[[Any], Any] | None

    @classmethod
    def checked(
        cls,
        *,
        linger: Duration,
        max_batch_bytes: int,
        max_buffered_bytes: int,
        max_buffered_events: int,
        on_full: OnFull,
        full_timeout: Duration | None,
        delivery_timeout: Duration | None,
        exit_timeout: Duration,
        replicas: int,
        replicas_timeout: Duration,
        on_delivery: Callable[[Any], Any] | None,
        on_error: Callable[[Any], Any] | None,
    ) -> ProducerOptions:
        """Return the arguments of `new_producer`.

        Raises:
            TypeError, ValueError: if one of them can't be right; the error names it.
        """
        if on_full not in get_args(OnFull):
            raise ValueError(f"on_full is 'wait', 'raise' or 'drop', not {on_full!r}")
        for name, callback in (("on_delivery", on_delivery), ("on_error", on_error)):
            if callback is not None and not callable(callback):
                raise TypeError(f"{name} is a function that takes a DeliveryReport, not {callback!r}")
        buffered = _size("max_buffered_bytes", max_buffered_bytes)
        return cls(
            seconds("linger", linger),
            min(_size("max_batch_bytes", max_batch_bytes), max(1, buffered // 2)),
            buffered,
            positive_int(max_buffered_events, "max_buffered_events"),
            on_full,
            math.inf if full_timeout is None else seconds("full_timeout", full_timeout),
            math.inf if delivery_timeout is None else seconds("delivery_timeout", delivery_timeout),
            seconds("exit_timeout", exit_timeout),
            replication_to(replicas, replicas_timeout, "replicas_timeout"),
            on_delivery,
            on_error,
        )

    @property
    def limits(self) -> tuple[int, int, int, int]:
        """As for `BatchWriter`."""
        worth_sending = min(_WORTH_SENDING, self.batch_bytes)
        return worth_sending, self.batch_bytes, self.buffered_events, self.buffered_bytes


def _size(name: str, size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{name} is an int, not {type(size).__name__}")
    if not 1 <= size <= _LARGEST:
        raise ValueError(f"{name} is a number of bytes from 1 to {_LARGEST}, not {size}")
    return size
