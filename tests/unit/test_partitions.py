"""Which partition an event goes to, what partitions are called, and which slot a key has. Both for ever, in any language."""

from __future__ import annotations

import zlib
from binascii import crc_hqx
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa_fast import Registry, RegistryError, SerializationError, UnregisteredStreamError
from fluxa_fast.partitions import beside, key_slot, partition_of, partition_streams, partitions_with
from fluxa_fast.protocol import Implementation, load, missing_modules
from fluxa_fast.protocol.commands import entry_head

# The same are in docs/cluster.md.
VECTORS = [
    ("", 0x00000000, 0, 0, 0),
    ("user-1", 0x7E264614, 2, 8, 20),
    ("123456789", 0xCBF43926, 2, 2, 38),
    (42, 0x3224B088, 2, 8, 8),
    (-7, 0xD94EED1F, 2, 11, 31),
    ("Zoë", 0x67AC422A, 2, 2, 42),
    (b"\x00\xff", 0x6CDBFD72, 1, 10, 50),
]


@pytest.mark.parametrize(("key", "hashed", "of_3", "of_12", "of_64"), VECTORS)
def test_the_written_vectors(
    implementation: Implementation, key: Any, hashed: int, of_3: int, of_12: int, of_64: int
) -> None:
    assert implementation.key_hash(key) == hashed
    assert [partition_of(key, count) for count in (3, 12, 64)] == [of_3, of_12, of_64]


@given(st.one_of(st.text(), st.binary(), st.integers()))
def test_the_hash_is_crc_32(key: Any) -> None:
    try:
        data = key if isinstance(key, bytes) else str(key).encode()
    except UnicodeEncodeError:
        return
    for name in ("python",) if missing_modules() else ("c", "python"):
        assert load(name).key_hash(key) == zlib.crc32(data)


@given(st.text("ab{}", max_size=8))
def test_the_slot_is_that_of_the_first_hash_tag(key: str) -> None:
    inside = key.partition("{")[2].partition("}")
    hashed = inside[0] if "{" in key and inside[1] and inside[0] else key
    for name in ("python",) if missing_modules() else ("c", "python"):
        assert load(name).key_slot(key) == crc_hqx(hashed.encode(), 0) % 16384


@pytest.mark.parametrize(("key", "slot"), [("123456789", 0x31C3), ("foo{bar}x", 5061), ("foo{}{bar}", 8363), ("", 0)])
def test_slots_that_the_specification_names(implementation: Implementation, key: str, slot: int) -> None:
    assert implementation.key_slot(key) == slot
    assert key_slot(key) == slot


@pytest.mark.parametrize("key", [1.5, None, True, ["a"], object()])
def test_what_is_no_key_is_refused(implementation: Implementation, key: Any) -> None:
    with pytest.raises(SerializationError, match="a key is a str, bytes or int, not"):
        implementation.key_hash(key)


def test_a_key_with_a_lone_surrogate_is_refused(implementation: Implementation) -> None:
    with pytest.raises(SerializationError, match=r"key: str .* lone surrogate"):
        implementation.key_hash("a\ud800")


# ---- names ----------------------------------------------------------------------------------------------


def test_names_as_they_are_written_down() -> None:
    assert partition_streams("orders", 3) == ("orders:0of3:{21418}", "orders:1of3:{8209}", "orders:2of3:{16418}")
    assert partition_streams("orders", 12)[7] == "orders:7of12:{2821}"
    assert partition_streams("orders", 64)[63] == "orders:63of64:{802}"


