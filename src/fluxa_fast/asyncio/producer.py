"""`EventProducer`: publishes from any task and returns at once; a task of its own sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import Any

from ..hooks import Hooks
from ..protocol.checks import check_bodies
from ..protocol.hashing import Key
from ..shared.producing.base import PART, ProducerBase
from ..shared.producing.options import ProducerOptions
from ..shared.routing import StreamRoute
from ..shared.validation import Duration, seconds
from ..transport.base import AsyncPool
from .sending import Reporter, TaskLane

__all__ = ["EventProducer"]


class EventProducer(ProducerBase[AsyncPool, TaskLane]):
    """Publishes in the background: `publish` returns at once, and a task sends what was published.

    Made by `EventBroker.new_producer`, which tells what its arguments do. The tasks of one event loop may share it. To
    each pool it sends one batch after the other, in the order of publishing: while a batch is on its way, the next one
    grows.

    When the event loop ends (`asyncio.run` cancels all tasks) the rest is sent, for `exit_timeout` seconds at most, and
    the log tells what was not. To wait for all of it, call `aclose`. A forked child's copy is empty.

    Warns:
        ResourceWarning: if the producer is dropped with events in it. They are sent all the same.
    """

    def __init__(
        self,
        routes: Mapping[str, StreamRoute[AsyncPool]],
        readers: Mapping[str, Any],
        options: ProducerOptions,
        hooks: Hooks | None = None,
    ) -> None:
        reporter = Reporter()

        def new_lane(pool: AsyncPool, of_pool: Mapping[str, StreamRoute[AsyncPool]]) -> TaskLane:
            return TaskLane(pool, of_pool, readers, options, hooks, reporter)

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
    ) -> Awaitable[None]:
        """Publish one event soon (``XADD stream *``). It is serialised now. To await the call waits for room.

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
            FluxaError: if the producer or the engine is closed, or if another event loop uses the producer.
        """
        awaitable: Awaitable[None] = self._lane(stream).writer.publish(stream, body, tags, key, id)
        return awaitable

    async def publish_many(
        self,
        stream: str,
        bodies: Iterable[object],
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
    ) -> int:
        """Publish one event for each body, all with the same tags and the same key.

        After an error the events of some bodies before are accepted: 256 bodies at a time are, or none of them. Other
        tasks run in between.

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
            if await lane.enter(self._adding_many(lane, stream, part, tags, first, key), len(part)):
                accepted += len(part)
            first += len(part)
            await asyncio.sleep(0)
        return accepted

    def publish_confirmed(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Awaitable[str]:
        """As `publish`, for an event whose outcome is wanted.

        Such an event does not linger.

        Returns:
            What gives its ID, when it is awaited. It raises what the event met: redis-py's error of the server or the
            network, after ``delivery_timeout``; or a ProducerFullError, if the event was dropped. To cancel it changes
            nothing about an event that was accepted.

        Raises:
            UnregisteredStreamError, SerializationError, ValueError, TypeError, ProducerFullError, FluxaError: as
                `publish`.
        """
        lane = self._lane(stream)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if lane.writer.add(stream, body, tags, key, id, future, lane.in_callback):
            return future
        return self._confirmed_later(lane, stream, body, tags, key, id, future)

    async def _confirmed_later(
        self, lane: TaskLane, stream: str, body: Any, tags: Any, key: Any, id: Any, future: asyncio.Future[str]
    ) -> str:
        if not await lane.enter(lambda beyond: lane.writer.add(stream, body, tags, key, id, future, beyond), 1):
            raise lane.full_error()
        return await future

    async def flush(self, timeout: Duration | None = None) -> None:
        """Send what was published so far, and wait until all of it is settled, and the callbacks have returned.

        Args:
            timeout: seconds (or a timedelta) to wait at most; None: until `delivery_timeout` has settled all.

        Raises:
            DeliveryTimeoutError: if some events are not settled in time. They stay, and are sent.
            FluxaError: if a callback of this producer calls it.
        """
        await self._wait("flush", None if timeout is None else seconds("timeout", timeout))

    async def aclose(self, timeout: Duration | None = None) -> None:
        """Accept no more events, send those that are there, and end the tasks. Safe to call twice.

        Args:
            timeout: as for `flush`.

        Raises:
            DeliveryTimeoutError: if some events are not settled in time. They are not sent any more, but for those
                that are on their way.
            FluxaError: if a callback of this producer calls it.
        """
        limit = None if timeout is None else seconds("timeout", timeout)
        self._check_no_callback("aclose")
        self._begin_to_close()
        try:
            await self._wait("aclose", limit)
        finally:
            for lane in self._lanes:
                lane.stop()

    async def _wait(self, call: str, timeout: float | None) -> None:
        self._check_no_callback(call)
        deadline = None if timeout is None else time.monotonic() + timeout
        targets = [lane.hurry() for lane in self._lanes]
        for lane in self._lanes:
            if lane.left:
                lane.noticed()
        for lane, target in zip(self._lanes, targets, strict=True):
            if not await lane.wait_until(target, deadline):
                raise self._still_waiting(call, timeout)

    async def __aenter__(self) -> EventProducer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it. What was accepted is sent, also if the block ended with an exception."""
        await self.aclose()
