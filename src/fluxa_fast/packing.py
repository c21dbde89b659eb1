"""`Packing`: how many events share one entry of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .protocol.limits import MOST_PACKED
from .protocol.zstd import zstd
from .shared.validation import positive_int

__all__ = ["Packing", "checked_packing"]


@dataclass(frozen=True, slots=True)
class Packing:
    """How a flusher packs events: many into one entry, which costs the server hardly more than one event.

    An entry is full with the first limit that it reaches, and at each flush. A larger event is an entry alone.

    Attributes:
        max_events: events in one entry at most, from 1 to 65535.
        max_bytes: bytes of bodies and tags in one entry at most, before they are compressed. With a little more than
            the default, Redis 7 wastes a quarter of the memory.
        compression: ``"zstd"`` compresses the bodies, and the tags that differ from event to event. Python 3.14 has it,
            older ones need the extra ``fluxa-fast[zstd]``, and so do all readers. None: nothing is compressed.
    """

    max_events: int = 1000
    max_bytes: int = 32_000
    compression: Literal["zstd"] | None = None

    def __post_init__(self) -> None:
        positive_int(self.max_events, "max_events")
        positive_int(self.max_bytes, "max_bytes")
        if self.max_events > MOST_PACKED:
            raise ValueError(f"max_events is a number from 1 to {MOST_PACKED}, not {self.max_events}")
        if self.compression not in (None, "zstd"):
            raise ValueError(f"compression is 'zstd' or None, not {self.compression!r}")


def checked_packing(packed: object) -> Packing | None:
    """Return how a stream is packed; None: it is not.

    Raises:
        TypeError: if it is something else.
        ImportError: if it is to be compressed, and this Python can't do that.
    """
    if packed is False or packed is None:
        return None
    if packed is True:
        return Packing()
    if not isinstance(packed, Packing):
        raise TypeError(f"packed is True, False or a Packing, not {packed!r}")
    if packed.compression is not None:
        zstd()
    return packed
