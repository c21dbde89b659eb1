"""What is done with an input. A target raises if anything comes of it that was not promised."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from fluxa_fast import Packing, ProtocolError, SerializationError
from fluxa_fast.protocol import Implementation, load, missing_modules
from fluxa_fast.protocol.commands import entry_head
from fluxa_fast.protocol.interface import INCOMPLETE, NOT_PLAIN, EventBatch
from fluxa_fast.protocol.resp import bulk
from fluxa_fast.protocol.wire import PACKED_FIELD

__all__ = ["TARGETS", "Target"]

Target = Callable[[bytes], None]

BOTH: list[Implementation] = [load("python")] if missing_modules() else [load("c"), load("python")]

# Memory that a reader may hold beyond twice what it was given.
_ROOM = 256 * 1024

_REFUSED = "refused: "


def _fed_in_pieces(implementation: Implementation, text: bytes, take: Callable[[Any], Any]) -> list[str]:
    """What comes of it. The first byte says where the rest is cut."""
    cut = text[0] if text else 0
    text = text[1:]
    reader = implementation.ReplyReader()
    found = []
    for piece in (text[:cut], text[cut:]):
        reader.feed(piece)
        try:
            while (reply := take(reader)) is not INCOMPLETE:
                found.append(_shown(reply))
        except ProtocolError as error:
            found.append(f"{_REFUSED}{error}")
            break
        finally:
            assert reader.capacity <= 2 * len(text) + _ROOM, f"{reader.capacity} bytes for {len(text)}"
    return found


def _shown(value: Any) -> str:
    if isinstance(value, EventBatch):
        told = [value.cursor, value.deleted, value.dropped, value.entries, value.size]
        return repr([told, [_event(event) for event in value.events]])
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    try:
        return repr(value)
    except RecursionError:  # Python can't show what is nested deeper than it likes
        return "deep"


def _event(event: Any) -> str:
    body: Any
    try:
        body = event.body
    except SerializationError as error:
        body = f"{_REFUSED}{error}"
    try:
        tags = event.tags
    except SerializationError as error:
        tags = f"{_REFUSED}{error}"
    return repr([event.id, event.entry_id, event.stream, tags, body, event.raw_body, event.idle, event.delivery_count])


def _alike(text: bytes, take: Callable[[Any], Any]) -> None:
    _agree([_fed_in_pieces(implementation, text, take) for implementation in BOTH])


def _agree(outcomes: list[list[str]]) -> None:
    """Both make the same values of it. One may refuse what the other one is still waiting for the end of.

    hiredis, which the pure one asks first, does not look at the two bytes behind a bulk string.
    """
    values = [[one for one in outcome if not one.startswith(_REFUSED)] for outcome in outcomes]
    if outcomes[0] and outcomes[0][-1].startswith(_REFUSED) and "not followed by CR LF" in outcomes[0][-1]:
        del values[-1][len(values[0]) :]
    assert values[0] == values[-1], f"compiled: {outcomes[0]}\npure: {outcomes[-1]}"


def replies(text: bytes) -> None:
    """Replies of any kind."""
    _alike(text, lambda reader: reader.read())


def streams(text: bytes) -> None:
    """XREADGROUP's."""
    _alike(text, lambda reader: reader.read_streams())


def claimed(text: bytes) -> None:
    """XAUTOCLAIM's."""
    _alike(text, lambda reader: reader.read_claimed("orders"))


def ranged(text: bytes) -> None:
    """XRANGE's."""
    _alike(text, lambda reader: reader.read_range("orders"))


def confirmations(text: bytes) -> None:
    """Those to a flush."""
    outcomes = []
    for implementation in BOTH:
        told = implementation.Confirmations(text[1] if len(text) > 1 else 3)
        done: list[bool] = []

        def take(reader: Any, told: Any = told, done: list[bool] = done) -> Any:
            if done:
                return INCOMPLETE
            if not told.take(reader):
                return INCOMPLETE
            done.append(True)
            return (told.received, told.errors, told.ids())

        outcomes.append(_fed_in_pieces(implementation, text, take))
    _agree(outcomes)


def plain_replies(text: bytes) -> None:
    """Those that the drop-in reads, and what it leaves for redis-py."""
    implementation = BOTH[0]
    plain = implementation.plain_replies
    if plain is None:
        return
    ways: list[Callable[[Any], Any]] = [
        lambda reader: plain.read_streams(reader, False, 2, False, True),
        lambda reader: plain.read_streams(reader, True, 4, True, False),
        lambda reader: plain.read_range(reader, True),
        lambda reader: plain.read_claimed(reader, False),
        lambda reader: plain.frame(reader),
    ]
    way = ways[text[1] % len(ways)] if len(text) > 1 else ways[-1]

    def take(reader: Any) -> Any:
        try:
            reply = way(reader)
            return plain.frame(reader) if reply is NOT_PLAIN else reply
        except UnicodeDecodeError:
            return INCOMPLETE

    _fed_in_pieces(implementation, text, take)


