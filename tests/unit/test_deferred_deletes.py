"""Entries that stay in the stream for other groups are tried again in turns, and not remembered without end."""

from __future__ import annotations

import pytest

from fluxa_fast.flows.consume import deferred_deletes
from fluxa_fast.flows.consume.deferred_deletes import DeferredDeletes


def test_ids_are_tried_in_turns_and_ascending() -> None:
    ids = DeferredDeletes()
    ids.tried((), [(1, 5), (1, 3), (1, 10), (1, 4)])
    assert ids.next(3) == [(1, 3), (1, 5), (1, 10)]
    ids.tried(ids.next(3), [(1, 5)])
    assert ids.next(3) == [(1, 4), (1, 5)]
    assert ids.next(1) == [(1, 4)]
    ids.tried([(1, 4)], [(1, 4)])
    assert ids.next(1) == [(1, 5)]
    ids.tried([(1, 4), (1, 5)], [])
    assert not ids


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_deletes, "_MOST", 3)
    ids = DeferredDeletes()
    ids.tried((), [(1, number) for number in range(5)])
    assert ids.next(10) == [(1, 2), (1, 3), (1, 4)]
