"""The writer of a producer, in both implementations: batches, limits, what is told, and who may call it when."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fluxa_fast import Packing, SerializationError, UnregisteredStreamError
from fluxa_fast.protocol import Implementation
from fluxa_fast.protocol.commands import entry_head


class Lane:
    """A writer, and what it calls."""

    def __init__(self, implementation: Implementation, limits: tuple[int, int, int, int], **options: Any) -> None:
        self.told = 0
        self.full: list[tuple[Any, ...]] = []
        self.raises: BaseException | None = None
        self.default: Any = None
        self._new_buffer = implementation.CommandBuffer
        self._buffer: Any = None
        heads = {
            "orders": [entry_head("orders")],
            "clicks": [entry_head("clicks", packing=Packing(max_events=10))],
        }
        options.setdefault("lock", threading.Lock())
        self.writer = implementation.BatchWriter(heads, self._open, limits, self._on_batch, self._on_full, **options)

    def _open(self, stream: str, partition: int) -> tuple[int, int, Any]:
        if self._buffer is None:
            self._buffer = self._new_buffer(lambda value: self.default(value))
        return (7 if stream == "clicks" else 0), 0, self._buffer

    def _on_batch(self) -> str:
        self.told += 1
        if self.raises is not None:
            raise self.raises
        return "told"

    def _on_full(self, *event: Any) -> str:
        self.full.append(event)
        return "full"


WIDE = (1000, 10_000, 1_000_000, 10_000_000)


def test_the_sender_is_told_of_the_first_event_and_of_a_batch_that_is_worth_sending(
    implementation: Implementation,
) -> None:
    lane = Lane(implementation, WIDE, accepted="yes")
    writer = lane.writer
    assert writer.began is None
    assert writer.publish("orders", 1) == "told"
    assert writer.began is not None
    assert (writer.publish("orders", 2), lane.told, writer.ready) == ("yes", 1, False)
    assert (writer.publish("orders", "x" * 1000), lane.told, writer.ready) == ("told", 2, True)
    assert writer.publish("orders", 3) == "yes"
    assert writer.publish("orders", "x" * 1000) == "told"  # it has grown by as much again
    assert (writer.total, writer.count, writer.waiting, len(writer.sealed)) == (5, 5, 5, 0)
    assert writer.buffered > 2000
    writer.publish("orders", "x" * 8000)  # now it is complete
    (batch,) = writer.sealed
    assert (batch.events, list(batch.order), list(batch.buffers)) == (6, [(0, 6)], [0])
    assert batch.buffers[0].command_count == 6
    assert batch.size == len(batch.buffers[0])
    assert (writer.total, writer.count, writer.waiting, writer.began, writer.ready) == (6, 6, 0, None, False)
    writer.let_go(6, batch.size)
    assert (writer.total, writer.count, writer.buffered) == (6, 0, 0)


def test_a_seal_takes_open_entries_and_keeps_the_order(implementation: Implementation) -> None:
    lane = Lane(implementation, WIDE)
    writer = lane.writer
    writer.seal()
    assert not writer.sealed
    receipts = [object(), object()]
    for number in range(12):
        writer.publish("clicks", number)
    assert writer.add("orders", 1, None, None, None, receipts[0], False)
    assert writer.add("clicks", 12, None, None, None, receipts[1], False)
    writer.seal()
    batch = writer.sealed.popleft()
    assert list(batch.order) == [(7, 12), (0, 1), (7, 1)]
    assert batch.receipts == [(12, receipts[0]), (13, receipts[1])]
    buffer = batch.buffers[0]
    assert [one.events for one in buffer.packed.commands] == [10, 3]
    assert buffer.command_count == 3
    writer.publish("orders", 1)
    writer.seal()
    assert bytes(writer.sealed[0].buffers[0].view()).startswith(b"*5\r\n$4\r\nXADD\r\n$6\r\norders\r\n")


def test_a_receipt_makes_the_batch_worth_sending_once(implementation: Implementation) -> None:
    lane = Lane(implementation, WIDE)
    for _ in range(5):
        lane.writer.add("orders", 1, None, None, None, object(), False)
    assert (lane.told, lane.writer.ready) == (1, True)


@pytest.mark.parametrize(
    "limits", [(1000, 10_000, 3, 10_000_000), (1000, 10_000, 1_000_000, 130)], ids=["events", "bytes"]
)
def test_what_there_is_no_room_for_is_not_added(
    implementation: Implementation, limits: tuple[int, int, int, int]
) -> None:
    lane = Lane(implementation, limits)
    writer = lane.writer
    added = 0
    while writer.room:
        writer.publish("orders", added)
        added += 1
    assert added == 3
    assert writer.ready  # it holds up publishers
    assert writer.publish("orders", 3, {"a": "b"}, None, "1-1") == "full"
    assert lane.full == [("orders", 3, {"a": "b"}, None, "1-1")]
    assert not writer.add("orders", 3, None, None, None, None, False)
    assert not writer.add_many("orders", [3], None, 0, None, False)
    assert writer.count == 3
    assert writer.add("orders", 3, None, None, None, None, True)
    writer.seal()
    assert not writer.room
    writer.let_go(writer.sealed[0].events, writer.sealed[0].size)
    assert writer.room
    writer.close()
    assert writer.closed
    assert not writer.add("orders", 3, None, None, None, None, True)
    assert writer.publish("orders", 4) == "full"


def test_errors_change_nothing(implementation: Implementation) -> None:
    lane = Lane(implementation, WIDE)
    lane.default = {}.__getitem__  # it raises
    writer = lane.writer
    with pytest.raises(UnregisteredStreamError):
        writer.publish("nowhere", 1)
    for stream in ("orders", "clicks"):
        with pytest.raises(SerializationError, match=stream):
            writer.publish(stream, 1, {"a": 5})  # type: ignore[dict-item]
        with pytest.raises(SerializationError, match=r"bodies\[7\]"):
            writer.add_many(stream, [1, object()], None, 6, None, False)
    assert (writer.total, writer.count, writer.began, lane.told) == (0, 0, None, 0)
    assert writer.add_many("orders", [1, 2], None, 0, None, False)
    assert (writer.total, lane.told) == (2, 1)


def test_a_hook_that_calls_the_writer_is_refused(implementation: Implementation) -> None:
    lane = Lane(implementation, WIDE)
    writer = lane.writer
    met = []

    def default(value: object) -> int:
        for call in (lambda: writer.publish("orders", 1), writer.check_idle, writer.seal, writer.close):
            with pytest.raises(SerializationError, match="being written to"):
                call()
            met.append(call)
        return 5

    lane.default = default
    writer.publish("orders", object())
    assert (len(met), writer.count) == (4, 1)
    writer.check_idle()


def test_threads_take_turns_while_a_hook_is_slow(implementation: Implementation) -> None:
    lane = Lane(implementation, WIDE)
    writer = lane.writer
    entered, go_on = threading.Event(), threading.Event()

    def default(value: object) -> int:
        entered.set()
        assert go_on.wait(30)
        return 1

    lane.default = default
    slow = threading.Thread(target=writer.publish, args=("orders", object()))
    slow.start()
    assert entered.wait(30)
    quick = threading.Thread(target=writer.publish, args=("orders", 2))
    quick.start()
    quick.join(0.05)
    assert quick.is_alive()
    go_on.set()
    slow.join(30)
    quick.join(30)
    assert writer.count == 2


def test_a_sender_that_could_not_be_told_is_told_of_the_next_event(implementation: Implementation) -> None:
    lane = Lane(implementation, WIDE)
    lane.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        lane.writer.publish("orders", 1)
    assert lane.writer.count == 1  # the event is there all the same
    lane.raises = None
    assert lane.writer.publish("orders", 2) == "told"
    assert lane.told == 2


@pytest.mark.parametrize("lock", [True, False])
def test_a_renewed_writer_is_empty(implementation: Implementation, lock: bool) -> None:
    lane = Lane(implementation, WIDE, lock=threading.Lock() if lock else None)
    writer = lane.writer
    publish = writer.publish
    publish("orders", 1)
    writer.seal()
    publish("orders", 2)
    lane._buffer = None  # the parent's
    writer.renew(threading.Lock() if lock else None)
    assert (writer.total, writer.count, writer.buffered, len(writer.sealed), writer.began) == (0, 0, 0, 0, None)
    publish("orders", 3)
    writer.seal()
    assert writer.sealed[0].events == 1
