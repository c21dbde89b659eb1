"""What is done with an input. A target raises if anything comes of it that was not promised."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fluxa_fast import ProtocolError, SerializationError
from fluxa_fast.protocol import Implementation, load, missing_modules
from fluxa_fast.protocol.interface import INCOMPLETE, NOT_PLAIN, EventBatch

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
        told = [value.cursor, value.deleted, value.dropped]
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
    except UnicodeDecodeError:
        tags = "no text"
    return repr([event.id, event.stream, tags, body, event.idle, event.delivery_count])


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


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (replies, streams, claimed, ranged, confirmations, plain_replies, bodies)
}
