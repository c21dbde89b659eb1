"""What both implementations of `Event` share: the parts that are no hot path."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..errors import FluxaError, SerializationError
from .plain import EPOCH

if TYPE_CHECKING:
    from .interface import Event


def timestamp(milliseconds: int) -> datetime:
    """The time in an entry's ID.

    Raises:
        ValueError: if no datetime can hold it.
    """
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"the ID's {milliseconds} milliseconds are beyond the year 9999") from None


def unserialize(event: Event, value: object, wanted: Any) -> Any:
    """`value`, the event's body, as the wanted type; plain if none is wanted."""
    if wanted is None:
        return value
    from . import typed  # not needed by everybody, and large

    try:
        return typed.convert(value, wanted)
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
