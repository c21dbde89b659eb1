"""`EventProducer`: publishes from any thread and returns at once; a thread of its own sends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from itertools import islice
from types import TracebackType
from typing import Any

from .hooks import Hooks
from .protocol.checks import check_bodies
from .protocol.hashing import Key
from .sending import Reporter, ThreadLane
from .shared.producing.base import PART, ProducerBase
from .shared.producing.options import ProducerOptions
from .shared.routing import StreamRoute
from .shared.validation import Duration, seconds
from .transport.base import BlockingPool

__all__ = ["EventProducer"]


class EventProducer(ProducerBase[BlockingPool, ThreadLane]):
    """Publishes in the background: `publish` returns at once, and a thread sends what was published.

    Made by `EventBroker.new_producer`, which tells what its arguments do. Threads may share it. To each pool it sends
    one batch after the other, in the order of publishing: while a batch is on its way, the next one grows.

    At the end of the process the rest is sent, for `exit_timeout` seconds at most, and the log tells what was not. To
    wait for all of it, call `close`. A forked child's copy is empty, and sends with a thread of its own.

    Warns:
        ResourceWarning: if the producer is dropped with events in it. They are sent all the same.
    """

    def __init__(
        self,
        routes: Mapping[str, StreamRoute[BlockingPool]],
        readers: Mapping[str, Any],
        options: ProducerOptions,
        hooks: Hooks | None = None,
    ) -> None:
        reporter = Reporter()

        def new_lane(pool: BlockingPool, of_pool: Mapping[str, StreamRoute[BlockingPool]]) -> ThreadLane:
            return ThreadLane(pool, of_pool, readers, options, hooks, reporter)

        super().__init__(routes, new_lane)

    def _publishes_directly(self) -> bool:
        return type(self).publish is EventProducer.publish

    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> None:
        """Publish one event soon (``XADD stream *``). It is serialised now.

        Args:
            stream: a registered stream.
            body: anything that msgpack can write; None if the tags say it all.
            tags: more about the event, readable without decoding the body.
            key: a partition key, as for `EventBroker.publish`.
            id: the ID of the event, as for `EventBroker.publish`. If the reply to it is lost, the event may be told as
                refused although the server has it: it is sent again, and the server takes an ID once.

        Raises:
            UnregisteredStreamError, SerializationError, ValueError, TypeError: as `EventBroker.publish`; nothing was
                accepted.
            ProducerFullError: if there is no room, and ``on_full="raise"``, or none within `full_timeout`.
            FluxaError: if the producer or the engine is closed.
        """
        self._lane(stream).writer.publish(stream, body, tags, key, id)

    def publish_many(
        self,
        stream: str,
        bodies: Iterable[object],
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
    ) -> int:
        """Publish one event for each body, all with the same tags and the same key.

        After an error the events of some bodies before are accepted: 256 bodies at a time are, or none of them.

        Args:
            stream: a registered stream.
            bodies: anything that can be iterated over.
            tags: the tags of every event.
            key: the partition key of every event.

        Returns:
            How many events were accepted.

        Raises:
            UnregisteredStreamError, SerializationError, ValueError, TypeError, ProducerFullError, FluxaError: as
                `publish`. A SerializationError says which body it is about.
        """
        lane = self._lane(stream)
        check_bodies(bodies)
        accepted = first = 0
        remaining = iter(bodies)
        while part := list(islice(remaining, PART)):
            if lane.enter(self._adding_many(lane, stream, part, tags, first, key), len(part)):
                accepted += len(part)
            first += len(part)
        return accepted

    def publish_confirmed(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Future[str]:
        """As `publish`, for an event whose outcome is wanted.

        Such an event does not linger. A future takes some 20 us: `on_delivery` costs next to nothing.

        Returns:
            The future of its ID. It raises what the event met: redis-py's error of the server or the network, after
            ``delivery_timeout``; or a ProducerFullError, if the event was dropped. Functions that are added to it run
            in the thread that sends, and so must be quick.

        Raises:
            UnregisteredStreamError, SerializationError, ValueError, TypeError, ProducerFullError, FluxaError: as
                `publish`.
        """
        lane = self._lane(stream)
        future: Future[str] = Future()
        if not lane.enter(lambda beyond: lane.writer.add(stream, body, tags, key, id, future, beyond), 1):
            future.set_exception(lane.full_error())
        return future

    def flush(self, timeout: Duration | None = None) -> None:
        """Send what was published so far, and wait until all of it is settled, and the callbacks have returned.

        Args:
            timeout: seconds (or a timedelta) to wait at most; None: until `delivery_timeout` has settled all.

        Raises:
            DeliveryTimeoutError: if some events are not settled in time. They stay, and are sent.
            FluxaError: if a callback of this producer calls it.
        """
        self._wait("flush", None if timeout is None else seconds("timeout", timeout))

    def close(self, timeout: Duration | None = None) -> None:
        """Accept no more events, send those that are there, and end the threads. Safe to call twice.

        Args:
            timeout: as for `flush`.

        Raises:
            DeliveryTimeoutError: if some events are not settled in time. They are not sent any more, but for those
                that are on their way.
            FluxaError: if a callback of this producer calls it.
        """
        limit = None if timeout is None else seconds("timeout", timeout)
        self._check_no_callback("close")
        self._begin_to_close()
        try:
            self._wait("close", limit)
        finally:
            for lane in self._lanes:
                lane.stop()

    def _wait(self, call: str, timeout: float | None) -> None:
        self._check_no_callback(call)
        deadline = None if timeout is None else time.monotonic() + timeout
        targets = [lane.hurry() for lane in self._lanes]
        for lane in self._lanes:
            if lane.left:
                lane.sender.wake.set()
                lane.see_to_it()
        for lane, target in zip(self._lanes, targets, strict=True):
            if not lane.wait_until(target, deadline):
                raise self._still_waiting(call, timeout)

    def __enter__(self) -> EventProducer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it. What was accepted is sent, also if the block ended with an exception."""
        self.close()
