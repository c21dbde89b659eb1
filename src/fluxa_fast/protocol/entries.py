"""The parts of `Event` that are not hot, shared by both implementations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import FluxaError, SerializationError
from . import packed
from .conversions import EPOCH
from .encode_errors import described

if TYPE_CHECKING:
    from .interface import Acknowledge, Event
    from .typed import Reader


def timestamp(milliseconds: int) -> datetime:
    """Return the time that an entry's ID tells.

    Raises:
        ValueError: if it is beyond the year 9999, which no datetime can hold.
    """
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"the ID's {milliseconds} milliseconds are beyond the year 9999") from None


class TypedOrigin:
    """Stands where an event has its `acknowledge` function, if its stream has a type of bodies or its registry hooks.

    Attributes:
        acknowledge: acknowledges an event.
        reader: reads the body as the registered type.
    """

    __slots__ = ("acknowledge", "reader")

    def __init__(self, acknowledge: Acknowledge, reader: Reader) -> None:
        self.acknowledge: Acknowledge = acknowledge
        self.reader: Reader = reader

    def __call__(self, event: Any) -> Any:
        return self.acknowledge(event)


def origin_without_consumer(reader: Reader | None) -> TypedOrigin | None:
    """Return the origin of events that no consumer has read, so that `ack` refuses. None for plain bodies, as usual.

    Args:
        reader: reads the body as the registered type; None: it is a plain value.
    """
    return None if reader is None else TypedOrigin(_refuse_to_acknowledge, reader)


def _refuse_to_acknowledge(event: Any) -> Any:
    raise no_consumer(event)


readers: dict[Any, Reader] = {}
_KEPT_READERS = 1024  # a limit, because a program may go on making types


def reader_of(wanted: Any) -> Reader:
    """Return the reader that makes a `wanted` of a body.

    Raises:
        TypeError: if bodies can't be converted to `wanted`.
    """

    def make() -> Reader:
        from . import typed  # large, and only programs with typed bodies need it

        return typed.reader(wanted)

    return kept(readers, wanted, make)


def kept(readers: dict[Any, Reader], wanted: Any, make: Callable[[], Reader]) -> Reader:
    """Return the reader of a type out of `readers`; a new one is made, and kept there."""
    try:
        return readers[wanted]
    except (KeyError, TypeError):  # TypeError: `wanted` is not hashable
        made = make()
    if len(readers) < _KEPT_READERS:
        with suppress(TypeError):
            readers[wanted] = made
    return made


def not_converted(event: Event, error: Exception) -> NoReturn:
    """Raise the error for a body that could not be made a value of the reader's type.

    It has the path, the expected type, the stream and the event's ID.
    """
    if isinstance(error, SerializationError):
        refusal = error
    else:  # of a class or a hook
        refusal = SerializationError(f"the body can't be converted: {described(error)}")
        refusal.__cause__ = error
    refusal._located("body")
    refusal.stream = f"{event.stream}: event {event.id}"
    raise refusal


def locate(error: SerializationError, event: Event) -> None:
    """Add to an error which event could not be read."""
    error.stream = event.stream
    error.path = f"event {event.id}"


def unreadable_pack(fields: Sequence[bytes]) -> SerializationError:
    """Return the error for an entry that says it is packed, and whose fields can't be split into events."""
    try:
        found = packed.layout(fields)
        packed.bodies(found.array, packed.split(found.array, found.events), wrapped=found.wrapped)
    except SerializationError as error:
        return error
    return SerializationError("a packed entry that could not be read")


def describe(event: Event) -> str:
    state = ", acknowledged" if event.acknowledged else ""
    try:
        tags = f", tags={event.tags!r}" if event.tags else ""
    except SerializationError:
        tags = ", tags that can't be read"
    return f"<Event {event.id} of {event.stream!r}{tags}{state}>"


def no_consumer(event: Event) -> FluxaError:
    return FluxaError(f"event {event.id} of {event.stream} was not read by a consumer, so there is no group to ack in")


def not_made_by_hand() -> TypeError:
    return TypeError("events come from a consumer; they are not made by hand")
