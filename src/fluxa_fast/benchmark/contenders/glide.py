"""valkey-glide (the sync wrapper of its Rust core) with msgpack."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import glide_sync
import msgpack

from ..bodies import packed
from . import client
from .client import GROUP, STREAM, Make

__all__ = ["Client"]


class Client(client.Client):
    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        node = glide_sync.NodeAddress(address.hostname or "", address.port or 6379)
        self._glide = glide_sync.GlideClient.create(glide_sync.GlideClientConfiguration([node], request_timeout=60_000))

    def publish_batches(self, make: Make, events: int, batch: int) -> None:
        for begin in range(0, events, batch):
            commands = glide_sync.Batch(is_atomic=False)
            for number in range(begin, begin + batch):
                commands.xadd(STREAM, [("s", packed(make(number)))])
            self._glide.exec(commands, raise_on_error=True)

    def publish_one(self, body: Any) -> None:
        self._glide.xadd(STREAM, [("s", packed(body))])

    def prepare_consume(self, events: int, count: int) -> None:
        self._glide.xgroup_create(STREAM, GROUP, "0")

    def consume(self, events: int, count: int) -> None:
        options = glide_sync.StreamReadGroupOptions(count=count)
        ids: list[Any] = []
        while events or ids:
            commands = glide_sync.Batch(is_atomic=False)
            if ids:
                commands.xack(STREAM, GROUP, ids)
                commands.xdel(STREAM, ids)
            commands.xreadgroup({STREAM: ">"}, GROUP, "c", options)
            reply: Any = (self._glide.exec(commands, raise_on_error=True) or [None])[-1]
            ids = []
            for entries in (reply or {}).values():
                for id, fields in entries.items():
                    assert msgpack.unpackb(fields[0][1])
                    ids.append(id)
            events -= len(ids)
