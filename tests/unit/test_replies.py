"""What is received: every type of RESP2 and RESP3, cut wherever it may be.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import copy
import math
import pickle
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import AskError, MovedError, ResponseError

from fluxa_fast import ProtocolError
from fluxa_fast.flows.replies import error_of, in_a_cluster, retold
from fluxa_fast.protocol import Implementation, load, missing_modules
from fluxa_fast.protocol.interface import INCOMPLETE, ErrorReply, EventBatch

ALL = [load("python")] if missing_modules() else [load("c"), load("python")]

REPLIES: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", b"OK"),
    (b"-ERR no\r\n", ErrorReply("ERR no")),
    (b":-12\r\n", -12),
    (b"$5\r\nhe\r\no\r\n", b"he\r\no"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n:1\r\n*2\r\n-ERR in\r\n$-1\r\n+x\r\n", [1, [ErrorReply("ERR in"), None], b"x"]),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b",1.5\r\n", 1.5),
    (b",-inf\r\n", -math.inf),
    (b",1e3\r\n", 1000.0),
    (b"(123456789012345678901234567890\r\n", 123456789012345678901234567890),
    (b"!5\r\nERR x\r\n", ErrorReply("ERR x")),
    (b"=7\r\ntxt:abc\r\n", b"abc"),
    (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", {b"a": 1, b"b": [2]}),
    (b"~2\r\n:1\r\n:2\r\n", [1, 2]),
    (b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n", b"x"),
    (b"*2\r\n|1\r\n+ttl\r\n:3\r\n:1\r\n:2\r\n", [1, 2]),
    (b"$?\r\n;2\r\nab\r\n;1\r\nc\r\n;0\r\n", b"abc"),
    (b"*?\r\n:1\r\n:2\r\n.\r\n", [1, 2]),
    (b"%?\r\n+a\r\n:1\r\n.\r\n", {b"a": 1}),
    (b">2\r\n+invalidate\r\n*1\r\n+k\r\n+OK\r\n", b"OK"),
]


@pytest.mark.parametrize(("text", "expected"), REPLIES, ids=lambda value: repr(value)[:24])
def test_every_type_cut_at_every_byte(implementation: Implementation, text: bytes, expected: Any) -> None:
    for cut in range(len(text) + 1):
        reader = implementation.ReplyReader()
        reader.feed(text[:cut])
        early = reader.read()
        if early is INCOMPLETE:
            reader.feed(text[cut:])
            early = reader.read()
        else:
            assert cut == len(text)
        assert early == expected
        assert type(early) is type(expected)
        assert reader.unread == 0
        assert reader.read() is INCOMPLETE


def test_many_replies_byte_by_byte(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    seen = []
    for byte in b"".join(text for text, _ in REPLIES) * 3:
        with reader.get_buffer(1) as room:
            room[0] = byte
        reader.buffer_updated(1)
        while (reply := reader.read()) is not INCOMPLETE:
            seen.append(reply)
    assert seen == [expected for _, expected in REPLIES] * 3


@pytest.mark.parametrize(
    "text",
    [
        b"hello\r\n", b"\x00", b"$x\r\n", b"$-2\r\n", b"$99999999999999999999\r\n", b"$600000000\r\n", b"*3000000000\r\n", b":x\r\n",
        b":99999999999999999999\r\n", b"$1\r\nab\r\n", b"+a\n", b"\r\n", b"*-2\r\n", b"%-1\r\n", b".\r\n", b";1\r\na\r\n", b"#x\r\n", b",x\r\n",
        b"_x\r\n", b"(x\r\n", b"=1\r\nx\r\n", b"*1\r\n" * 200, b"+" + b"x" * 70000, b"%1\r\n*0\r\n:1\r\n", b"$?\r\n:1\r\n", b">-1\r\n", b"*?\r\n;0\r\n",
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_promise_7_what_is_not_resp_is_refused_for_good(implementation: Implementation, text: bytes) -> None:
    reader = implementation.ReplyReader()
    reader.feed(text)
    with pytest.raises(ProtocolError):
        reader.read()
    with pytest.raises(ProtocolError):
        reader.read()
    reader.reset()
    reader.feed(b"+fine\r\n")
    assert reader.read() == b"fine"


@pytest.mark.parametrize(
    "text", [b"$536870912\r\nx", b"*2147483647\r\n:1\r\n", b"*100\r\n" * 100, b"%1000000000\r\n+a\r\n"]
)
def test_promise_7_nothing_is_allocated_for_what_is_merely_announced(
    implementation: Implementation, text: bytes
) -> None:
    reader = implementation.ReplyReader()
    tracemalloc.start()
    try:
        reader.feed(text)
        assert reader.read() is INCOMPLETE
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert reader.capacity < 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        b"*99999999\r\n",
        b"%99999999\r\n",
        b"*1\r\n*2\r\n$1\r\nk\r\n*99999999\r\n",
        b"*1\r\n" * 7 + b"*9999999\r\n",
        b"*2\r\n$1\r\nk\x0c\n*2147483646\r\n",
    ],
)
def test_promise_7_nothing_is_allocated_for_entries_that_are_merely_announced(
    implementation: Implementation, text: bytes
) -> None:
    for cut in range(len(text)):
        for method, arguments in (("read_streams", ()), ("read_claimed", ("k",)), ("read_range", ("k",))):
            reader = implementation.ReplyReader()
            tracemalloc.start()
            try:
                for piece in (text[:cut], text[cut:]):
                    reader.feed(piece)
                    with suppress(ProtocolError):
                        assert getattr(reader, method)(*arguments) is INCOMPLETE
                assert tracemalloc.get_traced_memory()[1] < 1_000_000
            finally:
                tracemalloc.stop()


@pytest.mark.parametrize("id", [b"+1-1\r\n", b"$5\r\n1-1-1\r\n", b"$22\r\n18446744073709551616-0\r\n", b"$3\r\nx-y\r\n", b"$0\r\n\r\n"])  # fmt: skip
def test_promise_7_what_is_no_id_confirms_nothing(implementation: Implementation, id: bytes) -> None:
    reader = implementation.ReplyReader()
    confirmations = implementation.Confirmations(3)
    reader.feed(b"$3\r\n1-1\r\n" + id + b"$3\r\n1-2\r\n")
    with pytest.raises(ProtocolError):
        confirmations.take(reader)
    assert confirmations.received <= 1


def test_a_stream_that_a_map_names_twice_keeps_all_its_entries(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    reader.feed(b"%2\r\n" + (b"$1\r\nk\r\n*1\r\n" + ENTRY) * 2)
    batch: Any = reader.read_streams()
    assert len(batch.events) == 2


@given(st.binary(max_size=100) | st.lists(st.sampled_from([text for text, _ in REPLIES])).map(b"".join), st.data())
@settings(max_examples=500)
def test_both_implementations_read_random_bytes_alike(text: bytes, data: st.DataObject) -> None:
    if text:
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.binary(max_size=3)) + text[at:]
    outcomes = []
    for implementation in ALL:
        reader = implementation.ReplyReader()
        reader.feed(text)
        seen: list[str] = []
        try:
            while (reply := reader.read()) is not INCOMPLETE:
                seen.append(repr(reply))
        except ProtocolError as error:
            seen.append(f"refused: {error}")
        outcomes.append(seen)
    assert outcomes[0] == outcomes[-1]


def test_a_large_reply_does_not_keep_its_memory(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    reader.feed(b"$10000000\r\n" + b"x" * 10_000_000 + b"\r\n")
    assert len(reader.read()) == 10_000_000  # type: ignore[arg-type]
    assert reader.capacity <= 1024 * 1024


# ---- replies of stream reads ---------------------------------------------------------------------------

ENTRY = b"*2\r\n$15\r\n1709136000000-7\r\n*4\r\n$1\r\ns\r\n$2\r\n\x91\x05\r\n$1\r\na\r\n$1\r\nb\r\n"
CLAIMED_ENTRY = b"*4\r\n$3\r\n1-2\r\n*2\r\n$1\r\ns\r\n$1\r\n\x05\r\n:1500\r\n:3\r\n"
DELETED = b"*2\r\n$3\r\n5-0\r\n%b"
NULLS = (b"*-1\r\n", b"$-1\r\n", b"_\r\n")


def read_cut(implementation: Implementation, text: bytes, cut: int, method: str, *arguments: Any) -> Any:
    reader = implementation.ReplyReader()
    reader.feed(text[:cut])
    batch = getattr(reader, method)(*arguments)
    if batch is INCOMPLETE:
        reader.feed(text[cut:])
        batch = getattr(reader, method)(*arguments)
    assert reader.unread == 0
    return batch


@pytest.mark.parametrize(
    "shape", [b"*1\r\n*2\r\n$6\r\norders\r\n*2\r\n", b"%1\r\n$6\r\norders\r\n*2\r\n"], ids=["2", "3"]
)
def test_xreadgroup_becomes_events(implementation: Implementation, shape: bytes) -> None:
    text = shape + ENTRY + CLAIMED_ENTRY
    for cut in range(len(text) + 1):
        batch = read_cut(implementation, text, cut, "read_streams")
        first, second = batch.events
        assert (first.id, first.stream, first.body, first.tags) == ("1709136000000-7", "orders", [5], {"a": "b"})
        assert first.timestamp == datetime(2024, 2, 28, 16, tzinfo=UTC)
        assert (first.idle, first.delivery_count) == (None, None)
        assert (second.id, second.body, second.tags) == ("1-2", 5, {})
        assert (second.idle, second.delivery_count) == (1.5, 3)
        assert repr(first) == "<Event 1709136000000-7 of 'orders', tags={'a': 'b'}>"


@pytest.mark.parametrize("null", NULLS)
def test_nothing_and_deleted_entries(implementation: Implementation, null: bytes) -> None:
    for cut in range(len(null) + 1):
        assert read_cut(implementation, null, cut, "read_streams").events == []
    text = b"*1\r\n*2\r\n$1\r\nk\r\n*3\r\n" + DELETED % null + ENTRY + b"*4\r\n$3\r\n6-0\r\n" + null + b":1\r\n:1\r\n"
    for cut in range(len(text) + 1):
        batch = read_cut(implementation, text, cut, "read_streams")
        assert [event.body for event in batch.events] == [[5]]
        assert batch.deleted == ["5-0", "6-0"]


@pytest.mark.parametrize("null", NULLS)
def test_xautoclaim(implementation: Implementation, null: bytes) -> None:
    old = b"*2\r\n$3\r\n8-0\r\n*2\r\n" + null + ENTRY
    new = b"*3\r\n$3\r\n0-0\r\n*1\r\n" + ENTRY + b"*2\r\n$3\r\n2-1\r\n$3\r\n2-2\r\n"
    for cut in range(len(old) + 1):
        batch = read_cut(implementation, old, cut, "read_claimed", "orders")
        assert (len(batch.events), batch.cursor, batch.dropped) == (1, "8-0", 0)
    for cut in range(len(new) + 1):
        batch = read_cut(implementation, new, cut, "read_claimed", "orders")
        assert (len(batch.events), batch.cursor, batch.dropped) == (1, "0-0", 2)
        assert batch.events[0].stream == "orders"


ALIKE = b"*1\r\n*2\r\n$1\r\nk\r\n*3\r\n" + 3 * ENTRY
BODIES_ONLY = b"%1\r\n$1\r\nk\r\n*2\r\n" + 2 * b"*2\r\n$5\r\n12-34\r\n*2\r\n$1\r\ns\r\n$3\r\n\xa2\r\n\r\n"
ACKNOWLEDGED = b"*3\r\n$3\r\n1-0\r\n$3\r\n1-9\r\n:10\r\n"


@pytest.mark.parametrize("text", [ALIKE, BODIES_ONLY, ACKNOWLEDGED], ids=["tags", "line ends", "no entries"])
@pytest.mark.parametrize("damage", [b"", b"0", b"9", b"+", b"\r\n", b"-"])
def test_what_is_damaged_anywhere_is_read_alike(text: bytes, damage: bytes) -> None:
    """By both implementations: each of them has a fast way for replies that look like most of them."""
    for at in range(len(text)):
        if text[at] in b"\r\n":  # hiredis does not look at the line end behind a value
            continue
        damaged = text[:at] + damage + text[at + 1 :] + b":1\r\n"
        outcomes = []
        for implementation in ALL:
            reader = implementation.ReplyReader()
            reader.feed(damaged)
            try:
                batch: Any = reader.read() if text is ACKNOWLEDGED else reader.read_streams()
            except ProtocolError as error:
                outcomes.append(f"refused: {error}")
                continue
            if isinstance(batch, EventBatch):
                batch = [(one.id, one.stream, one.raw_body, one.tags) for one in batch.events]
            outcomes.append(repr(batch))
        assert outcomes[0] == outcomes[-1], f"damaged at {at}"


def test_replies_with_entries_that_are_alike_follow_each_other(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    reader.feed(ALIKE + ACKNOWLEDGED + ALIKE)
    for _ in range(2):
        batch: Any = reader.read_streams()
        assert [(event.body, event.tags) for event in batch.events] == [([5], {"a": "b"})] * 3
        assert reader.read() in ([b"1-0", b"1-9", 10], INCOMPLETE)
    assert reader.unread == 0


def test_several_streams_and_the_next_reply(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    reader.feed(b"*2\r\n*2\r\n$1\r\na\r\n*1\r\n" + ENTRY + b"*2\r\n$1\r\nb\r\n*1\r\n" + ENTRY + b":1\r\n")
    batch: Any = reader.read_streams()
    assert [event.stream for event in batch.events] == ["a", "b"]
    assert reader.read() == 1


def test_errors_instead_of_events(implementation: Implementation) -> None:
    for text in (b"-NOGROUP no\r\n", b"!10\r\nNOGROUP no\r\n"):
        reply = read_cut(implementation, text, 3, "read_streams")
        assert reply == ErrorReply("NOGROUP no")
        assert reply.code == "NOGROUP"


@pytest.mark.parametrize(
    "text",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n*2\r\n:1\r\n*0\r\n",
        b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*1\r\n$3\r\n1-1\r\n",
        b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\nabc\r\n*0\r\n",
        b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*1\r\n$1\r\ns\r\n",
        b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\ns\r\n:5\r\n",
        b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$22\r\n99999999999999999999-1\r\n*0\r\n",
    ],
)
def test_promise_7_replies_of_another_shape(implementation: Implementation, text: bytes) -> None:
    reader = implementation.ReplyReader()
    reader.feed(text)
    with pytest.raises(ProtocolError, match=r"expected|is not the ID"):
        reader.read_streams()


def test_confirmations(implementation: Implementation) -> None:
    text = b"$3\r\n1-1\r\n-OOM full\r\n$-1\r\n$3\r\n1-2\r\n>1\r\n+push\r\n$3\r\n1-3\r\n"
    for cut in range(len(text) + 1):
        reader = implementation.ReplyReader()
        confirmations = implementation.Confirmations(5)
        reader.feed(text[:cut])
        assert confirmations.take(reader) is (cut == len(text))
        reader.feed(text[cut:])
        assert confirmations.take(reader)
        assert confirmations.errors == [(1, "OOM full")]
        assert confirmations.ids() == ["1-1", None, "1-2", "1-3"]
        assert (confirmations.received, confirmations.expected, reader.unread) == (5, 5, 0)


@pytest.mark.parametrize("code", ["MOVED", "ASK"])
def test_a_redirection_says_so_and_stays_itself_in_copies(code: str) -> None:
    error: Any = error_of(ErrorReply(f"{code} 7509 127.0.0.1:35667"))
    told: Any = retold(in_a_cluster(error, "default"), "stream 'orders': ")
    assert str(error) == f"{code} 7509 127.0.0.1:35667"
    assert str(told) == (
        f"stream 'orders': {code} 7509 127.0.0.1:35667: pool 'default' is one node of a cluster; register it with "
        "cluster=True"
    )
    for one in (error, told, copy.copy(told), pickle.loads(pickle.dumps(told))):
        assert isinstance(one, AskError)
        assert isinstance(one, MovedError) == (code == "MOVED")
        assert (one.slot_id, one.host, one.port) == (7509, "127.0.0.1", 35667)
        assert str(one) in (str(error), str(told))


@pytest.mark.parametrize("message", ["MOVED", "MOVED ", "ASK x", "MOVED 1 2 3", "ASK 1 host", "MOVED x host:1"])
def test_a_redirection_to_nowhere_is_an_error_of_its_own_words(message: str) -> None:
    error = error_of(ErrorReply(message))
    assert type(error) is ResponseError
    assert str(error) == message.strip()


@pytest.mark.parametrize(
    "message",
    ["WRONGTYPE Operation", "NOPERM no", "OOM full", "CLUSTERDOWN down", "TRYAGAIN later", "LOADING it", "ERR odd"],
)
def test_an_error_that_is_retold_stays_of_its_class(message: str) -> None:
    error = error_of(ErrorReply(message))
    told = retold(error, "stream 'orders': ", ", so what")
    for one in (told, pickle.loads(pickle.dumps(told))):
        assert type(one) is type(error)
        assert str(one) == f"stream 'orders': {error}, so what"


def test_a_kept_event_owns_its_bytes(implementation: Implementation) -> None:
    reader = implementation.ReplyReader()
    reader.feed(b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n" + ENTRY)
    batch: Any = reader.read_streams()
    reader.reset()
    reader.feed(b"x" * 60000)
    assert batch.events[0].body == [5]
    assert batch.events[0].unserialize() is not batch.events[0].unserialize()
    assert batch.events[0].body is batch.events[0].body
    with pytest.raises(TypeError, match="events come from a consumer"):
        implementation.Event()
