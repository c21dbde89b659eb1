"""The error classes of fluxa_fast; both implementations of the protocol raise these.

Errors of the server and of the network keep redis-py's exception classes, which users know. `FluxaError` is the root of
what fluxa_fast itself refuses.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import InvalidResponse

from .flows.server_errors import rule_of_code

if TYPE_CHECKING:
    from .flows.publish.outcome import FlushResult

__all__ = [
    "DeliveryTimeoutError",
    "FlushError",
    "FluxaError",
    "GroupRemovedError",
    "ImplementationWarning",
    "LeaseLostError",
    "NotReplicatedError",
    "PartitionsDifferError",
    "ProducerFullError",
    "ProtocolError",
    "RefusedEvent",
    "RegistryError",
    "SerializationError",
    "UnconfirmedEvents",
    "UnregisteredStreamError",
]


class FluxaError(Exception):
    """Root of the errors that fluxa_fast itself raises. They can be pickled and copied, with all their attributes."""

    def __reduce__(self) -> tuple[Any, ...]:
        # `args` is the text, and not what `__init__` takes: a copy is made without it, and given the attributes.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ImplementationWarning(UserWarning):
    """The compiled protocol is missing, so the slower pure-Python one is in use."""


class RegistryError(FluxaError):
    """The registry can't become an engine.

    Attributes:
        problems: all problems, in the order of registration.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(f"the registry has {head}:" + "".join(f"\n  - {problem}" for problem in self.problems))


class UnregisteredStreamError(FluxaError):
    """A stream was used that the registry doesn't know.

    Attributes:
        stream: the name that was used.
    """

    def __init__(self, stream: object) -> None:
        self.stream = stream
        super().__init__(f"unregistered stream {stream}")


