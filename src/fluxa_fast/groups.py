"""The groups of a stream: their names, and where each of them begins.

Each group is given every event of the stream, and shares it among its consumers. An event is deleted when every group
has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from .partitions import beside
from .protocol.entry_ids import parse_id

__all__ = [
    "GROUP",
    "ONE_GROUP",
    "Groups",
    "Start",
    "beside_group",
    "checked_group",
    "checked_groups",
    "position_before",
]

GROUP = "consumer_group"
"""The group of a stream for which no groups are declared; the original uses the same."""

Start = str | datetime
"""The first event that a new group is given.

``"0"`` is the oldest in the stream, ``"$"`` the next one that is published, an ID that event or the first one behind
it, a datetime the first event since then.
"""

Groups = tuple[tuple[str, str], ...]
"""The name of each group, and its position, as XGROUP CREATE takes it: behind this ID the group begins."""

ONE_GROUP: Groups = ((GROUP, "0"),)

_MOST_SEQUENCE = 2**64 - 1
_EPOCH = datetime.fromtimestamp(0).astimezone()


def checked_groups(groups: Sequence[str] | Mapping[str, Start] | None) -> Groups:
    """Check the groups that a caller declares for a stream.

    Raises:
        TypeError, ValueError: if they can't be groups; the error says why.
    """
    if groups is None:
        return ONE_GROUP
    if isinstance(groups, str) or not isinstance(groups, Sequence | Mapping):
        raise TypeError(f"groups are a list of names, or a dict of names and starts, not {groups!r}")
    if not groups:
        raise ValueError("a stream has one group at least; without groups= it is 'consumer_group'")
    starts: Mapping[str, Start] = groups if isinstance(groups, Mapping) else dict.fromkeys(groups, "0")
    if len(starts) < len(groups):
        raise ValueError(f"a group is declared twice in {list(groups)!r}")
    return tuple((checked_group(name), position_before(start)) for name, start in starts.items())


def checked_group(name: object) -> str:
    """Return the name of a group.

    Raises:
        TypeError, ValueError: if it can't be one.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a group is a str, not {type(name).__name__}")
    if not name:
        raise ValueError("the name of a group has one character at least")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name of group {name!r} has a lone surrogate, which UTF-8 can't hold") from None
    return name


def position_before(start: Start) -> str:
    """Return the position of a group that begins with `start`.

    Raises:
        TypeError, ValueError: if it is no start; the error says what one is.
    """
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise ValueError(f"start {start.isoformat()} has no time zone; say which one: datetime(..., tzinfo=UTC)")
        milliseconds = -(-(start - _EPOCH) // timedelta(milliseconds=1))  # a part of one counts as one
        return _before(max(0, milliseconds), 0)
    if not isinstance(start, str):
        raise TypeError(f"start is '0', '$', an ID or a datetime, not {type(start).__name__}")
    if start == "$":
        return start
    try:
        milliseconds, sequence = parse_id(start if "-" in start else f"{start}-0")
        if not (0 <= milliseconds <= _MOST_SEQUENCE and 0 <= sequence <= _MOST_SEQUENCE):
            raise ValueError
    except ValueError:
        raise ValueError(f"start is '0', '$', an ID such as '1709136000000-0', or a datetime, not {start!r}") from None
    return _before(milliseconds, sequence)


def _before(milliseconds: int, sequence: int) -> str:
    """Return the ID before that one."""
    if sequence:
        return f"{milliseconds}-{sequence - 1}"
    return f"{milliseconds - 1}-{_MOST_SEQUENCE}" if milliseconds else "0"


def beside_group(key: str, what: str, group: str) -> str:
    """Return a Redis key that belongs to one group of a stream, as `beside`. The default group has the shorter names.

    Args:
        key: the Redis key of the stream or of its partition.
        what: as `beside`.
        group: the name of the group, which is percent-encoded.
    """
    return beside(key, what if group == GROUP else f"{what}@{quote(group, safe='')}")
