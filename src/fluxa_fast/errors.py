"""Every error class of our own, once, for both implementations.

What the server or the network says keeps redis-py's exception classes, which users know; `FluxaError` is the
root of what *we* refuse.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import InvalidResponse

if TYPE_CHECKING:
    from .flows.publish.outcome import FlushResult

__all__ = [
    "FlushError",
    "FluxaError",
    "ImplementationWarning",
    "LeaseLostError",
    "NotReplicatedError",
    "PartitionsDifferError",
    "ProtocolError",
    "RefusedEvent",
    "RegistryError",
    "SerializationError",
    "UnconfirmedEvents",
    "UnregisteredStreamError",
]


class FluxaError(Exception):
    """Root of the errors that fluxa_fast itself raises. All of them can be pickled and copied, with all they have."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An error is not made anew from `args`, which are its text, but filled with what it had.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ImplementationWarning(UserWarning):
    """The compiled protocol is missing, so the slower pure-Python one is in use."""


class RegistryError(FluxaError):
    """The registry can't become an engine.

    Attributes:
        problems: every problem that was found, in the order of registration.
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
    """Another consumer has taken over the partition that an event is of: it is delivered there again.

    Attributes:
        stream: the partition.
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        super().__init__(f"the lease on {stream!r} was lost: its events are for another consumer now")


class PartitionsDifferError(FluxaError):
    """A stream is registered with another number of partitions than by the services that use it already.

    Attributes:
        stream: its name.
        registered: the number here.
        stored: the number of those services, which stands in Redis.
    """

    def __init__(self, stream: str, registered: int, stored: int) -> None:
        self.stream = stream
        self.registered = registered
        self.stored = stored
        here = "1 partition" if registered == 1 else f"{registered} partitions"
        super().__init__(
            f"stream {stream!r} is registered with {here} here and with {stored} by the services that use it (key "
            f"'{{{stream}}}:partitions' in Redis): register the same number; if all services are stopped and the "
            "stream is empty, delete that key to change the number"
        )


class ProtocolError(FluxaError, InvalidResponse):
    """Bytes from the server that are not RESP, or not the reply that the command has."""


_SHOWN_STEPS = 12  # of a path; a longer one is cut in the middle


class SerializationError(FluxaError):
    """A value can't be written as msgpack, or bytes can't be read as msgpack.

    Attributes:
        reason: what is wrong, without the place.
        path: where it is wrong, such as ``body['items'][3].price``; empty when bytes were read.
        stream: the stream that the event was meant for or came from, if one is known.
    """

    def __init__(self, reason: str, path: str = "", stream: str | None = None) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.path: str = path
        self.stream = stream
        # Filled from the innermost container outwards while the exception unwinds.
        self._steps: list[str] = []
        self._containers: list[int] = []

    def __str__(self) -> str:
        return ": ".join(part for part in (self.stream, self.path, self.reason) if part)

    def _inside(self, container: object, step: str) -> None:
        """Note that the failure happened at `step` of `container`."""
        self._steps.append(step)
        self._containers.append(id(container))

    def _located(self, root: str) -> SerializationError:
        """Turn the noted steps into `path`; a path that leads back to a container it came through is a cycle."""
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
        position: which of the events of this flush it was, counted from 0 in the order of publishing.
        stream: the stream it was for.
        pool: the Redis pool of that stream.
        error: what the server said, as redis-py's exception.
        code: the first word of what the server said, which redis-py's exception may leave out: ``"OOM"``, for one.
    """

    position: int
    stream: str
    pool: str
    error: Exception
    code: str = ""


@dataclass(frozen=True, slots=True)
class UnconfirmedEvents:
    """The events of one pool whose replies never came: the server may or may not have them.

    Or else that too few replicas have, where a flush asked for some: then the master has them.

    Attributes:
        pool: the Redis pool.
        positions: which of the events of this flush, counted from 0 in the order of publishing.
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
        replicas: how many have them.
        wanted: how many were asked for.
        timeout: seconds that were waited for that.
    """

    def __init__(self, pool: str, replicas: int, wanted: int, timeout: float) -> None:
        self.pool = pool
        self.replicas = replicas
        self.wanted = wanted
        self.timeout = timeout
        super().__init__(f"{replicas} of {wanted} replicas have the events after {timeout:g} s")


# What a server refuses for now, and when it will take it.
PASSING = {
    "ASK": "the slot has moved",
    "BUSY": "the slow script on the server has ended",
    "CLUSTERDOWN": "the cluster serves all its slots again",
    "LOADING": "the server has loaded its data",
    "MASTERDOWN": "the replica has its master again",
    "MISCONF": "the server can write to its disk again",
    "MOVED": "the slot has moved",
    "NOREPLICAS": "enough replicas are connected again",
    "OOM": "the server has memory again",
    "READONLY": "there is a master again (this server is a replica)",
    "TRYAGAIN": "the slot has moved",
}


class FlushError(FluxaError):
    """Not every event of a flush was confirmed. Those that were not stay in the flusher, in order.

    Attributes:
        confirmed: the events that the server has, as a `FlushResult`.
        refused: events that the server answered with an error (OOM, WRONGTYPE, NOPERM, READONLY...).
        unconfirmed: events whose replies were lost with the connection, or that too few replicas have, by pool.
            Flushing them again may publish some of them twice.
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
        passing = [PASSING[code] for code in codes if code in PASSING]
        lasting = [code for code in codes if code not in PASSING]
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
