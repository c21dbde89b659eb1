"""`Event`: the ID and the fields of an entry, as they were received. They are decoded when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import sub
from typing import TYPE_CHECKING, Any

from ...errors import SerializationError
from .. import entries, packed
from ..entries import TypedOrigin
from ..entry_ids import parse_id
from ..interface import Acknowledge, Tests
from ..packed import Layout, PackedTags
from ..wire import BODY_FIELD_BYTES, PACKED_FIELD_BYTES
from .msgpack import unpack, unpack_array

if TYPE_CHECKING:
    from ..body_codec import BodyCodec
    from ..typed import Reader

Origin = tuple[str, Acknowledge | None]
"""The name of the stream, and the function that `Event.ack` calls."""

_UNDECODED: Any = object()
_NOT_TOLD = (None, None)


class Event:
    """`..interface.Event`, in pure Python."""

    __slots__ = ("_acknowledged", "_body", "_id", "_origin", "_packed_body", "_tag_fields", "_tags", "_waited")

    _id: str
    _origin: Origin
    _packed_body: bytes | None
    _tag_fields: Sequence[bytes]  # names and values in turn, without the body
    _acknowledged: bool | None  # None: another consumer has taken it over
    _body: Any
    _tags: dict[str, str] | None
    _waited: tuple[int | None, int | None]  # milliseconds since the last delivery, and deliveries

    def __init__(self) -> None:
        raise entries.not_made_by_hand()

    @property
    def id(self) -> str:
        return self._id

    @property
    def entry_id(self) -> str:
        return self._id

    @property
    def stream(self) -> str:
        return self._origin[0]

    @property
    def timestamp(self) -> datetime:
        return entries.timestamp(parse_id(self._id)[0])

    @property
    def body(self) -> Any:
        if self._body is _UNDECODED:
            origin = self._origin[1]
            body = self._packed_body
            if body is not None and type(origin) is not TypedOrigin:
                try:
                    self._body = unpack(body)
                except SerializationError:
                    self._decode()  # raises it again, with the place
            else:
                self._body = self._decode_as(origin.reader) if type(origin) is TypedOrigin else self._decode()
        return self._body

    @property
    def raw_body(self) -> bytes | None:
        return self._packed_body

    @property
    def tags(self) -> dict[str, str]:
        if self._tags is None:
            texts = [part.decode("utf-8", "surrogateescape") for part in self._tag_fields]
            self._tags = dict(zip(texts[::2], texts[1::2], strict=True))
        return self._tags

    @property
    def acknowledged(self) -> bool:
        return bool(self._acknowledged)

    @property
    def taken_over(self) -> bool:
        return self._acknowledged is None

    @property
    def idle(self) -> float | None:
        idle = self._waited[0]
        return None if idle is None or idle < 0 else idle / 1000

    @property
    def delivery_count(self) -> int | None:
        deliveries = self._waited[1]
        if deliveries is None:
            return None if self._origin[1] is None else 1
        return None if deliveries < 0 else deliveries

    def tag(self, name: str, default: str = "") -> str:
        return self.tags.get(name, default)

    def unserialize(self, type: Any = None) -> Any:
        origin = self._origin[1]
        codec = self._codec
        if type is not None:
            return self._decode_as(entries.reader_of(type) if codec is None else codec.reader(type))
        return self._decode_as(origin.reader) if isinstance(origin, TypedOrigin) else self._decode()

    @property
    def _codec(self) -> BodyCodec | None:
        origin = self._origin[1]
        return origin.reader.codec if isinstance(origin, TypedOrigin) else None

    def ack(self) -> Any:
        acknowledge = self._origin[1]
        if acknowledge is None:
            raise entries.no_consumer(self)
        return acknowledge(self)

    def __repr__(self) -> str:
        return entries.describe(self)

    def _decode_as(self, reader: Reader) -> Any:
        if reader.from_bytes is not None and (body := self.raw_body) is not None:
            try:
                self._check_readable()
                return reader.from_bytes(body)
            except Exception:
                pass  # what is raised below tells what is wrong, and where
        value = self._decode()
        try:
            return reader.from_value(value)
        except Exception as error:
            entries.not_converted(self, error)

    def _check_readable(self) -> None:
        """Refuse an entry that says it is packed, and could not be split into its events."""

    def _decode(self) -> Any:
        body = self.raw_body
        try:
            self._check_readable()
            if body is None:
                return None
            codec = self._codec
            return unpack(body) if codec is None else codec.plain(body)
        except SerializationError as error:
            entries.locate(error, self)
            raise


class EntryEvent(Event):
    """An event that is an entry."""

    __slots__ = ()
    __init__: Callable[..., None] = object.__init__


class UnreadableEvent(EntryEvent):
    """An entry that says it is packed, and could not be split into its events."""

    __slots__ = ("_fields",)

    _fields: Sequence[bytes]

    @property
    def body(self) -> Any:
        return self._decode()

    def _check_readable(self) -> None:
        raise entries.unreadable_pack(self._fields)


def new_event(id: str, fields: Sequence[bytes], origin: Origin) -> Event:
    """Return the event of an entry with these fields."""
    body = None
    tag_fields = fields
    if BODY_FIELD_BYTES in (names := fields[::2]):
        at = 2 * names.index(BODY_FIELD_BYTES)
        body = fields[at + 1]
        tag_fields = [*fields[:at], *fields[at + 2 :]]
    unreadable = bool(fields) and fields[0] == PACKED_FIELD_BYTES
    (event,) = new_events([id], [body], [tag_fields], origin, UnreadableEvent if unreadable else EntryEvent)
    if isinstance(event, UnreadableEvent):
        event._fields = fields
    return event


def new_events(
    ids: Iterable[str],
    bodies: Iterable[bytes | None],
    tag_fields: Iterable[Sequence[bytes]],
    origin: Origin,
    kind: type[EntryEvent] = EntryEvent,
) -> list[EntryEvent]:
    """Return the events of entries.

    Args:
        ids: of the entries.
        bodies: of the entries, packed; None for an entry without a body.
        tag_fields: of each entry, the names and values of its other fields in turn.
        origin: of the entries.
        kind: the class of the events.
    """
    events: list[EntryEvent] = []
    add = events.append
    for id, body, fields in zip(ids, bodies, tag_fields, strict=False):
        event = kind()
        event._id = id
        event._packed_body = body
        event._tag_fields = fields
        event._origin = origin
        event._acknowledged = False
        event._body = _UNDECODED
        event._tags = None
        event._waited = _NOT_TOLD
        add(event)
    return events


class Pack:
    """What the events of a packed entry share. It keeps the entry's bytes.

    Raises:
        SerializationError: if the entry has no array of so many bodies.

    Args:
        id: of the entry.
        origin: as `Event._origin`.
        layout: what the fields of the entry hold.

    Attributes:
        tags: of the events; None: they have none.
        count: of the events.
        handled: the places of those that were handled.
        acknowledged: whether the server has acknowledged the entry; None: another consumer has taken it over.
        waited: milliseconds since the last delivery, and deliveries.
    """

    __slots__ = ("_bodies", "_ends", "_layout", "acknowledged", "count", "handled", "id", "origin", "tags", "waited")

    def __init__(self, id: str, origin: Origin, layout: Layout) -> None:
        self.id: str = id
        self.origin: Origin = origin
        self.tags: PackedTags | None = layout.tags
        self.count: int = layout.events
        self.handled: set[int] = set()
        self.acknowledged: bool | None = False
        self.waited: tuple[int | None, int | None] = _NOT_TOLD
        self._layout = layout
        self._ends = packed.split(layout.array, layout.events)
        self._bodies: list[bytes | None] | None = None

    @property
    def bodies(self) -> list[bytes | None]:
        """The bytes of each body; None: the event has none.

        Raises:
            SerializationError: if the bodies are said to be wrapped, and are not.
        """
        if self._bodies is None:
            self._bodies = packed.bodies(self._layout.array, self._ends, wrapped=self._layout.wrapped)
        return self._bodies

    def decoded(self) -> Sequence[Any] | None:
        """Return all bodies, if they are plain values that can be decoded at once."""
        if self._layout.wrapped or type(self.origin[1]) is TypedOrigin:
            return None
        longest = max(map(sub, self._ends[1:], self._ends))
        return unpack_array(self._layout.array, longest)


def _of_pack(name: str) -> Any:
    """Return a property that an event has from its `Pack`."""

    def get(event: PackedEvent) -> Any:
        return getattr(event._pack, name)

    def set_(event: PackedEvent, value: Any) -> None:
        setattr(event._pack, name, value)

    return property(get, set_)


class PackedEvent(Event):
    """An event of a packed entry."""

    __slots__ = ("_pack", "_place")
    __init__: Callable[..., None] = object.__init__

    _pack: Pack
    _place: int
    _id = _of_pack("id")
    _origin = _of_pack("origin")
    _acknowledged = _of_pack("acknowledged")
    _waited = _of_pack("waited")

    @property
    def id(self) -> str:
        return f"{self._pack.id}/{self._place}"

    @property
    def _packed_body(self) -> bytes | None:  # type: ignore[override]
        return self._pack.bodies[self._place]

    @property
    def tags(self) -> dict[str, str]:
        if self._pack.tags is None:
            return {}
        try:
            return self._pack.tags.of(self._place)
        except SerializationError as error:
            entries.locate(error, self)
            raise


def split_entry(id: str, fields: list[bytes], origin: Origin) -> list[Event]:
    """Return the events of a packed entry. If they can't be read: an event whose body raises the error."""
    try:
        pack = Pack(id, origin, packed.layout(fields))
        values = pack.decoded()
        if values is None:
            values = [_UNDECODED] * len(pack.bodies)
    except SerializationError:
        return [new_event(id, fields, origin)]
    events: list[Event] = []
    add = events.append
    for place, value in enumerate(values):
        event = PackedEvent()
        event._pack = pack
        event._place = place
        event._body = value
        add(event)
    return events


