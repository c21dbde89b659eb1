"""The order of stream entries: by the two numbers of their IDs, not by the text of these.

An ID is ``<milliseconds>-<sequence>``. As text ``9-0`` stands behind ``10-0``; the server sorts the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interface import Event

__all__ = ["MOST", "EntryId", "by_id", "checked_id", "highest_id", "is_id", "parse_id", "split_id"]

MOST = 2**64 - 1
"""The largest number in an ID."""

_PLACE_DIGITS = 9

EntryId = tuple[int, int]
"""Milliseconds and sequence number."""


def parse_id(id: str | bytes) -> EntryId:
    """Return the numbers of an entry's ID. They compare as the server compares entries.

    Raises:
        ValueError: if it is not two numbers with a hyphen between them.
    """
    try:
        milliseconds, sequence = id.split(b"-") if isinstance(id, bytes) else id.split("-")
        return int(milliseconds), int(sequence)
    except ValueError:
        raise ValueError(f"{id!r} is not the ID of a stream entry") from None


_TOLD = re.compile(rb"\d{1,20}-\d{1,20}")


def is_id(reply: object) -> bool:
    """Return whether a reply has the form of an entry's ID."""
    return type(reply) is bytes and _TOLD.fullmatch(reply) is not None


_CHOSEN = re.compile(r"([0-9]{1,20})-([0-9]{1,20}|\*)")


def checked_id(id: object) -> str:
    """Return an ID that a publisher has chosen for an entry.

    Raises:
        TypeError, ValueError: if it can't be one; the error says what an ID is.
    """
    told = "an ID such as '1709136000000-0', or '1709136000000-*' (Redis 7.0: the server chooses the second number)"
    if not isinstance(id, str):
        raise TypeError(f"id is {told}, not {type(id).__name__}")
    found = _CHOSEN.fullmatch(id)
    if found is None or any(number != "*" and int(number) > MOST for number in found.groups()):
        raise ValueError(f"id is {told}, not {id!r}")
    if not any(number == "*" or int(number) for number in found.groups()):
        raise ValueError("id '0-0' is no entry's: the lowest ID is '0-1'")
    return id


def by_id(event: Event) -> EntryId:
    """Return the sort key that puts events into the order of their entries: ``events.sort(key=by_id)``."""
    return parse_id(event.entry_id)


def split_id(id: str) -> tuple[str, int | None]:
    """Return the entry's ID in the ID of an event, and the event's place in the entry; None: it says no place.

    Raises:
        ValueError: if the place is no number.
    """
    entry, slash, place = id.partition("/")
    if not slash:
        return id, None
    if not (place.isascii() and place.isdigit()) or len(place) > _PLACE_DIGITS:
        raise ValueError(f"{id!r} is not the ID of an event")
    return entry, int(place)


def highest_id(ids: Iterable[str]) -> str:
    """Return the ID of the entry that comes last in the stream. There must be at least one ID."""
    return max(ids, key=parse_id)