@pytest.mark.parametrize("partitions", [1, 2, 3, 6, 12, 60, 1000])
def test_partitions_are_spread_evenly_over_the_nodes(partitions: int) -> None:
    slots = [key_slot(stream) for stream in partition_streams("orders", partitions)]
    assert slots == [(2 * index + 1) * 16384 // (2 * partitions) for index in range(partitions)]
    for nodes in (1, 2, 3, 6, 60):
        if partitions % nodes == 0:  # as redis-cli --cluster create deals slots out
            begins = [round(node * 16384 / nodes) for node in range(nodes + 1)]
            counts = Counter(sum(slot >= begin for begin in begins[1:]) for slot in slots)
            assert set(counts.values()) == {partitions // nodes}


def test_the_tag_is_the_smallest_number_of_its_slot() -> None:
    for stream in partition_streams("orders", 5):
        tag = int(stream.partition("{")[2].rstrip("}"))
        assert all(key_slot(str(number)) != key_slot(stream) for number in range(tag))


@pytest.mark.parametrize("partitions", [0, -1, 16385, 1.5, "3", True])
def test_a_number_of_partitions_that_cannot_be(partitions: Any) -> None:
    registry = Registry()
    registry.register_redis("localhost:6379")
    registry.register_redis_stream("orders", partitions=partitions)
    with pytest.raises(RegistryError, match="'orders': a stream has 1 to 16384 partitions, not"):
        registry.validate()


def test_a_name_with_a_hash_tag_cannot_have_partitions() -> None:
    registry = Registry()
    registry.register_redis("localhost:6379")
    registry.register_redis_stream("{a}orders", partitions=3)
    with pytest.raises(RegistryError, match=r"has no '\{'"):
        registry.validate()


def test_the_engine_tells_what_a_stream_is_made_of() -> None:
    registry = Registry()
    registry.register_redis("localhost:6379")
    registry.register_redis_stream("orders", partitions=3)
    registry.register_redis_stream("users")
    engine = registry.validate()
    assert engine.partitions("orders") == partition_streams("orders", 3)
    assert engine.partitions("users") == ("users",)
    assert dict(engine.streams) == {"orders": "default", "users": "default"}
    with pytest.raises(UnregisteredStreamError):
        engine.partitions("others")


# ---- keys beside a stream -------------------------------------------------------------------------------

# The same are in docs/cluster.md.
BESIDE = [
    ("orders", "{orders}:lease"),
    ("orders:7of12:{2821}", "orders:7of12:{2821}:lease"),
    ("{a}b", "{a}b:lease"),
    ("a}b{c}d", "a}b{c}d:lease"),
    ("a{b", "{a{b}:lease"),
    ("a{}c", "{3990}:lease:a{}c"),
    ("x}y", "{19055}:lease:x}y"),
    ("a}b{c", "{42981}:lease:a}b{c"),
    ("{}", "{42430}:lease:{}"),
]


@pytest.mark.parametrize(("key", "name"), BESIDE)
def test_names_of_keys_beside_a_stream_as_they_are_written_down(
    implementation: Implementation, key: str, name: str
) -> None:
    assert beside(key, "lease") == name
    assert implementation.key_slot(name) == implementation.key_slot(key)


@given(st.text("ab{}:", max_size=8) | st.text(), st.sampled_from(["lease", "consumers"]))
def test_a_key_beside_a_stream_lies_in_its_slot(key: str, what: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError:  # no name of a stream
        return
    name = beside(key, what)
    assert name != key
    for one in ("python",) if missing_modules() else ("c", "python"):
        assert load(one).key_slot(name) == load(one).key_slot(key)


_KEYS = st.text("ab{}:", min_size=1, max_size=6) | st.builds(
    lambda stream, partitions: partition_streams(stream, partitions)[0], st.text("ab}:", min_size=1), st.integers(1, 4)
)
_BESIDE = st.tuples(_KEYS, st.sampled_from(["lease", "consumers"]))


@given(_BESIDE, _BESIDE)
def test_keys_beside_streams_have_names_of_their_own(one: tuple[str, str], other: tuple[str, str]) -> None:
    if one != other and beside(*one) == beside(*other):  # these a registry does not take both
        assert one[1] == other[1]
        assert one[0] in (other[0], f"{{{other[0]}}}") or other[0] == f"{{{one[0]}}}"


@pytest.mark.parametrize("pools", [("default", "default"), ("default", "other")])
def test_streams_whose_keys_beside_them_would_be_the_same_are_refused(pools: tuple[str, str]) -> None:
    registry = Registry()
    for pool in dict.fromkeys(pools):
        registry.register_redis("localhost:6379", 0, pool)
    registry.register_redis_stream("orders", pools[0])
    registry.register_redis_stream("{orders}", pools[1])
    if pools[0] != pools[1]:
        assert list(registry.validate().streams) == ["orders", "{orders}"]
        return
    with pytest.raises(RegistryError, match=r"stream '\{orders\}': .* of stream 'orders'.*rename one of them"):
        registry.validate()


# ---- the writer -----------------------------------------------------------------------------------------


def _writer(implementation: Implementation) -> tuple[Any, list[Any]]:
    buffers = [implementation.CommandBuffer() for _ in range(4)]
    heads = {
        "orders": [entry_head(key, True) for key in partition_streams("orders", 3)],
        "users": [entry_head("users")],
    }

    def open_target(stream: str, partition: int) -> tuple[int, int, Any]:
        index = partition if stream == "orders" else 3
        return index, index, buffers[index]

    return implementation.EventWriter(heads, open_target), buffers


def test_the_same_key_goes_to_the_same_partition(implementation: Implementation) -> None:
    writer, buffers = _writer(implementation)
    for number in range(60):
        writer.publish("orders", number, None, number % 6)
        writer.publish_many("orders", [number], None, 0, str(number % 6))
    for index, buffer in enumerate(buffers[:3]):
        numbers = sum(20 for key in range(6) if partition_of(key, 3) == index)
        assert buffer.command_count == numbers
        assert buffer.keys(range(buffer.command_count)) == [partition_streams("orders", 3)[index]] * numbers


def test_events_without_a_key_stay_together_until_the_next_batch(implementation: Implementation) -> None:
    writer, buffers = _writer(implementation)
    batches = []
    for _ in range(6):
        before = [buffer.command_count for buffer in buffers]
        writer.publish("orders", 1)
        writer.publish_many("orders", [2, 3])
        writer.publish("orders", 4)
        grown = [buffer.command_count - was for buffer, was in zip(buffers, before, strict=True)]
        assert sorted(grown) == [0, 0, 0, 4]
        batches.append(grown.index(4))
        writer.restart(())
    assert batches[:3] == batches[3:]
    assert sorted(batches[:3]) == [0, 1, 2]


def test_a_key_is_refused_without_partitions(implementation: Implementation) -> None:
    writer, buffers = _writer(implementation)
    for call in (
        lambda: writer.publish("users", 1, None, "k"),
        lambda: writer.publish_many("users", [1], None, 0, 1.5),
        lambda: writer.index("users", ""),
    ):
        with pytest.raises(ValueError, match="stream 'users' has no partitions, so key= would have no effect"):
            call()
    assert [buffer.command_count for buffer in buffers] == [0, 0, 0, 0]
    assert list(writer.order) == []


def test_a_refused_key_leaves_the_buffers_as_they_were(implementation: Implementation) -> None:
    writer, buffers = _writer(implementation)
    for call in (
        lambda: writer.publish("orders", 1, None, 1.5),
        lambda: writer.publish_many("orders", [1], None, 0, 1.5),
        lambda: writer.index("orders", 1.5),
    ):
        with pytest.raises(SerializationError, match="orders: key: a key is a str") as caught:
            call()
        assert caught.value.stream == "orders"
    assert [buffer.command_count for buffer in buffers] == [0, 0, 0, 0]
    with pytest.raises(UnregisteredStreamError):
        writer.publish("others", 1, None, "k")


def test_a_target_is_opened_for_its_first_event(implementation: Implementation) -> None:
    opened: list[tuple[str, int]] = []
    buffer = implementation.CommandBuffer()

    def open_target(stream: str, partition: int) -> tuple[int, int, Any]:
        opened.append((stream, partition))
        return 0, 0, buffer

    heads = {
        "orders": [entry_head(key, True) for key in partition_streams("orders", 3)],
        "users": [entry_head("users")],
    }
    writer = implementation.EventWriter(heads, open_target)
    with pytest.raises(SerializationError):
        writer.publish("orders", 1, None, 1.5)  # type: ignore[arg-type]
    with pytest.raises(UnregisteredStreamError):
        writer.publish("others", 1)
    assert opened == []
    for _ in range(2):
        for key in range(20):
            writer.publish("orders", 1, None, key)
        writer.publish("users", 1)
        writer.restart(())
    assert sorted(opened) == [("orders", 0), ("orders", 1), ("orders", 2), ("users", 0)]
    assert buffer.command_count == 42


def test_the_targets_that_hold_events_are_told(implementation: Implementation) -> None:
    writer, buffers = _writer(implementation)
    assert writer.filled == []
    index = writer.index("orders", 5)
    assert writer.publish_many("orders", [], None, 0, 5) == 0
    assert writer.filled == []
    writer.publish("users", 1)
    assert writer.publish_many("orders", [], None, 0, 5) == 0
    writer.publish("users", 1)
    assert (writer.filled, list(writer.order)) == ([3], [(3, 2)])
    writer.publish("orders", 1, None, 5)
    assert writer.filled == [index, 3]
    buffers[index].clear()
    assert writer.filled == [3]


def test_a_writer_knows_that_an_event_is_being_written(implementation: Implementation) -> None:
    refused: list[str] = []

    def hook(value: object) -> object:
        with pytest.raises(SerializationError) as caught:
            writer.check_idle()
        refused.append(str(caught.value))
        return None

    buffer = implementation.CommandBuffer(hook)
    writer = implementation.EventWriter({"users": [entry_head("users")]}, lambda stream, partition: (0, 0, buffer))
    writer.check_idle()
    writer.publish("users", object())
    writer.check_idle()
    assert refused
    assert all("is being written to" in message for message in refused)


@given(st.text(min_size=1), st.integers(1, 16384), st.data())
def test_a_partition_is_known_by_its_name(stream: str, partitions: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, partitions - 1))
    stream = stream.replace("{", "(")
    key = partition_streams(stream, partitions)[index]
    assert partitions_with(key) == (stream, partitions)
    for other in (key[1:], key + "0", key.replace("{", "{0"), key.replace("of", "of0"), f"{stream}:{index}of0:{{1}}"):
        assert partitions_with(other) in (None, (stream[1:], partitions))
    assert partitions_with(stream) in (None, partitions_with(stream))
