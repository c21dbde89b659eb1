"""Entries that were acknowledged, and were left in the stream because another group still needs them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import islice

from ...protocol.entry_ids import EntryId

__all__ = ["DeferredDeletes"]

_MOST = 100_000


class DeferredDeletes:
    """Their IDs, which are tried again in turns. Threads may share it. Beyond 100 000 it forgets the oldest ones."""

    __slots__ = ("_ids", "_lock")

    def __init__(self) -> None:
        self._ids: dict[EntryId, None] = {}  # those that were tried last stand at the end
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ids)

    def next(self, count: int) -> list[EntryId]:
        """Return up to `count` IDs that were not tried for the longest time, ascending."""
        with self._lock:
            return sorted(islice(self._ids, count))

    def tried(self, ids: Sequence[EntryId], still: Iterable[EntryId]) -> None:
        """Take note that `ids` were tried. `still` has those of them that must stay, and new ones."""
        with self._lock:
            for id in ids:
                self._ids.pop(id, None)
            self._ids.update(dict.fromkeys(still))
            for id in list(islice(self._ids, max(0, len(self._ids) - _MOST))):
                del self._ids[id]
