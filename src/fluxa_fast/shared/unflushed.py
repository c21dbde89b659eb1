"""Events that are never flushed: they are warned of, and a forked child drops those that were collected before.

The warning comes when the flusher is dropped, or when the interpreter ends.
"""

from __future__ import annotations

import atexit
import os
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from ..partitions import partitions_with
from ..protocol.interface import CommandBuffer
from .weak_set import SharedWeakSet

__all__ = ["HoldsEvents", "loss_message", "named_streams", "watch"]

_MOST_NAMED = 10_000  # events that a warning looks at: to look at a million takes half a second


class HoldsEvents(Protocol):
    """Events that wait for a flush."""

    def warn(self) -> None:
        """Warn of events that are about to be lost."""

    def forget(self) -> None:
        """Drop the events of the parent process."""


_watched: SharedWeakSet[HoldsEvents] = SharedWeakSet()


def watch(held: HoldsEvents) -> None:
    """Call `forget` in a forked child, and `warn` at the end of the interpreter."""
    _watched.add(held)


def _forget_all() -> None:
    for held in _watched:
        held.forget()


def _warn_at_the_end() -> None:
    """Warn while everything is still there. `__del__` may come too late for that, or never (of daemon threads)."""
    for held in _watched:
        held.warn()


atexit.register(_warn_at_the_end)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all)


def by_stream(buffers: Iterable[CommandBuffer]) -> tuple[dict[str, int], bool]:
    """Return how many events of each stream are in these buffers, and whether all are: very many are not counted."""
    streams: Counter[str] = Counter()
    left = _MOST_NAMED
    complete = True
    for buffer in buffers:
        complete = complete and buffer.command_count <= left
        keys = buffer.keys(range(min(left, buffer.command_count)))
        counts = {} if buffer.packed is None else {one.position: one.events for one in buffer.packed.commands}
        for position, key in enumerate(keys):
            streams[found[0] if (found := partitions_with(key)) else key] += counts.get(position, 1)
        left -= len(keys)
    return streams, complete


def named_streams(buffers: Iterable[CommandBuffer]) -> str:
    """Return the streams of the events in these buffers in words, and how many events each has."""
    streams, complete = by_stream(buffers)
    if not complete:
        return f"the first {_MOST_NAMED} are for {', '.join(map(repr, streams))}"
    return ", ".join(f"{number} for stream {stream!r}" for stream, number in streams.items())


def loss_message(buffers: Iterable[CommandBuffer], events: int, *, eager: bool) -> str:
    """Return the text of the warning that the events in these buffers are lost."""
    named = named_streams(buffers)
    told = "1 event that was" if events == 1 else f"{events} events that were"
    sent = "; the server may have some of them, as the flusher is eager" if eager else ""
    return (
        f"a flusher was dropped with {told} not flushed: {named}{sent}; "
        "call flush() to send what was collected, or clear() if it is not to be sent"
    )
