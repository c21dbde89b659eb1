"""The order of stream entries: by the two numbers of their IDs, not by the text of these.

An ID is ``<milliseconds>-<sequence>``. As text ``9-0`` stands behind ``10-0``; the server sorts the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interface import Event

__all__ = ["EntryId", "by_id", "highest_id", "parse_id"]

EntryId = tuple[int, int]
"""Milliseconds and sequence number."""


def parse_id(id: str | bytes) -> EntryId:
    """Return the numbers of an ID that a server sent. They compare as the server compares entries.

    Raises:
        ValueError: if it is not two numbers with a hyphen between them.
    """
    try:
        milliseconds, sequence = id.split(b"-") if isinstance(id, bytes) else id.split("-")
        return int(milliseconds), int(sequence)
    except ValueError:
        raise ValueError(f"{id!r} is not the ID of a stream entry") from None


def by_id(event: Event) -> EntryId:
    """Return the sort key that puts events into the order of the stream: ``events.sort(key=by_id)``."""
    return parse_id(event.id)


def highest_id(ids: Iterable[str]) -> str:
    """Return the ID of the entry that comes last in the stream. There must be at least one ID."""
    return max(ids, key=parse_id)
