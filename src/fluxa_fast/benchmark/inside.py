"""Measurements in one process, without peers: parsing a reply in pieces, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from .. import protocol
from .contenders.client import STREAM, Client, Make
from .usage import resident_memory

__all__ = ["memory", "parse", "reply_of"]

_ENTRIES = 1000


def reply_of(bodies: Iterable[bytes]) -> bytes:
    """Return the reply to an XREADGROUP: entries with these packed bodies."""
    entries = [
        b"*2\r\n$17\r\n1709136000000-%03d\r\n*2\r\n$1\r\ns\r\n$%d\r\n%b\r\n" % (number, len(packed), packed)
        for number, packed in enumerate(bodies)
    ]
    return b"*1\r\n*2\r\n$5\r\nbench\r\n*%d\r\n" % len(entries) + b"".join(entries)


def parse(make: Make, pieces: int) -> float:
    """Return the CPU seconds per event for parsing a reply of 1000 entries that arrives in that many pieces."""
    implementation = protocol.default
    reply = reply_of(implementation.pack(make(number)) for number in range(_ENTRIES))
    size = -(-len(reply) // pieces)
    cut = [reply[at : at + size] for at in range(0, len(reply), size)]
    reader = implementation.ReplyReader()
    best = float("inf")
    for _ in range(7):
        begin = time.process_time()
        rounds = 0
        while time.process_time() - begin < 0.02:
            for piece in cut:
                reader.feed(piece)
                batch = reader.read_streams()
            rounds += 1
        best = min(best, (time.process_time() - begin) / rounds)
        assert len(batch.events) == _ENTRIES  # type: ignore[union-attr]
    return best / _ENTRIES


def memory(client: Any, make: Make, events: int, rounds: int) -> dict[str, int]:
    """Measure the memory of a flusher with that many events, the bytes on the wire, and the growth of the process."""
    assert isinstance(client, Client)
    flusher = client.broker.new_flusher()  # type: ignore[attr-defined]
    for number in range(1000):
        flusher.publish(STREAM, make(number))
    flusher.flush()
    before = resident_memory()
    for number in range(events):
        flusher.publish(STREAM, make(number))
    held = resident_memory() - before
    wire = flusher.size
    flusher.flush()
    after_one = 0
    for round_ in range(rounds):
        for begin in range(0, events, 10_000):
            for number in range(begin, begin + 10_000):
                flusher.publish(STREAM, make(number))
            flusher.flush()
        client.consume(events if round_ else 2 * events + 1000, 1000)
        if not round_:
            after_one = resident_memory()
    return {"held": held, "wire": wire, "grown": resident_memory() - after_one}
