"""`Event`: the ID and the fields of an entry, as they were received. They are decoded when they are first used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...errors import SerializationError
from .. import entries
from ..entry_ids import parse_id
from ..interface import Acknowledge, Tests
from ..wire import BODY_FIELD_BYTES
from .msgpack import unpack

if TYPE_CHECKING:
    from ..body_codec import BodyCodec
    from ..typed import Reader

_UNDECODED: Any = object()


class Event:
    """`..interface.Event`, in pure Python."""

    __slots__ = ("_acknowledged", "_body", "_fields", "_id", "_origin", "_tags", "_waited")

    _id: str
    _origin: tuple[str, Acknowledge | None]  # the name of the stream, and the function that `ack` calls
    _fields: list[bytes]
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
    def stream(self) -> str:
        return self._origin[0]

    @property
    def timestamp(self) -> datetime:
        return entries.timestamp(parse_id(self._id)[0])

    @property
    def body(self) -> Any:
        if self._body is _UNDECODED:
            origin = self._origin[1]
            self._body = self._decode_as(origin.reader) if type(origin) is entries.TypedOrigin else self._decode()
        return self._body

    @property
    def raw_body(self) -> bytes | None:
        fields = self._fields
        if fields and fields[0] == BODY_FIELD_BYTES:
            return fields[1]
        try:
            return fields[fields[::2].index(BODY_FIELD_BYTES) * 2 + 1]
        except ValueError:
            return None

    @property
    def tags(self) -> dict[str, str]:
        if self._tags is None:
            names, values = self._fields[::2], self._fields[1::2]
            if BODY_FIELD_BYTES in names:
                body = names.index(BODY_FIELD_BYTES)
                del names[body], values[body]
            self._tags = {
                name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
                for name, value in zip(names, values, strict=True)
            }
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
        return self._decode_as(origin.reader) if isinstance(origin, entries.TypedOrigin) else self._decode()

    @property
    def _codec(self) -> BodyCodec | None:
        origin = self._origin[1]
        return origin.reader.codec if isinstance(origin, entries.TypedOrigin) else None

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
                return reader.from_bytes(body)
            except Exception:
                pass  # what is raised below tells what is wrong, and where
        value = self._decode()
        try:
            return reader.from_value(value)
        except Exception as error:
            entries.not_converted(self, error)

    def _decode(self) -> Any:
        body = self.raw_body
        if body is None:
            return None
        try:
            codec = self._codec
            return unpack(body) if codec is None else codec.plain(body)
        except SerializationError as error:
            entries.locate(error, self)
            raise


_NOT_TOLD = (None, None)


def new_event(id: str, fields: list[bytes], origin: tuple[str, Acknowledge | None]) -> Event:
    event = Event.__new__(Event)
    event._id = id
    event._fields = fields
    event._origin = origin
    event._acknowledged = False
    event._body = _UNDECODED
    event._tags = None
    event._waited = _NOT_TOLD
    return event


def mark_acknowledged(events: Iterable[Event]) -> None:
    """Note that the server has acknowledged and deleted these events."""
    for event in events:
        event._acknowledged = True


def mark_taken_over(events: Iterable[Event]) -> None:
    """Note that another consumer has taken these events over."""
    for event in events:
        event._acknowledged = None


def matching(events: Iterable[Event], tests: Tests) -> list[Event]:
    """Return the events whose tags have one of the values that pass, each of them. Nothing is decoded."""
    found = []
    for event in events:
        fields = event._fields
        values_of = dict(zip(fields[::2], fields[1::2], strict=True))
        if all(values_of.get(tag) in values for tag, values in tests):
            found.append(event)
    return found


def count_deliveries(events: Iterable[Event], counts: Mapping[str, int]) -> None:
    """Note how often these events were delivered, by their IDs; of the others it is not known."""
    for event in events:
        event._waited = (event._waited[0], counts.get(event._id, -1))