class LeaseLostError(FluxaError):
    """Another consumer has taken over the partition of an event, and the event is delivered to it again.

    Attributes:
        stream: the name of the partition.
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        super().__init__(f"the lease on {stream!r} was lost: its events are for another consumer now")


class GroupRemovedError(FluxaError):
    """The group of a running consumer was removed with `EventBroker.remove_group`.

    Attributes:
        stream: the name of the stream, or of one of its partitions.
        group: the name of the group.
    """

    def __init__(self, stream: str, group: str) -> None:
        self.stream = stream
        self.group = group
        super().__init__(
            f"group {group!r} of {stream!r} was removed: end this consumer; a new consumer of the group makes it again"
        )


class PartitionsDifferError(FluxaError):
    """A stream is registered with another number of partitions here than in the services that use it already.

    Attributes:
        stream: the name of the stream.
        registered: the number of partitions here.
        stored: the number of partitions in those services, which is stored in Redis.
    """

    def __init__(self, stream: str, registered: int, stored: int, key: str) -> None:
        self.stream = stream
        self.registered = registered
        self.stored = stored
        here = "1 partition" if registered == 1 else f"{registered} partitions"
        super().__init__(
            f"stream {stream!r} is registered with {here} here and with {stored} by the services that use it (key "
            f"{key!r} in Redis): register the same number; if all services are stopped and the stream is empty, delete "
            "that key to change the number"
        )


class FiltersDifferError(FluxaError):
    """A consumer has another filter than its group.

    Attributes:
        stream: the name of the stream.
        group: the name of the group.
        where: the filter of this consumer: the values that pass, by tag; None: it has none.
        stored: the filter of the group, which is stored in Redis.
    """

    def __init__(
        self, stream: str, group: str, where: dict[str, list[str]] | None, stored: dict[str, list[str]], key: str
    ) -> None:
        self.stream = stream
        self.group = group
        self.where = where
        self.stored = stored
        here = "no filter" if where is None else f"where={where!r}"
        super().__init__(
            f"group {group!r} of stream {stream!r} has where={stored!r}, and this consumer has {here}: a filter "
            "belongs to the group, so give all its consumers the same; to change it, stop them, and delete the Redis "
            f"key {key!r}"
        )


class ProtocolError(FluxaError, InvalidResponse):
    """Bytes from the server that are not RESP, or not the reply that the command has."""


_SHOWN_STEPS = 12  # of a path; a longer one is cut in the middle


class SerializationError(FluxaError):
    """A value can't be written as msgpack, or bytes can't be read as msgpack.

    Attributes:
        reason: what is wrong, without the place.
        path: where it is wrong, such as ``body['items'][3].price``; empty when bytes were read.
        stream: the stream that the event was published to or read from; None if it is not known.
    """

    def __init__(self, reason: str, path: str = "", stream: str | None = None) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.path: str = path
        self.stream = stream
        # The innermost container comes first: each adds itself while the exception passes through it.
        self._steps: list[str] = []
        self._containers: list[int] = []

    def __str__(self) -> str:
        return ": ".join(part for part in (self.stream, self.path, self.reason) if part)

    def _inside(self, container: object, step: str) -> None:
        """Note that the value at `step` of `container` is wrong, or has something wrong in it."""
        self._steps.append(step)
        self._containers.append(id(container))

    def _located(self, root: str) -> SerializationError:
        """Make `path` of the noted steps. A path that leads through a container twice is a cycle."""
        steps = self._steps[::-1]
        containers = self._containers[::-1]
        self._steps, self._containers = [], []
        if len(set(containers)) < len(containers):
            seen: set[int] = set()
            for position, container in enumerate(containers):
                if container in seen:
                    steps = steps[:position]
                    self.reason = "contains itself: a cycle can't be written as msgpack"
                    break
                seen.add(container)
        if len(steps) > _SHOWN_STEPS:
            half = _SHOWN_STEPS // 2
            steps = [*steps[:half], f"...({len(steps) - _SHOWN_STEPS} more)...", *steps[-half:]]
        self.path = root + "".join(steps)
        return self


@dataclass(frozen=True, slots=True)
class RefusedEvent:
    """An event that the server answered with an error.

    Attributes:
        position: the event's place among the events of this flush, counted from 0 in the order of publishing.
        stream: the stream of the event.
        pool: the Redis pool of that stream.
        error: the server's error, as redis-py's exception.
        code: the first word of the server's error, such as ``"OOM"``; redis-py's exception may leave it out.
    """

    position: int
    stream: str
    pool: str
    error: Exception
    code: str = ""


@dataclass(frozen=True, slots=True)
class UnconfirmedEvents:
    """The events of one pool whose replies never came: the server may or may not have them.

    If the flush asked for replicas, also the events that the master has and that too few replicas have.

    Attributes:
        pool: the Redis pool.
        positions: the places of the events among those of this flush, counted from 0 in the order of publishing.
        error: why the replies didn't come, as redis-py's exception; or a `NotReplicatedError`.
    """

    pool: str
    positions: Sequence[int]
    error: Exception

    def __len__(self) -> int:
        return len(self.positions)


class NotReplicatedError(FluxaError):
    """The master has the events of a flush, and fewer replicas than were asked for.

    Attributes:
        pool: the Redis pool.
        replicas: how many replicas have the events.
        wanted: how many replicas the flush asked for.
        timeout: how many seconds the flush waited for them.
    """

    def __init__(self, pool: str, replicas: int, wanted: int, timeout: float) -> None:
        self.pool = pool
        self.replicas = replicas
        self.wanted = wanted
        self.timeout = timeout
        super().__init__(f"{replicas} of {wanted} replicas have the events after {timeout:g} s")


class ProducerFullError(FluxaError):
    """A producer has no room for an event: the server takes them more slowly than they are published.

    Attributes:
        pool: the Redis pool.
        events: how many events wait for it.
        bytes: of these events.
    """

    def __init__(self, pool: str, events: int, bytes: int) -> None:
        self.pool = pool
        self.events = events
        self.bytes = bytes
        super().__init__(
            f"the producer has no room for one more event for Redis pool {pool!r}: {events} events of {bytes} bytes "
            "wait to be sent and confirmed; publish more slowly, or raise max_buffered_events or max_buffered_bytes"
        )


class DeliveryTimeoutError(FluxaError):
    """Some events of a producer are still waiting when the time of `flush` or `close` is over.

    Attributes:
        waiting: how many events that are.
    """

    def __init__(self, call: str, waiting: int, timeout: float, told: str, closed: bool = False) -> None:
        self.waiting = waiting
        what_next = "they are not sent any more" if closed else "they are sent as soon as that is possible"
        super().__init__(f"after {timeout:g} s of {call}() {waiting} events are waiting, and {what_next}: {told}")


class FlushError(FluxaError):
    """Not every event of a flush was confirmed. The events that were not stay in the flusher, in order.

    Attributes:
        confirmed: the IDs of the events that the server has, as a `FlushResult`.
        refused: events that the server answered with an error (OOM, WRONGTYPE, NOPERM, READONLY...).
        unconfirmed: by pool, the events whose replies were lost with the connection, or that too few replicas have.
            If they are flushed again, some may be published twice.
    """

    def __init__(
        self,
        confirmed: FlushResult,
        refused: Sequence[RefusedEvent],
        unconfirmed: Sequence[UnconfirmedEvents],
    ) -> None:
        self.confirmed = confirmed
        self.refused: tuple[RefusedEvent, ...] = tuple(refused)
        self.unconfirmed: tuple[UnconfirmedEvents, ...] = tuple(unconfirmed)
        lost = sum(map(len, self.unconfirmed))
        parts = [f"{len(confirmed)} events confirmed, {len(self.refused)} refused, {lost} unconfirmed"]
        if self.refused:
            first = self.refused[0]
            said = str(first.error)
            code = "" if said.startswith(first.code) else f"{first.code} "
            parts.append(f"first refusal: stream {first.stream!r} on pool {first.pool!r}: {code}{said}")
        parts.extend(f"pool {lost.pool!r}: {lost.error or type(lost.error).__name__}" for lost in self.unconfirmed)
        parts.append(f"what was not confirmed stays in the flusher: {self._advice()}")
        super().__init__("; ".join(parts))

    def _advice(self) -> str:
        """What to do next."""
        codes = dict.fromkeys(one.code for one in self.refused)
        passing = [rule.passes_when for code in codes if (rule := rule_of_code(code)).passes]
        lasting = [code for code in codes if not rule_of_code(code).passes]
        steps = []
        if lasting:
            named = ", ".join(code for code in lasting if code.isupper())
            other = (
                " (discard_refused() would drop what is refused for now, too)"
                if passing
                else " or call discard_refused()"
            )
            steps.append(f"mend the cause{f' of {named}' if named else ''}{other}")
        when = f" when {' and '.join(dict.fromkeys(passing))}" if passing else ""
        steps.append(f"call flush() again{when}")
        doubt = "; what is unconfirmed may be published twice by that" if self.unconfirmed else ""
        return f"{', then '.join(steps)}{doubt}"