def bodies(text: bytes) -> None:
    """msgpack."""
    outcomes = []
    for implementation in BOTH:
        try:
            outcomes.append(_shown(implementation.unpack(text)))
        except SerializationError as error:
            outcomes.append(f"{_REFUSED}{error}")
    assert outcomes[0] == outcomes[-1], f"compiled: {outcomes[0]}\npure: {outcomes[-1]}"


class _Choices:
    """What the bytes of an input choose, one after the other; the first of all when they have come to their end."""

    def __init__(self, text: bytes) -> None:
        self._text = iter(text[:200])

    def __bool__(self) -> bool:
        return self._text.__length_hint__() > 0

    def of(self, *items: Any) -> Any:
        return items[next(self._text, 0) % len(items)]

    def below(self, most: int) -> int:
        return next(self._text, 0) % most


def packing(text: bytes) -> None:
    """Events that are packed into entries."""
    outcomes = [_written(implementation, _Choices(text)) for implementation in BOTH]
    for step, (compiled, pure) in enumerate(zip(outcomes[0], outcomes[-1], strict=True)):
        assert compiled == pure, f"step {step}: compiled: {compiled[:2000]}\npure: {pure[:2000]}"


def _written(implementation: Implementation, choose: _Choices) -> list[str]:
    """What comes of calls of a writer, and of reading what it has written."""
    packing = Packing(choose.of(1000, 1, 2, 7), choose.of(32_000, 60, 300), choose.of(None, None, "zstd"))
    encode = choose.of(None, None, bytes.swapcase)
    buffer = implementation.CommandBuffer(encode_body=encode)
    heads = {"packed": [entry_head("packed", packing=packing)], "plain": [entry_head("plain")]}
    writer = implementation.EventWriter(heads, lambda stream, partition: (int(stream == "plain"), 0, buffer))
    told: list[str] = []
    wanted: Counter[str] = Counter()
    while choose:
        stream = choose.of("packed", "packed", "packed", "plain")
        tags = _tags(choose)
        before = writer.count
        try:
            way = choose.below(8)
            if way == 0:
                writer.close_entries()
            elif way == 1:
                writer.publish_many(stream, [_body(choose) for _ in range(choose.below(20))], tags)
            elif way == 2:
                writer.publish(stream, _body(choose), tags, None, choose.of("5-*", "5-1", "x", "7-7"))
            else:
                writer.publish(stream, _body(choose), tags)
        except (SerializationError, ValueError) as error:
            told.append(f"{_REFUSED}{type(error).__name__}: {error}")
            assert writer.count == before
        wanted[stream] += writer.count - before
        told.append(repr([writer.count, writer.open_size, buffer.command_count]))
    writer.close_entries()
    written = bytes(buffer)
    told += repr(written), repr(buffer.packed.commands if buffer.packed else []), repr(list(writer.order))
    assert _read_back(implementation, written) == +wanted
    return told


def _tags(choose: _Choices) -> Any:
    def value() -> Any:
        return choose.of("paid", "created", f"{choose.below(256)}", "größe", "", "v" * 50, "\ud800", 7)

    return choose.of(
        lambda: None,
        dict,
        lambda: {"action": choose.of("paid", "created")},
        lambda: {"action": choose.of("paid", "created")},
        lambda: {choose.of("action", "a", "größe", "", "s", "_fluxa:x", "\ud800", 5): value()},
        lambda: {"action": value(), "trace": value(), choose.of("a", "b", "c"): "x"},
    )()


def _body(choose: _Choices) -> Any:
    size = choose.below(256)
    return choose.of(
        lambda: size, lambda: None, lambda: "x" * size, lambda: bytes(size), lambda: {"n": [size, None]}, object
    )()


def _read_back(implementation: Implementation, written: bytes) -> Counter[str]:
    """How many events each stream has been given."""
    found: Counter[str] = Counter()
    commands: Any = implementation.ReplyReader()
    commands.feed(written)
    while (command := commands.read()) is not INCOMPLETE:
        stream, *fields = command[1], *command[3:]
        entry = b"*2\r\n" + bulk(b"7-1") + b"*%d\r\n" % len(fields) + b"".join(map(bulk, fields))
        reader: Any = implementation.ReplyReader()
        reader.feed(b"*1\r\n" + entry)
        events = reader.read_range(stream.decode()).events
        assert all(PACKED_FIELD not in event.tags for event in events), events
        found[stream.decode()] += len(events)
    return found


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (replies, streams, claimed, ranged, confirmations, plain_replies, bodies, packing)
}
