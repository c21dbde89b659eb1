"""Where the events of a registered stream go."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import SerializationError
from ..flows.partition_count import PartitionCheck
from ..partitions import partition_of
from ..protocol.commands import EntryHead
from ..protocol.hashing import Key, without_partitions

__all__ = ["StreamRoute"]

P = TypeVar("P")


@dataclass(slots=True)
class StreamRoute(Generic[P]):
    """The pool of a stream, and how its XADDs begin.

    Attributes:
        pool: that it is on.
        heads: of its partitions, or its only one.
        check: of the number of its partitions; None if it has none.
    """

    pool: P
    heads: tuple[EntryHead, ...]
    check: PartitionCheck | None = None

    def head(self, stream: str, key: Key | None) -> EntryHead:
        """That of the partition that an event with this key goes to; of any, if it has none.

        Raises:
            SerializationError: for what is no key.
            ValueError: for a key, if the stream has no partitions.
        """
        if key is None:
            return self.heads[0] if len(self.heads) == 1 else random.choice(self.heads)
        if self.heads[0].stream == stream:
            raise without_partitions(stream)
        try:
            return self.heads[partition_of(key, len(self.heads))]
        except SerializationError as error:
            error.stream = stream
            raise
