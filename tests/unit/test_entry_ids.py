"""The order of entry IDs is the server's: by number."""

from __future__ import annotations

import pytest

from fluxa_fast.protocol import Implementation
from fluxa_fast.protocol.entry_ids import by_id, highest_id, parse_id
from fluxa_fast.protocol.interface import EventBatch

# As a server sorts them; as text, only the first one would be where it belongs.
ASCENDING = ["0-0", "9-0", "9-2", "9-10", "10-0", "1709136000000-0", "18446744073709551615-18446744073709551615"]


@pytest.mark.parametrize("id", ["1709136000000-7", b"1709136000000-7"])
def test_an_id_is_two_numbers(id: str | bytes) -> None:
    assert parse_id(id) == (1709136000000, 7)


@pytest.mark.parametrize("id", ["", "5", "5-", "-5", "a-b", "1-2-3", b"5", b"*"])
def test_what_is_no_id_is_an_error(id: str | bytes) -> None:
    with pytest.raises(ValueError, match="is not the ID of a stream entry"):
        parse_id(id)


def test_ids_sort_as_numbers() -> None:
    descending = ASCENDING[::-1]
    assert sorted(descending) != ASCENDING
    assert sorted(descending, key=parse_id) == ASCENDING
    assert highest_id(descending) == ASCENDING[-1]
    assert highest_id(iter(["9-2", "9-10"])) == "9-10"


def test_events_sort_as_their_entries(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    ids = [id.encode() for id in reversed(ASCENDING)]
    reader.feed(b"*%d\r\n" % len(ids) + b"".join(b"*2\r\n$%d\r\n%b\r\n*0\r\n" % (len(id), id) for id in ids))
    batch = reader.read_range("orders")
    assert isinstance(batch, EventBatch)
    assert [event.id for event in sorted(batch.events, key=by_id)] == ASCENDING
