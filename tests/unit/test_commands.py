"""What is sent, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxa_fast import SerializationError
from fluxa_fast.protocol import Implementation, load, missing_modules
from fluxa_fast.protocol.commands import entry_head

ALL = [load("python")] if missing_modules() else [load("c"), load("python")]


def words(buffer: Any) -> list[list[bytes]]:
    """The commands in a buffer, taken apart without any code of ours."""
    commands = []
    text = bytes(buffer.view())
    while text:
        assert text[:1] == b"*"
        count, _, text = text[1:].partition(b"\r\n")
        command = []
        for _ in range(int(count)):
            assert text[:1] == b"$"
            size, _, text = text[1:].partition(b"\r\n")
            command.append(text[: int(size)])
            assert text[int(size) : int(size) + 2] == b"\r\n"
            text = text[int(size) + 2 :]
        commands.append(command)
    return commands


def one(buffer: Any) -> bytes:
    (command,) = words(buffer)
    return b" ".join(command)


@pytest.mark.parametrize(
    ("body", "tags", "expected"),
    [
        (1, None, b"XADD k * s \x01"),
        (1, {}, b"XADD k * s \x01"),
        (1, {"a": "b"}, b"XADD k * s \x01 a b"),
        (None, {"a": "b", "c": "d"}, b"XADD k * a b c d"),
    ],
)
def test_xadd(implementation: Implementation, body: Any, tags: Any, expected: bytes) -> None:
    buffer = implementation.CommandBuffer()
    buffer.entry(entry_head("k"), body, tags)
    assert one(buffer) == expected
    assert buffer.command_count == 1


@pytest.mark.parametrize("stream", [b"k", None, 5])
def test_the_name_of_a_stream_is_a_str(stream: Any) -> None:
    with pytest.raises(TypeError, match="a stream's name is a str"):
        entry_head(stream)


@pytest.mark.parametrize(
    ("name", "arguments", "options", "expected"),
    [
        ("xreadgroup", ("g", "c", {"a": ">", "b": "0"}), {}, b"XREADGROUP GROUP g c STREAMS a b > 0"),
        (
            "xreadgroup",
            ("g", "c", {"a": ">"}),
            {"count": 2, "block": 10, "noack": True},
            b"XREADGROUP GROUP g c COUNT 2 BLOCK 10 NOACK STREAMS a >",
        ),
        ("xread", ({"a": "0"},), {"count": 1, "block": 0}, b"XREAD COUNT 1 BLOCK 0 STREAMS a 0"),
        ("xack", ("k", "g", ["1-1", b"2-2"]), {}, b"XACK k g 1-1 2-2"),
        ("xautoclaim", ("k", "g", "c", 5, "0-0"), {"count": 7}, b"XAUTOCLAIM k g c 5 0-0 COUNT 7"),
        ("xgroup_create", ("k", "g", "$"), {}, b"XGROUP CREATE k g $ MKSTREAM"),
        ("xpending", ("k", "g"), {}, b"XPENDING k g"),
        ("xpending_range", ("k", "g", "-", "+", 10), {"consumer": "c"}, b"XPENDING k g - + 10 c"),
        ("xinfo_groups", ("k",), {}, b"XINFO GROUPS k"),
        ("xlen", ("k",), {}, b"XLEN k"),
    ],
)
def test_the_stream_commands(
    implementation: Implementation, name: str, arguments: Any, options: Any, expected: bytes
) -> None:
    buffer = implementation.CommandBuffer()
    getattr(buffer, name)(*arguments, **options)
    assert one(buffer) == expected
    assert buffer.command_count == 1


def test_bodies_of_every_size_fit_behind_their_length(implementation: Implementation) -> None:
    buffer = implementation.CommandBuffer()
    sizes = [0, 7, 8, 9, 97, 98, 99, 5, 995, 996, 997, 9997, 3, 99_994, 99_995, 99_996, 1]
    for size in sizes:
        buffer.entry(entry_head("k"), "x" * size, {"t": "v"})
    assert [len(command[4]) for command in words(buffer)] == [len(implementation.pack("x" * size)) for size in sizes]
    assert all(command[5:] == [b"t", b"v"] for command in words(buffer))


def test_tags(implementation: Implementation) -> None:
    buffer = implementation.CommandBuffer()
    buffer.entry(entry_head("k"), None, {"": "", "zażółć": "🎉", "S": "x"})
    assert words(buffer)[0][3:] == [b"", b"", "zażółć".encode(), "🎉".encode(), b"S", b"x"]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"s": "x"}, r"tags\['s'\]: the name 's' is taken by the event's body"),
        ({"a": 1}, r"tags\['a'\]: a tag's value is a str, not int; use str"),
        ({1: "a"}, r"tags\[1\]: a tag's name is a str, not int"),
        ({"a": "\ud800"}, r"tags\['a'\]: .*lone surrogate"),
        ([("a", "b")], r"tags: tags are a mapping of str to str, not list"),
        ("ab", r"tags: tags are a mapping"),
    ],
)
def test_refused_tags_leave_the_buffer_as_it_was(implementation: Implementation, tags: Any, message: str) -> None:
    buffer = implementation.CommandBuffer()
    buffer.entry(entry_head("k"), "before")
    before = bytes(buffer.view())
    with pytest.raises(SerializationError, match=message):
        buffer.entry(entry_head("k"), {"fine": 1}, tags)
    assert bytes(buffer.view()) == before
    assert buffer.command_count == 1


def test_bad_arguments_leave_the_buffer_as_it_was(implementation: Implementation) -> None:
    buffer = implementation.CommandBuffer()
    for arguments in (("GET", True), ("GET", None), ("GET", [1])):
        with pytest.raises(TypeError, match="a command's argument"):
            buffer.command(*arguments)
    with pytest.raises(ValueError, match="at least"):
        buffer.command()
    assert len(buffer) == buffer.command_count == 0


def test_a_held_view_forbids_writing(implementation: Implementation) -> None:
    buffer = implementation.CommandBuffer()
    buffer.xlen("k")
    with buffer.view() as view:
        for write in (lambda: buffer.xlen("k"), buffer.clear, lambda: buffer.keep([0])):
            with pytest.raises(BufferError, match="while a view of it is held"):
                write()
        assert view.readonly
    buffer.xlen("k")
    assert buffer.command_count == 2


def test_no_way_to_change_a_buffer_under_a_view(implementation: Implementation) -> None:
    buffer, other = implementation.CommandBuffer(), implementation.CommandBuffer()
    for one_of_them in (buffer, other):
        one_of_them.xlen("k")
    with buffer.view():
        for change in (
            lambda: buffer.swap(other),
            lambda: other.swap(buffer),
            lambda: buffer.extend(other),
            lambda: buffer.truncate(0, 0),
            lambda: buffer.keep(range(1)),
            lambda: buffer.give_back(1),
        ):
            with pytest.raises(BufferError, match="while a view of it is held"):
                change()
    assert (words(buffer), buffer.command_count) == ([[b"XLEN", b"k"]], 1)
    assert (words(other), other.command_count) == ([[b"XLEN", b"k"]], 1)


def test_swap_extend_truncate(implementation: Implementation) -> None:
    buffer, other = implementation.CommandBuffer(), implementation.CommandBuffer()
    other.extend(buffer)
    assert (len(other), other.command_count) == (0, 0)
    buffer.xlen("a")
    commands, size = buffer.command_count, len(buffer)
    buffer.xlen("b")
    other.xlen("c")
    buffer.swap(other)
    assert words(buffer) == [[b"XLEN", b"c"]]
    assert words(other) == [[b"XLEN", b"a"], [b"XLEN", b"b"]]
    other.extend(buffer)
    assert [key for _, key in words(other)] == [b"a", b"b", b"c"]
    assert (other.command_count, buffer.command_count) == (3, 1)
    buffer.extend(buffer)
    assert [key for _, key in words(buffer)] == [b"c", b"c"]
    other.truncate(commands, size)
    assert (words(other), other.command_count) == ([[b"XLEN", b"a"]], 1)
    for more in ((2, size), (1, size + 1), (-1, 0)):
        with pytest.raises(ValueError, match="holds less"):
            other.truncate(*more)


def test_memory_is_given_back_in_steps(implementation: Implementation) -> None:
    buffer = implementation.CommandBuffer()
    for _ in range(3):
        buffer.entry(entry_head("k"), bytes(1 << 20))
    steps = 1
    while not buffer.give_back(1 << 20):
        assert buffer.command_count == 0
        steps += 1
    assert steps > 1
    assert len(buffer) == 0
    buffer.xlen("k")
    assert words(buffer) == [[b"XLEN", b"k"]]


@given(st.lists(st.binary(max_size=40), max_size=30), st.data())
@settings(max_examples=100)
def test_keep_and_keys(bodies: list[bytes], data: st.DataObject) -> None:
    kept = sorted(data.draw(st.sets(st.integers(0, len(bodies) - 1)))) if bodies else []
    for implementation in ALL:
        buffer = implementation.CommandBuffer()
        for number, body in enumerate(bodies):
            buffer.entry(entry_head(f"k{number}"), body)
        assert buffer.keys(kept) == [f"k{number}" for number in kept]
        buffer.keep(kept)
        assert buffer.command_count == len(kept)
        assert [command[1] for command in words(buffer)] == [b"k%d" % number for number in kept]
        with pytest.raises(IndexError):
            buffer.keep([len(kept)])


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=100)
def test_keep_a_range(bodies: list[bytes], begin: int, end: int) -> None:
    for implementation in ALL:
        buffer = implementation.CommandBuffer()
        for number, body in enumerate(bodies):
            buffer.entry(entry_head(f"k{number}"), body)
        wanted = range(begin, end)
        if wanted and end > len(bodies):
            with pytest.raises(IndexError):
                buffer.keep(wanted)
            continue
        buffer.keep(wanted)
        assert buffer.command_count == len(wanted)
        assert [command[1] for command in words(buffer)] == [b"k%d" % number for number in wanted]


def test_publish_many_in_parts_names_the_body(implementation: Implementation) -> None:
    buffers = [implementation.CommandBuffer()]
    writer = implementation.EventWriter({"a": [entry_head("a")]}, lambda stream, partition: (0, 0, buffers[0]))
    writer.publish_many("a", [1, 2])
    with pytest.raises(SerializationError, match=r"a: bodies\[3\]\['x'\]"):
        writer.publish_many("a", [3, {"x": object()}], None, 2)
    assert buffers[0].command_count == 2


def test_writer_keeps_the_order_across_pools(implementation: Implementation) -> None:
    buffers = [implementation.CommandBuffer(), implementation.CommandBuffer()]
    heads = {"a": [entry_head("a")], "b": [entry_head("b")]}
    writer = implementation.EventWriter(
        heads, lambda stream, partition: ("ab".index(stream), "ab".index(stream), buffers["ab".index(stream)])
    )
    for stream in "aababbb":
        writer.publish(stream, 1)
    assert list(writer.order) == [(0, 2), (1, 1), (0, 1), (1, 3)]
    assert [buffer.command_count for buffer in buffers] == [3, 4]
    writer.restart([(1, 2)])
    writer.publish("a", 1)
    assert list(writer.order) == [(1, 2), (0, 1)]
