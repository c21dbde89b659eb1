"""The ceiling, what the server can do: the commands were encoded before, and replies are only counted."""

from __future__ import annotations

import socket
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import redis

from ... import protocol
from ...packing import Packing
from ...protocol.commands import entry_head
from ..bodies import packed
from . import client
from .client import GROUP, STREAM, Make

__all__ = ["Client"]


def _command(*arguments: object) -> bytes:
    buffer = protocol.default.CommandBuffer()
    buffer.command(*arguments)
    with buffer.view() as view:
        return bytes(view)


def _packed_entries(make: Make, events: int) -> tuple[bytes, int]:
    """Return the commands that a flusher sends for that many events of a packed stream, and how many these are."""
    buffer = protocol.default.CommandBuffer()
    head = entry_head(STREAM, packing=Packing())
    writer = protocol.default.EventWriter({STREAM: [head]}, lambda stream, partition: (0, 0, buffer))
    writer.publish_many(STREAM, map(make, range(events)))
    writer.close_entries()
    with buffer.view() as view:
        return bytes(view), buffer.command_count


_PING = _command("PING")
_PONG = b"+PONG\r\n"  # the last reply of a round


class Client(client.Client):
    """Keeps two batches in flight. `variants`: ``one``; a ``script`` in place of XACK and XDEL; ``packed``."""

    def __init__(self, url: str, *variants: str) -> None:
        address = urlsplit(url)
        self._redis = redis.Redis.from_url(url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 6379))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in_flight = 1 if "one" in variants else 2
        self._script = "script" in variants
        self._packed = "packed" in variants
        self._room = bytearray(1 << 18)
        self._batch = b""
        self._entries = 0  # of a batch
        self._rounds: list[bytes] = []

    def prepare_publish(self, make: Make, batch: int) -> None:
        if self._packed:
            self._batch, self._entries = _packed_entries(make, batch)
            return
        self._batch = b"".join(_command("XADD", STREAM, "*", "s", packed(make(number))) for number in range(batch))
        self._entries = batch

    def publish_batches(self, make: Make, events: int, batch: int) -> None:
        owed = 0
        for _ in range(0, events, batch):
            self._socket.sendall(self._batch)
            owed += self._entries
            while owed > self._entries * (self._in_flight - 1):
                owed -= self._replies()
        while owed:
            owed -= self._replies()

    def _replies(self) -> int:
        received = self._socket.recv_into(self._room)
        return self._room.count(b"$", 0, received)

    def publish_one(self, body: Any) -> None:
        self._socket.sendall(self._batch)
        self._socket.recv_into(self._room)

    def prepare_consume(self, events: int, count: int) -> None:
        """Encode the commands of every round: read a batch, acknowledge and delete it."""
        self._redis.xgroup_create(STREAM, GROUP, "0")
        ids: list[Any] = []
        after = "-"
        while page := self._redis.xrange(STREAM, after, "+", 10_000):
            ids += [id for id, _ in page]
            after = f"({ids[-1].decode()}"
        sha = self._redis.script_load(files(__package__).joinpath("acknowledge.lua").read_text("utf-8"))
        entries = max(1, count * len(ids) // events)  # that have about `count` events
        read = _command("XREADGROUP", "GROUP", GROUP, "c", "COUNT", entries, "STREAMS", STREAM, ">")
        self._rounds = []
        for begin in range(0, len(ids), entries):
            page_ids = ids[begin : begin + entries]
            if self._script:
                done = _command("EVALSHA", sha, 1, STREAM, GROUP, *page_ids)
            else:
                done = _command("XACK", STREAM, GROUP, *page_ids) + _command("XDEL", STREAM, *page_ids)
            self._rounds.append(read + done + _PING)

    def consume(self, events: int, count: int) -> None:
        owed = 0
        tail = b""
        for number, data in enumerate(self._rounds, 1):
            self._socket.sendall(data)
            owed += 1
            allowed = self._in_flight - 1 if number < len(self._rounds) else 0
            while owed > allowed:
                received = tail + self._socket.recv(1 << 18)
                owed -= received.count(_PONG)
                tail = received[1 - len(_PONG) :]
