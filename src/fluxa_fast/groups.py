"""The groups of a stream: their names, and where each of them begins.

Each group is given every event of the stream, and shares it among its consumers. An event is deleted when every group
has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from .partitions import beside
from .positions import Start, position_before

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

Groups = tuple[tuple[str, str], ...]
"""The name of each group, and its position, as XGROUP CREATE takes it: behind this ID the group begins."""

ONE_GROUP: Groups = ((GROUP, "0"),)


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


def beside_group(key: str, what: str, group: str) -> str:
    """Return a Redis key that belongs to one group of a stream, as `beside`. The default group has the shorter names.

    Args:
        key: the Redis key of the stream or of its partition.
        what: as `beside`.
        group: the name of the group, which is percent-encoded.
    """
    return beside(key, what if group == GROUP else f"{what}@{quote(group, safe='')}")