def mark_acknowledged(events: Iterable[Event]) -> None:
    """Note that the server has acknowledged and deleted these events, and all that share an entry with them."""
    for event in events:
        event._acknowledged = True


def complete(events: list[Event], unfinished: dict[str, Any]) -> list[Event]:
    """Note that these events were handled. Return one event of each entry that has no other events left."""
    found: list[Event] = []
    at = 0
    while at < len(events):
        event = events[at]
        if not isinstance(event, PackedEvent):
            found.append(event)
            at += 1
            continue
        pack = event._pack
        last = min(at + pack.count, len(events)) - 1
        if _pack_of(events[last]) is pack:  # all between them are of the same entry
            handled = [one._place for one in events[at : last + 1]]  # type: ignore[attr-defined]
            at = last + 1
        else:
            handled = []
            while at < len(events) and _pack_of(events[at]) is pack:
                handled.append(events[at]._place)  # type: ignore[attr-defined]
                at += 1
        pack.handled.update(handled)
        if len(pack.handled) < pack.count:
            unfinished[pack.id] = pack
            continue
        unfinished.pop(pack.id, None)
        if not pack.acknowledged:
            found.append(events[at - 1])
    return found


def _pack_of(event: Event) -> Pack | None:
    return event._pack if isinstance(event, PackedEvent) else None


