"""The format of packed entries, as both implementations write and read it, byte for byte."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest

from fluxa_fast import Packing, SerializationError
from fluxa_fast.protocol import Implementation, load, missing_modules, packed
from fluxa_fast.protocol.commands import entry_head
from fluxa_fast.protocol.resp import bulk
from tests.unit.test_commands import words

ALL = [load("python")] if missing_modules() else [load("c"), load("python")]
VECTORS = json.loads(Path(__file__).parents[1].joinpath("golden/packed.json").read_text("utf-8"))

Fields = list[tuple[bytes, bytes]]


def writer_of(implementation: Implementation, packing: Packing, **options: Any) -> tuple[Any, Any]:
    """A writer of one packed stream `k`, and its buffer."""
    buffer = implementation.CommandBuffer(**options)
    heads = {"k": [entry_head("k", packing=packing)], "plain": [entry_head("plain")]}
    lanes = {"k": 5, "plain": 0}
    return implementation.EventWriter(heads, lambda stream, partition: (lanes[stream], 0, buffer)), buffer


def entries(writer: Any, buffer: Any) -> list[Fields]:
    """The fields of each entry that was written."""
    writer.close_entries()
    found = []
    for command in words(buffer):
        assert command[0] == b"XADD"
        assert command[2] == b"*"
        fields = command[3:]
        found.append(list(zip(fields[::2], fields[1::2], strict=True)))
    return found


def read(implementation: Implementation, *entries: Fields, ids: Sequence[str] = ()) -> Any:
    """The batch that a reader makes of a reply with these entries."""
    reply = b"*1\r\n*2\r\n$1\r\nk\r\n*%d\r\n" % len(entries)
    for number, fields in enumerate(entries):
        id = ids[number] if ids else f"7-{number}"
        flat = [part for field in fields for part in field]
        reply += b"*2\r\n" + bulk(id.encode()) + b"*%d\r\n" % len(flat) + b"".join(map(bulk, flat))
    reader = implementation.ReplyReader()
    reader.feed(reply)
    return reader.read_streams()


def what_is_read(implementation: Implementation, *entries: Fields) -> list[tuple[Any, dict[str, str]]]:
    return [(event.body, event.tags) for event in read(implementation, *entries).events]


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes as a hexadecimal str."""
    return {"hex": value.hex()} if isinstance(value, bytes) else value


# ---- test vectors: other libraries can be tested with the same file ---------------------------------------


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
@pytest.mark.parametrize("vector", VECTORS, ids=[one["name"] for one in VECTORS])
def test_vectors(implementation: Implementation, vector: Any) -> None:
    wanted = [(bytes.fromhex(name), bytes.fromhex(value)) for name, value in vector["fields"]]
    options = {"encode_body": bytes.swapcase} if vector.get("encoded") else {}
    if vector.get("written", True):
        writer, buffer = writer_of(implementation, Packing(), **options)
        for body, tags in vector["events"]:
            writer.publish("k", body, tags)
        (fields,) = entries(writer, buffer)
        assert fields == wanted
    events = read(implementation, wanted).events
    assert [event.id for event in events] == vector["ids"]
    assert {event.entry_id for event in events} == {"7-0"}
    assert [event.tags for event in events] == [tags or {} for _, tags in vector["events"]]
    if options:
        bodies = [None if event.raw_body is None else event.raw_body.swapcase() for event in events]
    else:
        bodies = [event.raw_body for event in events]
    expected = [None if body is None else msgpack.packb(body) for body, _ in vector["events"]]
    assert bodies == expected


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_go_reads_the_bodies_as_a_list(implementation: Implementation) -> None:
    writer, buffer = writer_of(implementation, Packing())
    bodies = [{"id": number, "name": "n" * number} for number in range(40)]
    writer.publish_many("k", bodies, {"region": "eu"})
    (fields,) = entries(writer, buffer)
    assert msgpack.unpackb(dict(fields)[b"s"]) == bodies
    assert dict(fields)[b"region"] == b"eu"


# ---- what is written ----------------------------------------------------------------------------------------


