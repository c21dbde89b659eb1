"""Comparing the numbers of partitions of the streams that a flusher publishes to for the first time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic

from redis.exceptions import RedisError

from ..errors import FluxaError
from ..flows.partition_count import PartitionCheck, not_checked
from .buffer_targets import BufferTargets, P

__all__ = ["PartitionChecks"]


class PartitionChecks(Generic[P]):
    """The checks that a flush must make before it sends. The flusher iterates, and makes each check in `outcome`.

    Attributes:
        errors: the error of every stream whose number could not be compared, because of the network or the server.
    """

    def __init__(self, targets: BufferTargets[P]) -> None:
        self.errors: dict[str, Exception] = {}
        self._targets = targets

    def __iter__(self) -> Iterator[tuple[P, PartitionCheck]]:
        unchecked = self._targets.unchecked
        tried: set[str] = set()
        # During a check another task may publish to one more stream.
        while untried := [stream for stream in unchecked if stream not in tried]:
            tried.update(untried)
            for stream in untried:
                check = unchecked[stream]
                if check.due:
                    yield self._targets.pool_of(stream), check
                if not check.due:
                    del unchecked[stream]

    @contextmanager
    def outcome(self, check: PartitionCheck) -> Iterator[None]:
        """A context for one check.

        Raises:
            PartitionsDifferError, FluxaError: if the number differs or can't be one, and events of the stream wait.
        """
        try:
            yield
        except RedisError as error:
            self.errors[check.stream] = not_checked(check, error)
        except FluxaError:
            if self._targets.has_events_of(check.stream):
                raise
