"""Places in a stream as callers name them: an ID, a time, the beginning or the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from .protocol.entry_ids import MOST, EntryId, parse_id, split_id

__all__ = ["EventPlace", "Start", "first_id", "last_id", "position_before"]

Start = str | datetime
"""The first event that a new group is given, or that is read.

``"0"`` is the oldest in the stream, ``"$"`` the next one that is published, an ID that event or the first one behind
it, a datetime the first event since then.
"""

_EPOCH = datetime.fromtimestamp(0, UTC)
_STARTS = "'0', '$', an ID such as '1709136000000-0', or a datetime"


def position_before(start: Start) -> str:
    """Return the position of a group that begins with `start`, as XGROUP CREATE takes it: behind this ID it begins.

    A group begins with a whole entry: the place of an event in it does not count.

    Raises:
        TypeError, ValueError: if it is no start; the error says what one is.
    """
    if start == "$":
        return "$"
    milliseconds, sequence = _place("start", _split("start", start, _STARTS)[0], _STARTS, up=True)
    if sequence:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{MOST}" if milliseconds else "0"


EventPlace = tuple[str, int | None]
"""The ID of an entry, and a place in it; None: no certain one."""


def first_id(start: Start) -> EventPlace:
    """Return the ID from which on XRANGE reads what begins with `start`, and the place of the first event in its entry.

    Raises:
        TypeError, ValueError: as `position_before`; also for ``"$"``, behind which nothing is there to be read.
    """
    told = _STARTS.replace("'$', ", "")
    entry, place = _split("start", start, told)
    milliseconds, sequence = _place("start", entry, told, up=True)
    return f"{milliseconds}-{sequence}" if milliseconds or sequence else "-", place


def last_id(end: str | datetime | None) -> EventPlace:
    """Return the ID up to which XRANGE reads, that one included, and the place of the last event. None: the newest.

    Raises:
        TypeError, ValueError: if it is no end; the error says what one is.
    """
    if end is None:
        return "+", None
    told = "an ID such as '1709136000000-0', a datetime, or None"
    entry, place = _split("end", end, told)
    milliseconds, sequence = _place("end", entry, told, up=False)
    return f"{milliseconds}-{sequence}", place


def _split(name: str, place: str | datetime, told: str) -> tuple[str | datetime, int | None]:
    """Return what names the entry, and the place of an event in it, if the ID of an event has one."""
    if not isinstance(place, str):
        return place, None
    try:
        return split_id(place)
    except ValueError:
        raise ValueError(f"{name} is {told}, not {place!r}") from None


def _place(name: str, place: object, told: str, *, up: bool) -> EntryId:
    """Return the numbers of the ID. `up`: whether it is the first of those that are meant, and not the last."""
    if isinstance(place, datetime):
        if place.tzinfo is None:
            raise ValueError(f"{name} {place.isoformat()} has no time zone; say which one: datetime(..., tzinfo=UTC)")
        since = place - _EPOCH
        millisecond = timedelta(milliseconds=1)
        milliseconds = -(-since // millisecond) if up else since // millisecond
        return max(0, milliseconds), 0 if up else MOST
    if not isinstance(place, str):
        raise TypeError(f"{name} is {told}, not {type(place).__name__}")
    try:
        found = parse_id(place if "-" in place else f"{place}-{0 if up else MOST}")
        if not all(0 <= number <= MOST for number in found):
            raise ValueError
    except ValueError:
        raise ValueError(f"{name} is {told}, not {place!r}") from None
    return found
