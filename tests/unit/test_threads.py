"""Threads in one object. With Python's lock (GIL) most of this can't go wrong; without it, it is what keeps memory whole."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import make_dataclass
from itertools import count
from typing import Any

import pytest

from fluxa_fast.errors import SerializationError
from fluxa_fast.protocol import Implementation
from fluxa_fast.protocol.commands import entry_head
from fluxa_fast.protocol.interface import Event
from tests.threads import WITHOUT_GIL, run_concurrently_blocking

THREADS = 4
ROUNDS = 2000


@pytest.fixture
def compiled(implementation: Implementation) -> Implementation:
    """Python's own objects need no proof that their memory stays whole."""
    if implementation.name != "c":
        pytest.skip("about the compiled implementation")
    return implementation


def writer_into(buffer: Any, implementation: Implementation) -> Any:
    return implementation.EventWriter({"orders": [entry_head("orders")]}, lambda stream, partition: (0, 0, buffer))


def entries_in(written: bytes, implementation: Implementation) -> list[list[bytes]]:
    """The commands of a buffer, read back as a server reads them."""
    reader = implementation.ReplyReader()
    reader.feed(written)
    commands = []
    while reader.unread:
        commands.append(reader.read())
    return commands


def test_a_buffer_that_threads_share_holds_whole_commands(compiled: Implementation) -> None:
    """Each call is done, or refused because another one is in the buffer."""
    buffer = compiled.CommandBuffer(lambda value: str(value))  # the hook runs Python, and lets others come
    writer = writer_into(buffer, compiled)
    done: list[int] = []

    def publish(first: int) -> None:
        for number in range(first, first + ROUNDS):
            try:
                writer.publish("orders", [number, object if number % 7 else number], {"number": str(number)})
                done.append(number)
            except SerializationError as error:
                assert "is being written to" in str(error), error

    run_concurrently_blocking([lambda first=first: publish(first) for first in range(0, THREADS * ROUNDS, ROUNDS)])  # type: ignore[misc]
    commands = entries_in(bytes(buffer), compiled)
    assert len(commands) == buffer.command_count == len(done) == sum(count for _, count in writer.order)
    assert sorted(int(command[-1]) for command in commands) == sorted(done)
    for command in commands:
        assert compiled.unpack(command[4])[0] == int(command[-1])


def test_buffers_that_are_swapped_while_others_write(compiled: Implementation) -> None:
    buffer, other = compiled.CommandBuffer(), compiled.CommandBuffer()
    writer = writer_into(buffer, compiled)

    def publish() -> None:
        for number in range(ROUNDS):
            with suppress(BufferError):  # a view of it is held
                writer.publish("orders", {"number": number})

    def swap() -> None:
        for _ in range(ROUNDS):
            try:
                buffer.swap(other)
                buffer.extend(other)
                bytes(buffer)
                other.clear()
            except (SerializationError, BufferError):
                continue

    run_concurrently_blocking([publish, swap])
    for each in (buffer, other):
        assert len(entries_in(bytes(each), compiled)) == each.command_count


def test_a_body_that_another_thread_changes(implementation: Implementation) -> None:
    """It is written as it was at some moment, or refused; what is written can be read.

    msgpack, which the pure implementation writes with, knows no such thing where Python has no lock.
    """
    unguarded = implementation.name == "python" and WITHOUT_GIL
    shared: dict[str, Any] = {"list": [1, "two"], "dict": {"a": 1}}
    going_on = [True]

    def change() -> None:
        for number in count():
            shared[f"key {number % 50}"] = str(number)
            shared["list"].append([number])
            shared["dict"][number % 20] = {"number": number}
            if number % 20 == 19:
                shared["dict"].clear()
                shared["list"].clear()
                shared.pop(f"key {number % 50}")
            if not going_on[0]:
                return

    def write() -> None:
        for _ in range(ROUNDS):
            try:
                assert isinstance(implementation.unpack(implementation.pack(shared)), dict)
            except (SerializationError, RuntimeError) as error:
                assert unguarded or "changed" in str(error), error

    def write_all() -> None:
        try:
            run_concurrently_blocking([write] * (THREADS - 1))
        finally:
            going_on[0] = False

    run_concurrently_blocking([change, write_all])


def events_of(implementation: Implementation, bodies: list[Any]) -> list[Event]:
    text = b"*1\r\n*2\r\n$6\r\norders\r\n*%d\r\n" % len(bodies)
    for number, body in enumerate(bodies):
        raw = implementation.pack(body)
        text += b"*2\r\n$3\r\n1-%d\r\n*4\r\n$1\r\ns\r\n$%d\r\n%s\r\n$1\r\na\r\n$1\r\nb\r\n" % (
            number % 10,
            len(raw),
            raw,
        )
    reader = implementation.ReplyReader()
    reader.feed(text)
    events: list[Event] = list(reader.read_streams().events)
    return events


def test_events_that_threads_share(implementation: Implementation) -> None:
    bodies = [{"UserID": number, f"key {number}": ["x" * 50, {"deep": number}]} for number in range(ROUNDS)]
    events = events_of(implementation, bodies)

    def read() -> None:
        for event, body in zip(events, bodies, strict=True):
            assert event.unserialize() == event.body == body
            assert event.tags == {"a": "b"}

    run_concurrently_blocking([read] * THREADS)


def test_classes_that_are_met_by_several_threads_for_the_first_time(implementation: Implementation) -> None:
    classes = [make_dataclass(f"Made{number}", ["user_id", "name"]) for number in range(200)]

    def write() -> None:
        for number, made in enumerate(classes):
            assert implementation.unpack(implementation.pack(made(number, "x"))) == {"user_id": number, "name": "x"}

    run_concurrently_blocking([write] * THREADS)


@pytest.mark.parametrize("kept", [True, False])
def test_keys_that_threads_read(implementation: Implementation, kept: bool) -> None:
    """Keys of maps are kept for the next event, as far as there is room."""
    packed = [
        implementation.pack({f"k{number % (50 if kept else 5000)}": number, "UserID": 1}) for number in range(5000)
    ]

    def read() -> None:
        for number, body in enumerate(packed):
            assert implementation.unpack(body)["UserID"] == 1
            assert number in implementation.unpack(body).values()

    run_concurrently_blocking([read] * THREADS)
