"""Where the events of a registered stream go."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import SerializationError
from ..flows.partition_count import PartitionCheck
from ..keep import Retention
from ..partitions import partition_of
from ..protocol.commands import EntryHead
from ..protocol.hashing import Key, without_partitions

__all__ = ["StreamRoute"]

P = TypeVar("P")


@dataclass(slots=True)
class StreamRoute(Generic[P]):
    """The pool of a stream, and the entry head of each of its partitions.

    Attributes:
        pool: the pool that the stream is on.
        heads: the entry heads of the partitions; of a stream without partitions its only one.
        check: the check of the number of partitions; None for a stream without partitions.
        retention: what publishers trim; None: events are deleted when they are handled.
    """

    pool: P
    heads: tuple[EntryHead, ...]
    check: PartitionCheck | None = None
    retention: Retention | None = None

    def head_for(self, stream: str, key: Key | None) -> EntryHead:
        """Return the entry head of the partition that `key` maps to, or of a random partition if `key` is None.

        Args:
            stream: the name of the stream, as it is registered.
            key: a partition key.

        Raises:
            SerializationError: if `key` is of a type that is no partition key.
            ValueError: if there is a key, and the stream has no partitions.
        """
        if key is None:
            return self.heads[0] if len(self.heads) == 1 else random.choice(self.heads)
        if not self.heads[0].partitioned:
            raise without_partitions(stream)
        try:
            return self.heads[partition_of(key, len(self.heads))]
        except SerializationError as error:
            error.stream = stream
            raise
