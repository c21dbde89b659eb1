"""What both implementations of `Event` share: the parts that are no hot path."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..errors import FluxaError, SerializationError
from .conversions import EPOCH

if TYPE_CHECKING:
    from .interface import Acknowledge, Event
    from .typed import Reader


def timestamp(milliseconds: int) -> datetime:
    """The time in an entry's ID.

    Raises:
        ValueError: if no datetime can hold it.
    """
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"the ID's {milliseconds} milliseconds are beyond the year 9999") from None


class TypedOrigin:
    """In the place of what acknowledges an event: its body is to be read as a certain type as well.

    Attributes:
        acknowledge: is called with an event that is to be acknowledged.
        reader: makes the body.
    """

    __slots__ = ("acknowledge", "reader")

    def __init__(self, acknowledge: Acknowledge, reader: Reader) -> None:
        self.acknowledge: Acknowledge = acknowledge
        self.reader: Reader = reader

    def __call__(self, event: Any) -> Any:
        return self.acknowledge(event)


readers: dict[Any, Reader] = {}
_KEPT_READERS = 1024  # and no more: types that a program makes on the fly would pile up


def reader_of(wanted: Any) -> Reader:
    """How a body becomes a `wanted`.

    Raises:
        TypeError: if that is not a type that is understood.
    """
    try:
        return readers[wanted]
    except (KeyError, TypeError):  # a TypeError: it can't be the key of a dict
        from . import typed  # not needed by everybody, and large

        made = typed.reader(wanted)
    if len(readers) < _KEPT_READERS:
        with suppress(TypeError):
            readers[wanted] = made
    return made


def read_value(event: Event, value: object, reader: Reader) -> Any:
    """The event's body as the reader's type, where its library could not make it of the bytes, or refused to.

    Raises:
        SerializationError: with the path, the expected type, the stream and the event's ID.
    """
    try:
        return reader.from_value(value)
    except SerializationError as error:
        error._located("body")
        error.stream = f"{event.stream}: event {event.id}"
        raise


def locate(error: SerializationError, event: Event) -> None:
    """Say which event could not be read."""
    error.stream = event.stream
    error.path = f"event {event.id}"


def describe(event: Event) -> str:
    state = ", acknowledged" if event.acknowledged else ""
    tags = f", tags={event.tags!r}" if event.tags else ""
    return f"<Event {event.id} of {event.stream!r}{tags}{state}>"


def no_consumer(event: Event) -> FluxaError:
    return FluxaError(f"event {event.id} of {event.stream} was not read by a consumer, so there is no group to ack in")


def not_made_by_hand() -> TypeError:
    return TypeError("events come from a consumer; they are not made by hand")