def resumed(events: Iterable[Event], unfinished: dict[str, Any]) -> list[Event]:
    """Return those events that were not handled when their entry was read before."""
    found: list[Event] = []
    current: Pack | None = None
    for event in events:
        if not isinstance(event, PackedEvent):
            found.append(event)
            continue
        pack = event._pack
        if pack is not current:
            current = pack
            before = unfinished.get(event._id)
            if before is not None and before.count == pack.count and before is not pack:
                pack.handled = before.handled
                unfinished[event._id] = pack
        if event._place not in pack.handled:
            found.append(event)
    return found


def entries_in(events: Iterable[Event]) -> int:
    """Return the number of entries that have these events. Events of one entry follow each other."""
    current: Pack | None = None
    count = 0
    for event in events:
        pack = _pack_of(event)
        count += pack is None or pack is not current
        current = pack
    return count


def entry_begin(events: list[Event], at: int, most: int) -> int:
    """Return where to cut a list of events at `at`, or before that if it would cut an entry of up to `most` events."""
    if not 0 < at < len(events):
        return at
    event = events[at]
    if not isinstance(event, PackedEvent) or event._pack.count > most:
        return at
    begin = at
    while begin and isinstance(before := events[begin - 1], PackedEvent) and before._pack is event._pack:
        begin -= 1
    return begin


def mark_taken_over(events: Iterable[Event]) -> None:
    """Note that another consumer has taken these events over, and all that share an entry with them."""
    for event in events:
        event._acknowledged = None


def matching(events: Iterable[Event], tests: Tests) -> list[Event]:
    """Return the events whose tags have one of the values that pass, each of them. Nothing is decoded."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, PackedEvent):
            if _passes(event, tests):
                found.append(event)
            continue
        fields = event._tag_fields
        values_of = dict(zip(fields[::2], fields[1::2], strict=True))
        if all(values_of.get(tag) in values for tag, values in tests):
            found.append(event)
    return found


def _passes(event: PackedEvent, tests: Tests) -> bool:
    """Whether the tags have values that pass. An event whose tags can't be read passes: its handler is told so."""
    try:
        tags = event.tags
    except SerializationError:
        return True
    for tag, values in tests:
        value = tags.get(tag.decode("utf-8", "surrogateescape"))
        if value is None or value.encode("utf-8", "surrogateescape") not in values:
            return False
    return True


def count_deliveries(events: Iterable[Event], counts: Mapping[str, int]) -> None:
    """Note how often these events were delivered, by their IDs; of the others it is not known."""
    for event in events:
        event._waited = (event._waited[0], counts.get(event._id, -1))
