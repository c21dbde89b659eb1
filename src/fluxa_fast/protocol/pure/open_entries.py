"""The events that are packed into one entry of a stream, until the entry is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgpack import packb

from ...errors import SerializationError
from .. import checks, encode_errors
from ..limits import MAX_BULK
from ..packed import marker, unwrapped, written
from ..resp import bulk
from ..wire import BODY_FIELD_BYTES, PACKED_FIELD_BYTES, PACKED_TAGS_FIELD_BYTES

if TYPE_CHECKING:
    from ...packing import Packing
    from ..interface import EntryHead
    from .commands import CommandBuffer

__all__ = ["OpenEntry"]

_NIL = b"\xc0"
_TAG_HEADS = 10  # bytes of the lengths that stand before a name and a value, about

Tags = dict[str, str]


class _Column:
    """The values that the events have for one tag.

    Attributes:
        values: of the events, None for an event without the tag; if `uniform`, only the first.
        uniform: whether all of `filled` events have the same value.
        filled: how many events have their value, or None.
    """

    __slots__ = ("filled", "uniform", "values")

    def __init__(self, place: int, value: str) -> None:
        self.uniform: bool = place == 0
        self.values: list[str | None] = [value] if self.uniform else [None] * place
        self.filled: int = place

    def goes_on(self, place: int, value: str) -> bool:
        """Whether the event at that place has the value that all events before it have."""
        return self.uniform and self.filled == place and value == self.values[0]

    def put(self, place: int, value: str) -> None:
        if not self.goes_on(place, value):
            self.spread()
            self.values += [None] * (place - self.filled)
            self.values.append(value)
            self.filled = place
        self.filled += 1

    def spread(self) -> None:
        """Have one value for each event."""
        if self.uniform:
            self.uniform = False
            self.values *= self.filled


class _Events:
    """Events that may become one entry.

    Attributes:
        bodies: the msgpack of each body.
        size: of the bodies and the tags in bytes, about.
        columns: the values of each tag.
    """

    __slots__ = ("bodies", "columns", "size")

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.columns: dict[str, _Column] = {}
        self.size: int = 0

    def cost_of(self, tags: Tags) -> int:
        """Check tags. Returns how many bytes they add, about."""
        cost = 0
        count = len(self.bodies)
        for name, value in tags.items():
            size = len(checks.tag_as_bytes(name, value)[1])
            column = self.columns.get(name)
            if column is None:
                cost += size + len(name) + _TAG_HEADS + count
            elif not column.uniform:
                cost += size + 1
            elif not column.goes_on(count, value):
                cost += size + 1 + column.filled * (len(str(column.values[0]).encode()) + 1)
        return cost

    def add(self, body: bytes, tags: Tags, cost: int) -> None:
        place = len(self.bodies)
        for name, value in tags.items():
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = _Column(place, value)
            column.put(place, value)
        self.bodies.append(body)
        self.size += len(body) + cost


class OpenEntry:
    """Packs the events of one Redis key.

    Args:
        buffer: that entries are written into.
        head: of the entries.
        packing: how many events an entry has.
        lane: of the events.
    """

    __slots__ = (
        "_buffer",
        "_busy",
        "_events",
        "_head",
        "_lane",
        "_max_bytes",
        "_max_events",
        "_pack",
        "_packing",
        "_wraps",
    )

    def __init__(self, buffer: CommandBuffer, head: EntryHead, packing: Packing, lane: int) -> None:
        self._buffer = buffer
        self._head = head
        self._packing = packing
        self._lane = lane
        self._events = _Events()
        self._busy = False
        self._max_events = packing.max_events
        self._max_bytes = packing.max_bytes
        self._wraps = buffer._encode_body is not None
        self._pack = buffer._packer.pack

    @property
    def size(self) -> int:
        """Of the events in bytes, about."""
        return self._events.size

    def check_idle(self) -> None:
        """Refuse a call that comes while an event is written."""
        if self._busy:
            raise encode_errors.in_use()

    def _has_room_for(self, events: _Events, size: int, count: int = 1) -> bool:
        if not events.bodies:
            return True
        packing = self._packing
        return len(events.bodies) + count <= packing.max_events and events.size + size <= packing.max_bytes

    def publish(self, body: object, tags: Mapping[str, str] | None) -> bool:
        """Pack an event. Returns whether an entry was written."""
        if tags or body is None or self._wraps or self._busy:
            return self._publish(body, tags)
        self._busy = True
        try:
            packed = self._pack(body)
        finally:
            self._busy = False
        events = self._events
        size = events.size + len(packed)
        full = events.bodies and (size > self._max_bytes or len(events.bodies) >= self._max_events)
        if full:
            events = self._next_entry()
            size = len(packed)
        events.bodies.append(packed)
        events.size = size
        return bool(full)

    def _next_entry(self) -> _Events:
        """Write what is packed so far."""
        self._buffer._check_idle()
        self._write_events()
        return self._events

    def _publish(self, body: object, tags: Mapping[str, str] | None) -> bool:
        """The same as `publish`, for every event."""
        self.check_idle()
        of_event: Tags = {} if tags is None else tags if type(tags) is dict else checks.tags_as_dict(tags)
        self._busy = True
        try:
            packed = self._packed(body, of_event)
            cost = self._events.cost_of(of_event)
            full = not self._has_room_for(self._events, len(packed) + cost)
            if full:
                self._next_entry()
                cost = self._events.cost_of(of_event)
        finally:
            self._busy = False
        self._events.add(packed, of_event, cost)
        return full

    def publish_many(self, bodies: Iterable[object], tags: Mapping[str, str] | None, first: int) -> int:
        """Pack an event for each body, or nothing if a body can't be written. Returns how many."""
        self.check_idle()
        self._buffer._check_idle()
        of_events: Tags = {} if tags is None else tags if type(tags) is dict else checks.tags_as_dict(tags)
        own: list[_Events] = [_Events()]
        count = 0
        self._busy = self._buffer._busy = True
        try:
            for body in bodies:
                self._head.check_body(body)
                packed = self._packed(body, of_events)
                cost = own[-1].cost_of(of_events)
                if not self._has_room_for(own[-1], len(packed) + cost):
                    self._write_events()
                    own.append(_Events())
                    cost = own[-1].cost_of(of_events)
                own[-1].add(packed, of_events, cost)
                count += 1
        except SerializationError as error:
            encode_errors.locate_in_many(error, first + count)
            raise
        finally:
            self._busy = self._buffer._busy = False
        if not count or (len(own) == 1 and self._events.bodies and self._joined(own[0], of_events)):
            return count
        self._write_events()
        for events in own[:-1]:
            self._write(events)
        self._events = own[-1]
        return count

    def _joined(self, own: _Events, tags: Tags) -> bool:
        """Add events that all have these tags to those that wait, if there is room for them."""
        cost = self._events.cost_of(tags) * len(own.bodies)
        size = sum(map(len, own.bodies)) + cost
        if not self._has_room_for(self._events, size, len(own.bodies)):
            return False
        for body in own.bodies:
            self._events.add(body, tags, 0)
        self._events.size += cost
        return True

    def close(self) -> None:
        """Write what is packed so far, if there is something."""
        self.check_idle()
        if self._events.bodies:
            self._next_entry()

    def _packed(self, body: object, tags: Tags) -> bytes:
        if body is None:
            if not tags:
                raise encode_errors.empty_event()
            return _NIL
        stored = self._buffer._packed(body)
        return packb(stored) if self._wraps else stored

    def _write_events(self) -> None:
        """Write what is packed so far, if there is something."""
        if self._events.bodies:
            self._write(self._events)
            self._events = _Events()

    def _write(self, events: _Events) -> None:
        """Append the XADD of an entry."""
        fields = self._alone(events) if len(events.bodies) == 1 else self._together(events)
        arguments = self._head.arguments + len(fields)
        self._buffer._append(b"*%d\r\n%b%b" % (arguments, self._head.prefix, b"".join(map(bulk, fields))), 1)
        self._buffer._note_packed(self._lane, len(events.bodies))

    def _alone(self, events: _Events) -> list[bytes]:
        (body,) = events.bodies
        fields: list[bytes] = []
        if body != _NIL or not events.columns:
            wrapped = self._wraps and body != _NIL
            fields += BODY_FIELD_BYTES, unwrapped(body) if wrapped else body
        for name, column in events.columns.items():
            fields += name.encode(), str(column.values[0]).encode()
        return fields

    def _together(self, events: _Events) -> list[bytes]:
        count = len(events.bodies)
        shared: list[bytes] = []
        differing: dict[str, Any] = {}
        for name, column in events.columns.items():
            if column.uniform and column.filled == count:
                shared += name.encode(), str(column.values[0]).encode()
            else:
                column.spread()
                differing[name] = column.values
        array = _array_header(count) + b"".join(events.bodies)
        if len(array) > MAX_BULK:
            raise encode_errors.body_too_large(len(array))
        tags = packb(differing) if differing else b""
        compress = self._packing.compression is not None
        first = marker(count)
        if self._wraps or compress:
            first, array, tags = written(count, array, tags, self._wraps, compress)
        fields = [PACKED_FIELD_BYTES, first, BODY_FIELD_BYTES, array, *shared]
        return [*fields, PACKED_TAGS_FIELD_BYTES, tags] if differing else fields


def _array_header(count: int) -> bytes:
    if count < 16:
        return bytes([0x90 | count])
    return b"\xdc" + count.to_bytes(2, "big")
