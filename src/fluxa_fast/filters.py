"""The filter of a group: which events its consumers hand over, by their tags.

It belongs to the group: what one consumer filters out is acknowledged, and no other consumer of the group is given it.
So all consumers of a group must have the same filter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .protocol.wire import BODY_FIELD

__all__ = ["Filter", "Where", "checked_where"]

Where = Mapping[str, str | Sequence[str]]
"""The value that each of these tags must have, or several values, of which it must have one."""

_VERSION = 1  # of the text


@dataclass(frozen=True, slots=True)
class Filter:
    """What the events of a group have in common.

    Attributes:
        text: what is stored in Redis.
        tests: for each tag its name, and the values that pass.
    """

    text: str
    tests: tuple[tuple[bytes, frozenset[bytes]], ...]


def checked_where(where: Where) -> Filter:
    """Check what a caller has given as `where`.

    Raises:
        TypeError, ValueError: if it can be no filter; the error says why.
    """
    if not isinstance(where, Mapping):
        raise TypeError(f"where is a dict of tags and their values, not {type(where).__name__}")
    if not where:
        raise ValueError("where has one tag at least; without a filter, leave it out")
    values_of = {_checked("the name of a tag", tag): _values(tag, where[tag]) for tag in where}
    if BODY_FIELD in values_of:
        raise ValueError(f"where has no tag {BODY_FIELD!r}: this field of an entry holds the body")
    told = {tag: sorted(values_of[tag]) for tag in sorted(values_of)}
    text = json.dumps({"version": _VERSION, "where": told}, separators=(",", ":"))
    tests = tuple((tag.encode(), frozenset(map(str.encode, values))) for tag, values in told.items())
    return Filter(text, tests)


def _values(tag: str, values: str | Sequence[str]) -> set[str]:
    what = f"a value of tag {tag!r}"
    if isinstance(values, str):
        return {_checked(what, values)}
    if not isinstance(values, Sequence | set | frozenset) or isinstance(values, bytes):
        raise TypeError(f"where has a str or a list of these for tag {tag!r}, not {type(values).__name__}")
    if not values:
        raise ValueError(f"where has one value at least for tag {tag!r}: without one, no event would pass")
    return {_checked(what, value) for value in values}


def _checked(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"where: {what} is a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"where: {what} has a lone surrogate, which UTF-8 can't hold: {text!r}") from None
    return text
