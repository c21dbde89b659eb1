"""Reads what is in a stream, without a group: page by page, and the partitions in the order of their IDs."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..positions import EventPlace
from ..protocol.entries import origin_without_consumer
from ..protocol.entry_ids import EntryId, by_id, parse_id, split_id
from ..protocol.interface import ReplyReader
from .agreement import Agreement, agree
from .consume.entry_sizes import EntrySizes
from .patiently import patiently
from .retry import raise_for_error
from .steps import Flow, ask

if TYPE_CHECKING:
    from ..packing import Packing
    from ..protocol.typed import Reader

__all__ = ["History"]

_PAGE = 1000  # events that are asked for at once, of all partitions together
_LEAST = 10  # of one partition


class _Part:
    """One of the Redis streams.

    Attributes:
        key: the Redis key.
        start: the next page begins here.
        end: the ID of the last entry to read; None: not known yet.
        events: that were read, and not handed out.
        more: whether another page may bring events.
    """

    __slots__ = ("end", "events", "key", "more", "start")

    def __init__(self, key: str, start: str) -> None:
        self.key = key
        self.start = start
        self.end: str | None = None
        self.events: deque[Any] = deque()
        self.more = True


class History:
    """The events of a stream from a start to an end, which is where the stream ends when the first is asked for.

    A face runs the flow that `due` returns, as long as there is one, and then takes `next`. If a flow fails, the same
    flow is due again: the iteration can go on.

    Args:
        pool: that the stream is on.
        keys: its Redis keys.
        start: the ID of the first entry, and the place of the first event in it.
        end: the ID of the last entry, or ``+``, and the place of the last event in it.
        count: how many events there are to be in all; None: all.
        reader: makes the bodies, if the stream has a type of them.
        check: of the number of partitions; None: the stream has none.
        packing: how the stream is registered; None: it may be packed all the same.
    """

    def __init__(
        self,
        pool: Any,
        keys: Sequence[str],
        start: EventPlace,
        end: EventPlace,
        count: int | None,
        reader: Reader | None,
        check: Agreement | None,
        packing: Packing | None = None,
    ) -> None:
        self._pool = pool
        self._check = check
        self._parts = [_Part(key, start[0]) for key in keys]
        self._start = start
        self._end, self._end_place = end
        self._sizes = EntrySizes(packing)
        self._left = count
        self._origin = origin_without_consumer(reader)
        self._page = max(_LEAST, _PAGE // len(keys))
        self._heads: list[tuple[EntryId, int]] = []  # the next event of each partition: its ID, and the partition
        self._unread = deque(range(len(keys)))  # partitions whose next event is not known

    def due(self) -> tuple[str, Flow[None]] | None:
        """Return the Redis key and the flow that must be run before the next event is known, if there is any."""
        if self._check is not None and self._check.due:
            return self._check.key, agree(self._check, self._pool)
        while self._unread and self._left != 0:
            part = self._parts[self._unread[0]]
            if part.events:
                self._known()
            elif part.more:
                attempt: Callable[[], Flow[None]] = partial(self._read, part)
                return part.key, patiently(self._pool, part.key, attempt)
            else:
                self._unread.popleft()
        return None

    def _known(self) -> None:
        index = self._unread.popleft()
        heapq.heappush(self._heads, (by_id(self._parts[index].events[0]), index))

    def next(self) -> Any:
        """Return the next event, when nothing is due; None at the end."""
        if not self._heads or self._left == 0:
            return None
        _, index = heapq.heappop(self._heads)
        self._unread.append(index)
        if self._left is not None:
            self._left -= 1
        return self._parts[index].events.popleft()

    def _read(self, part: _Part) -> Flow[None]:
        """``XREVRANGE key end - COUNT 1`` once, and ``XRANGE key start end COUNT n``."""
        commands = self._pool.implementation.CommandBuffer()
        if part.end is None:
            commands.command("XREVRANGE", part.key, self._end, "-", "COUNT", 1)
            last = raise_for_error((yield from ask(commands, self._events_of(part))))
            if not last.events:
                part.more = False
                return
            part.end = last.events[0].entry_id
        wanted = self._page if self._left is None else min(self._page, self._left)
        count = self._sizes.entries_for(wanted)
        commands.command("XRANGE", part.key, part.start, part.end, "COUNT", count)
        batch = raise_for_error((yield from ask(commands, self._events_of(part))))
        self._sizes.note(batch)
        events = batch.events
        entries = batch.entries
        if events:
            newest = events[-1].entry_id
            part.more = entries == count and parse_id(newest) < parse_id(part.end)
            if batch.extra and (self._start[1], self._end_place) != (None, None):
                events = [event for event in events if self._is_wanted(event)]
        else:
            part.more = False
        if self._origin is not None:
            self._pool.implementation.count_deliveries(events, {})
        part.events.extend(events)
        if part.more:
            part.start = f"({newest}"

    def _is_wanted(self, event: Any) -> bool:
        """Whether an event of a packed entry is between the places where the iteration starts and ends."""
        entry, place = split_id(event.id)
        (first, first_place), last, last_place = self._start, self._end, self._end_place
        if entry == first and first_place is not None and place is not None and place < first_place:
            return False
        return not (entry == last and last_place is not None and place is not None and place > last_place)

    def _events_of(self, part: _Part) -> Callable[[ReplyReader], Any]:
        return lambda reader: reader.read_range(part.key, self._origin)