def random_tags(dice: random.Random) -> dict[str, str] | None:
    kind = dice.randrange(5)
    if kind == 0:
        return None
    tags = {"action": dice.choice(["created", "paid"])} if kind < 4 else {}
    if dice.random() < 0.5:
        tags["trace"] = f"{dice.getrandbits(128):032x}"
    if dice.random() < 0.1:
        tags["näme"] = "wert " * dice.randrange(40)
    return tags


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("seed", range(6))
def test_both_implementations_write_the_same(seed: int, compression: Any) -> None:
    written = []
    for implementation in ALL:
        dice = random.Random(seed)
        packing = Packing(dice.choice([1, 2, 7, 1000]), dice.choice([60, 600, 32_000]), compression)
        options = {"encode_body": bytes.swapcase} if seed % 3 == 2 else {}
        writer, buffer = writer_of(implementation, packing, **options)
        events: list[tuple[Any, dict[str, str]]] = []
        for number in range(300):
            body = dice.choice([None, number, "x" * dice.randrange(90), {"n": number, "l": [1, 2.5, None]}])
            tags = random_tags(dice)
            if body is None and not tags:
                tags = {"only": "tag"}
            if dice.random() < 0.1:
                many = [body or 0] * dice.randrange(1, 30)
                writer.publish_many("k", many, tags)
                events += [(one, tags or {}) for one in many]
            else:
                writer.publish("k", body, tags)
                events.append((body, tags or {}))
            if dice.random() < 0.02:
                writer.publish("k", body, tags, None, f"{number + 1}-1")
                events.append((body, tags or {}))
            if dice.random() < 0.02:
                writer.close_entries()
        assert writer.count == len(events)
        writer.close_entries()
        assert sum(one.events for one in buffer.packed.commands) == len(events)
        assert [one.position for one in buffer.packed.commands] == list(range(buffer.command_count))
        assert {one.lane for one in buffer.packed.commands} == {5}
        fields = [command[3:] for command in words(buffer)]
        written.append((bytes(buffer.view()), list(buffer.packed.commands)))
        found = read(implementation, *(list(zip(one[::2], one[1::2], strict=True)) for one in fields)).events
        assert [event.tags for event in found] == [tags for _, tags in events]
        raw = [None if body is None else msgpack.packb(body) for body, _ in events]
        assert [
            event.raw_body.swapcase() if options and event.raw_body is not None else event.raw_body for event in found
        ] == raw
        limits = [len(one[one.index(b"s") + 1]) for one in fields if one[0] == b"_fluxa:packed"]
        assert max(limits, default=0) <= packing.max_bytes + 5
        assert max(one.events for one in buffer.packed.commands) <= packing.max_events
    assert all(one == written[0] for one in written)


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_what_is_refused_changes_nothing(implementation: Implementation) -> None:
    writer, buffer = writer_of(implementation, Packing(max_events=3))
    writer.publish_many("k", [1, 2], {"a": "1"})
    refused: Iterable[tuple[Any, Any]] = [
        (object(), None),
        (1, {"a": 1}),
        (1, {"s": "x"}),
        (1, {"_fluxa:x": "x"}),
        (1, {"a": "\ud800"}),
        (None, None),
        (None, {}),
        ([1, [object()]], {"a": "2"}),
    ]
    for body, tags in refused:
        with pytest.raises(SerializationError) as caught:
            writer.publish("k", body, tags)
        assert caught.value.stream == "k"
        with pytest.raises(SerializationError):
            writer.publish_many("k", [3, 4, 5, 6, body, 7], tags)
        with pytest.raises(SerializationError, match=r"bodies\[9\]"):
            writer.publish_many("k", [3, 4, 5, 6, object()], {"a": "1"}, 5)
    with pytest.raises(ZeroDivisionError):
        writer.publish_many("k", (1 // (5 - number) for number in range(9)))
    assert writer.count == 2
    writer.publish("k", 3, {"a": "2"})
    written = entries(writer, buffer)
    assert what_is_read(implementation, *written) == [(1, {"a": "1"}), (2, {"a": "1"}), (3, {"a": "2"})]
    assert sum(one.events for one in buffer.packed.commands) == 3


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_a_call_within_a_call_is_refused(implementation: Implementation) -> None:
    def hook(value: Any) -> Any:
        for call in (
            lambda: writer.publish("k", 1),
            lambda: writer.publish_many("k", [1]),
            writer.close_entries,
            writer.check_idle,
        ):
            with pytest.raises(SerializationError, match="being written"):
                call()
        return "replaced"

    writer, buffer = writer_of(implementation, Packing(), default=hook)
    writer.publish("k", object())
    writer.publish_many("k", [object(), 2])
    writer.publish("plain", 3)
    (fields, others) = sorted(entries(writer, buffer), key=len, reverse=True)
    assert what_is_read(implementation, fields) == [("replaced", {}), ("replaced", {}), (2, {})]
    assert what_is_read(implementation, others) == [(3, {})]


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_publishing_nothing_leaves_what_waits(implementation: Implementation) -> None:
    writer, buffer = writer_of(implementation, Packing(max_events=2, max_bytes=5))
    writer.publish("k", "longer than that")
    assert writer.publish_many("k", [], {"_fluxa:": "not looked at"}) == 0
    assert buffer.command_count == 0
    assert what_is_read(implementation, *entries(writer, buffer)) == [("longer than that", {})]


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_buffers_keep_track_of_packed_entries(implementation: Implementation) -> None:
    writer, buffer = writer_of(implementation, Packing(max_events=2))
    for number in range(7):
        writer.publish("k", number)
        writer.publish("plain", number)
    writer.close_entries()
    assert list(writer.order) == [(lane, 1) for _ in range(7) for lane in (5, 0)]
    packed = [position for position, *_ in buffer.packed.commands]
    assert [one.events for one in buffer.packed.commands] == [2, 2, 2, 1]
    other = implementation.CommandBuffer()
    other.extend(buffer)
    other.extend(buffer)
    assert [one.position for one in other.packed.commands] == packed + [one + 11 for one in packed]
    other.keep([0, packed[0], packed[3], 11 + packed[0]])
    assert [(one.position, one.events) for one in other.packed.commands] == [(1, 2), (2, 1), (3, 2)]
    other.swap(buffer)
    assert len(other.packed.commands) == 4
    assert len(buffer.packed.commands) == 3
    buffer.truncate(2, 0)
    assert [one.position for one in buffer.packed.commands] == [1]
    buffer.clear()
    assert buffer.packed is None


# ---- bytes of strangers -------------------------------------------------------------------------------------

GOOD: Fields = [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93\x01\x02\x03")]
HOSTILE: dict[str, Fields] = {
    "fewer bodies than announced": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x92\x01\x02")],
    "more bodies than announced": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x94\x01\x02\x03\x04")],
    "cut short": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93\x01\x02")],
    "cut within a body": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93\x01\x02\xa5abc")],
    "bytes behind": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93\x01\x02\x03\x04")],
    "no array": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x01")],
    "an empty body": [(b"_fluxa:packed", b"1 3"), (b"s", b"")],
    "no body": [(b"_fluxa:packed", b"1 3"), (b"t", b"\x93\x01\x02\x03")],
    "a count of nothing": [(b"_fluxa:packed", b"1 0"), (b"s", b"\x90")],
    "a huge count": [(b"_fluxa:packed", b"1 999999999"), (b"s", b"\xdd\x3b\x9a\xc9\xff\x01")],
    "a huge array": [(b"_fluxa:packed", b"1 3"), (b"s", b"\xdd\xff\xff\xff\xff\x01\x02\x03")],
    "an array of huge arrays": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93" + b"\xdd\xff\xff\xff\xff" * 3)],
    "another version": [(b"_fluxa:packed", b"2 3"), (b"s", b"\x93\x01\x02\x03")],
    "an unknown word": [(b"_fluxa:packed", b"1 3 rot13"), (b"s", b"\x93\x01\x02\x03")],
    "no marker": [(b"_fluxa:packed", b"hello"), (b"s", b"\x93\x01\x02\x03")],
    "an empty marker": [(b"_fluxa:packed", b""), (b"s", b"\x93\x01\x02\x03")],
    "two markers": [*GOOD, (b"_fluxa:packed", b"1 3")],
    "a byte that msgpack has not": [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93\x01\xc1\x03")],
    "no zstd": [(b"_fluxa:packed", b"1 3 zstd:4"), (b"s", b"\x93\x01\x02\x03")],
    "too much zstd": [(b"_fluxa:packed", b"1 3 zstd:9999999999"), (b"s", b"\x93\x01\x02\x03")],
    "not wrapped": [(b"_fluxa:packed", b"1 3 bin"), (b"s", b"\x93\x01\x02\x03")],
}


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
@pytest.mark.parametrize("fields", HOSTILE.values(), ids=HOSTILE)
def test_an_entry_that_lies_is_one_event_that_says_so(implementation: Implementation, fields: Fields) -> None:
    batch = read(implementation, GOOD, fields, [(b"s", b"\x07")], GOOD)
    assert batch.entries == 4
    assert len(batch.events) == 8
    assert [event.body for event in (*batch.events[:3], *batch.events[4:])] == [1, 2, 3, 7, 1, 2, 3]
    poison = batch.events[3]
    assert (poison.id, poison.entry_id) == ("7-1", "7-1")
    for call in (lambda: poison.body, poison.unserialize, lambda: poison.unserialize(int)):
        with pytest.raises(SerializationError) as caught:
            call()
        assert "packed entry" in str(caught.value) or "zstd" in str(caught.value)
        assert "7-1" in str(caught.value)
    assert poison.raw_body == dict(fields).get(b"s")


BAD_TAGS = {
    "no map": b"\x01",
    "too many values": b"\x81\xa1a\x94\xa1x\xa1x\xa1x\xa1x",
    "no values": b"\x81\xa1a\x01",
    "cut short": b"\x81\xa1a\x93\xa1x",
    "numbers": b"\x81\xa1a\x93\x01\x02\x03",
    "bytes behind": b"\x81\xa1a\x91\xa1x\x00",
    "a huge map": b"\xdf\xff\xff\xff\xff\xa1a",
    "nothing": b"",
}


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
@pytest.mark.parametrize("tags", BAD_TAGS.values(), ids=BAD_TAGS)
def test_tags_that_lie(implementation: Implementation, tags: bytes) -> None:
    events = read(implementation, [*GOOD, (b"_fluxa:tags", tags)], GOOD).events
    assert [event.body for event in events] == [1, 2, 3, 1, 2, 3]
    with pytest.raises(SerializationError, match="tags of a packed entry"):
        assert events[1].tags
    assert repr(events[1]) == "<Event 7-0/1 of 'k', tags that can't be read>"
    assert implementation.matching(events, [(b"a", frozenset([b"x"]))]) == events[:3]
    assert events[4].tags == {}


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_a_body_that_is_poison_harms_no_other(implementation: Implementation) -> None:
    events = read(implementation, [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93\x01\xa1\xff\x03")]).events
    assert (events[0].body, events[2].body) == (1, 3)
    with pytest.raises(SerializationError, match="7-0/1"):
        assert events[1].body
    for depth in (512, 513, 1024, 1025, 5000):
        deep = b"\x91\x81\x05" * (depth // 2) + b"\x90" * (depth % 2)
        fields = [(b"_fluxa:packed", b"1 3"), (b"s", b"\x93\x01" + (deep if depth % 2 else deep + b"\x02") + b"\x03")]
        events = read(implementation, fields).events
        assert [event.id for event in events] == ["7-0/0", "7-0/1", "7-0/2"]
        if depth > 512:
            with pytest.raises(SerializationError, match=r"7-0/1: .*nested deeper"):
                assert events[1].body
        (event,) = read(implementation, [fields[0], (b"s", fields[1][1][:-2])]).events
        with pytest.raises(SerializationError, match="no array of so many bodies"):
            assert event.body


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_a_bomb_is_not_decompressed(implementation: Implementation) -> None:
    from fluxa_fast.protocol.zstd import zstd

    bomb = zstd().compress(b"\x93" + b"\x00" * 50_000_000)
    assert len(bomb) < 10_000
    for size in (b"4", b"100", b"90000000"):
        (event,) = read(implementation, [(b"_fluxa:packed", b"1 3 zstd:" + size), (b"s", bomb)]).events
        with pytest.raises(SerializationError, match="bytes"):
            assert event.body
    whole = zstd().compress(GOOD[1][1])
    assert what_is_read(implementation, [(b"_fluxa:packed", b"1 3 zstd:4"), (b"s", whole)]) == [
        (1, {}),
        (2, {}),
        (3, {}),
    ]


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_tags_are_decompressed_once(implementation: Implementation, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def decompressed(data: bytes, size: int) -> bytes:
        calls.append(size)
        raise SerializationError("a bomb")

    monkeypatch.setattr(packed, "decompressed", decompressed)
    events = read(
        implementation, [(b"_fluxa:packed", b"1 3 tags-zstd:7"), (b"s", b"\x93\x01\x02\x03"), (b"_fluxa:tags", b"")]
    ).events
    for event in events:
        with pytest.raises(SerializationError, match=f"{event.id}: a bomb"):
            assert event.tags
    assert calls == [7]


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_replies_in_pieces(implementation: Implementation) -> None:
    writer, buffer = writer_of(implementation, Packing(max_events=5))
    writer.publish_many("k", range(23), {"a": "b"})
    written = entries(writer, buffer)
    reply = b"*1\r\n*2\r\n$1\r\nk\r\n*%d\r\n" % len(written)
    for number, fields in enumerate(written):
        flat = [part for field in fields for part in field]
        reply += b"*2\r\n" + bulk(f"7-{number}".encode()) + b"*%d\r\n" % len(flat) + b"".join(map(bulk, flat))
    reader: Any = implementation.ReplyReader()
    for at in range(len(reply) - 1):
        reader.feed(reply[at : at + 1])
        assert not hasattr(reader.read_streams(), "events")
    reader.feed(reply[-1:])
    batch = reader.read_streams()
    assert [event.body for event in batch.events] == list(range(23))
    assert (batch.extra, batch.entries, batch.size) == (18, 5, len(reply))


# ---- what was handled ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_an_entry_is_complete_with_its_last_event(implementation: Implementation) -> None:
    unfinished: dict[str, Any] = {}
    events = read(implementation, GOOD, [(b"s", b"\x07")], GOOD).events
    assert implementation.entries_in(events) == 3
    assert [event.id for event in events] == ["7-0/0", "7-0/1", "7-0/2", "7-1", "7-2/0", "7-2/1", "7-2/2"]
    assert implementation.complete(events[1:5], unfinished) == [events[3]]
    assert list(unfinished) == ["7-0", "7-2"]
    again = read(implementation, GOOD, [(b"s", b"\x07")], GOOD).events
    left = implementation.resumed(again, unfinished)
    assert [event.id for event in left] == ["7-0/0", "7-1", "7-2/1", "7-2/2"]
    assert implementation.complete(left[:1], unfinished) == left[:1]
    assert implementation.complete(left[:1], unfinished) == left[:1]
    implementation.mark_acknowledged(left[:1])
    assert [event.acknowledged for event in again] == [True] * 3 + [False] * 4
    assert implementation.complete(again[:3], unfinished) == []
    assert list(unfinished) == ["7-2"]


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_an_entry_that_was_read_twice_is_complete_with_events_of_both(implementation: Implementation) -> None:
    unfinished: dict[str, Any] = {}
    first = read(implementation, GOOD).events
    assert implementation.complete(first[:1], unfinished) == []
    again = implementation.resumed(read(implementation, GOOD).events, unfinished)
    assert [event.id for event in again] == ["7-0/1", "7-0/2"]
    assert implementation.complete(first[1:2], unfinished) == []
    assert implementation.complete(again, unfinished) == [again[1]]
    assert unfinished == {}


@pytest.mark.parametrize("implementation", ALL, ids=lambda one: one.name)
def test_where_a_batch_is_cut(implementation: Implementation) -> None:
    events = read(implementation, GOOD, GOOD, [(b"s", b"\x07")]).events
    begin = implementation.entry_begin
    assert [begin(events, at, 3) for at in range(8)] == [0, 0, 0, 3, 3, 3, 6, 7]
    assert [begin(events, at, 2) for at in range(8)] == list(range(8))
