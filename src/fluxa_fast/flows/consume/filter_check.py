"""Compares the filter of a consumer with the one that its group has, so that services notice when theirs differ."""

from __future__ import annotations

import json

from ...errors import FiltersDifferError
from ...filters import Filter
from ..agreement import Agreement

__all__ = ["FilterCheck"]


class FilterCheck(Agreement):
    """Whether one broker has still to compare the filter of one group of one stream.

    Args:
        filter: of this broker's consumers; None: they have none.
    """

    __slots__ = ("_filter", "_group")

    what = "the filter"
    unnoticed = "consumers of the group that have another filter are not noticed"

    def __init__(self, stream: str, group: str, key: str, filter: Filter | None) -> None:
        super().__init__(stream, key, None if filter is None else filter.text)
        self._group = group
        self._filter = filter

    def check(self, stored: bytes) -> None:
        ours = None if self._filter is None else self._filter.text
        if stored.decode("utf-8", "replace") == ours:
            return
        try:
            theirs = _where(stored)
        except (ValueError, KeyError, TypeError):
            raise self.no_value(f"it holds {stored[:40]!r}, which this version does not know") from None
        own = None if ours is None else _where(ours)
        raise FiltersDifferError(self.stream, self._group, own, theirs, self.key)


def _where(text: str | bytes) -> dict[str, list[str]]:
    told: dict[str, list[str]] = json.loads(text)["where"]
    return told
