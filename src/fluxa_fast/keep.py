"""`Keep`: how much a stream keeps of what was published, whether it was handled or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .shared.validation import Duration, positive_int, seconds

__all__ = ["Keep", "Retention", "checked_keep"]

_TRIMMED_EACH = 100  # single events after which `publish` trims
_AT_ONCE = 16  # partitions that one flush trims


@dataclass(frozen=True, slots=True)
class Keep:
    """How much a stream keeps. Events stay when they are acknowledged; publishers trim the oldest.

    All limits that are given hold. They hold for events that no group has had yet, too. The server drops whole nodes of
    entries (``XTRIM ~``), so a stream may have some hundred entries more.

    Attributes:
        events: how many events at most; of a stream with partitions, each partition has an equal part of them. How many
            entries of a packed stream these are is estimated from the oldest and the newest one.
        age: seconds (or a timedelta) since an event was published, by the clock of the server.
        bytes: of the server's memory, estimated from a sample (``MEMORY USAGE``); divided among partitions, too.
    """

    events: int | None = None
    age: Duration | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        if self.events is None and self.age is None and self.bytes is None:
            raise ValueError("Keep needs events=, age= or bytes=")
        if self.events is not None:
            positive_int(self.events, "events")
        if self.bytes is not None:
            positive_int(self.bytes, "bytes")
        if self.age is not None and seconds("age", self.age) <= 0:
            raise ValueError(f"age is more than 0 seconds, not {self.age!r}")

    def of_partition(self, partitions: int) -> Keep:
        """Return what one of so many partitions keeps."""
        return Keep(
            None if self.events is None else -(-self.events // partitions),
            self.age,
            None if self.bytes is None else -(-self.bytes // partitions),
        )


def checked_keep(keep: object) -> Keep | None:
    """Return what a stream keeps; None: every event until all groups have acknowledged it.

    Raises:
        TypeError: if it is something else.
    """
    if keep is None or keep == "until_handled":
        return None
    if not isinstance(keep, Keep):
        raise TypeError(f"keep is a Keep, 'until_handled' or None, not {keep!r}")
    return keep


class Retention:
    """What one broker trims of a stream.

    Args:
        keep: how much the stream keeps.
        keys: its Redis keys.
        packed: whether its entries may have several events.

    Attributes:
        packed: as the argument.
        keep: how much each of its Redis keys keeps.
        warned: whether a failure was logged.
        told: the groups for which it was logged that they have missed entries.
    """

    def __init__(self, keep: Keep, keys: Sequence[str], *, packed: bool = False) -> None:
        self.packed: bool = packed
        self.keep: Keep = keep.of_partition(len(keys))
        self.warned: bool = False
        self.told: set[str] = set()
        self._keys = deque(keys)
        self._published = 0

    def after_flush(self) -> Iterator[str]:
        """Iterate over the Redis keys that are to be trimmed now: of many partitions some, in turns."""
        for _ in range(min(_AT_ONCE, len(self._keys))):
            key = self._keys[0]
            self._keys.rotate(-1)
            yield key

    def after_publish(self) -> bool:
        """Whether the stream is to be trimmed, because another single event was published."""
        self._published += 1
        return self._published % _TRIMMED_EACH == 0
