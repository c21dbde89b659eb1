"""What the producers for blocking use and for asyncio share."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ...delivery import ProducerCounters
from ...errors import DeliveryTimeoutError, FluxaError, UnregisteredStreamError
from ...protocol.hashing import Key
from ..buffer_targets import P
from ..routing import StreamRoute
from .lane import Lane

__all__ = ["PART", "ProducerBase"]

PART = 256  # bodies of `publish_many` that are accepted together, or not

L = TypeVar("L", bound=Lane[Any])


class ProducerBase(ABC, Generic[P, L]):
    """Hands each event to the lane of its pool. The subclasses wait.

    Args:
        routes: the route of every registered stream.
        new_lane: makes the lane of a pool, from the routes of its streams.
    """

    def __init__(
        self,
        routes: Mapping[str, StreamRoute[P]],
        new_lane: Callable[[P, Mapping[str, StreamRoute[P]]], L],
    ) -> None:
        self._closed = True  # until it is made to the end
        by_pool: dict[str, dict[str, StreamRoute[P]]] = {}
        for stream, route in routes.items():
            by_pool.setdefault(route.pool.name, {})[stream] = route
        self._lanes = [new_lane(next(iter(of_pool.values())).pool, of_pool) for of_pool in by_pool.values()]
        self._lane_of = {stream: lane for lane in self._lanes for stream in lane.streams}
        # The same call as the method, without its frame: this is the hot path. A subclass may have its own.
        if len(self._lanes) == 1 and self._publishes_directly():
            self.publish = self._lanes[0].writer.publish  # type: ignore[method-assign]
        self._closed = False

    @abstractmethod
    def _publishes_directly(self) -> bool:
        """Whether no subclass of the user overrides `publish`."""

    @abstractmethod
    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Any: ...

    def _lane(self, stream: str) -> L:
        try:
            return self._lane_of[stream]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None

    # ---- what is there ----

    def __len__(self) -> int:
        """How many events are waiting to be sent, to be confirmed, or for a callback."""
        return sum([lane.writer.count for lane in self._lanes])

    def __bool__(self) -> bool:
        return True  # a producer without events is still a producer

    @property
    def buffered_bytes(self) -> int:
        """How many bytes the events have that are not settled, about."""
        return sum([lane.writer.buffered for lane in self._lanes])

    @property
    def counters(self) -> ProducerCounters:
        """How many events were accepted so far, and what became of them."""
        total = ProducerCounters()
        for lane in self._lanes:
            of_lane = lane.counters
            total.accepted += lane.writer.total
            total.confirmed += of_lane.confirmed
            total.refused += of_lane.refused
            total.given_up += of_lane.given_up
            total.dropped += lane.writer.dropped
            total.waiting += lane.unsettled
        return total

    @staticmethod
    def _adding_many(
        lane: L, stream: str, part: list[object], tags: Any, first: int, key: Any
    ) -> Callable[[bool], bool]:
        """What adds some bodies to a lane; its argument is whether it needs no room for that."""
        return lambda beyond: lane.writer.add_many(stream, part, tags, first, key, beyond)

    # ---- waiting ----

    def _check_no_callback(self, call: str) -> None:
        if any(lane.in_callback for lane in self._lanes):
            raise FluxaError(f"{call}() would wait for the callback that calls it: call it somewhere else")
        for lane in self._lanes:
            lane.writer.check_idle()

    def _begin_to_close(self) -> None:
        self._closed = True
        for lane in self._lanes:
            lane.writer.close()
            lane.closing = True
            lane.wake_publisher()

    def _still_waiting(self, call: str, timeout: float | None) -> DeliveryTimeoutError:
        left = sum([lane.left for lane in self._lanes])
        told = "; ".join([lane.told_left() for lane in self._lanes if lane.left])
        return DeliveryTimeoutError(call, left, timeout or 0.0, told, self._closed)

    # ---- a producer that is dropped ----

    def __del__(self) -> None:
        if getattr(self, "_closed", True):
            return
        left = sum([lane.left for lane in self._lanes])
        told = "; ".join([lane.told_left() for lane in self._lanes if lane.left])
        for lane in self._lanes:
            lane.abandon()
        if left:
            warnings.warn(
                f"a producer was dropped with {left} events that are not confirmed: {told}; they are sent all the "
                "same; call close() to wait for that",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
