"""Acknowledging by script deletes exactly what XACK + XDEL would, but leaves what another group still needs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis

from fluxa_fast import Event, EventBroker
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.flows import acknowledge
from tests.fix_broker import MakeEngine

GROUP = "consumer_group"
OURS, TWIN = "orders", "twin"
FOREIGN = "foreign"


class Crash(Exception):
    """A handler that does not get to its end."""


class Twins:
    """A stream that is consumed by us, and one to which the same happens by hand, with XACK + XDEL."""

    def __init__(self, broker: EventBroker, client: redis.Redis, seed: int) -> None:
        self.broker = broker
        self.client = client
        self.random = random.Random(seed)
        self.consumers = [broker.consumer_single(OURS), broker.consumer_many(OURS), broker.consumer_many(OURS)]
        self.number = 0
        self.foreign = False
        self.settled: set[str] = set()  # what the foreign group acknowledged since our last acknowledgement
        self.log: list[str] = []

    def both(self, call: Callable[[str], Any]) -> None:
        for stream in (OURS, TWIN):
            call(stream)

    # ---- steps ----

    def add(self) -> None:
        for _ in range(self.random.choice((1, 5, 40))):
            self.number += self.random.choice((1, 1, 7))
            id = f"{10**12 + self.number // 3}-{self.number}"
            self.both(lambda stream, id=id: self.client.xadd(stream, {"s": b"\x01"}, id=id))

    def consume(self) -> None:
        consumer = self.random.choice(self.consumers)
        count = self.random.choice((1, 3, 12, 30))

        def mirror_reads(events: Sequence[Event]) -> None:
            pending = {entry["message_id"].decode() for entry in self.pending(TWIN)}
            new = [event.id for event in events if event.id not in pending]
            if new:
                read = self.client.xreadgroup(GROUP, consumer.name, {TWIN: ">"}, count=count)
                assert [id.decode() for id, _ in read[0][1]] == new

        self.handled(lambda handler: consumer.consume(count, None, handler), mirror_reads)

    def claim(self) -> None:
        consumer = self.random.choice(self.consumers)
        count = self.random.choice((1, 5, 50))

        def mirror_claim(events: Sequence[Event]) -> None:
            ids = [event.id for event in events]
            self.client.xclaim(TWIN, GROUP, consumer.name, 0, ids, justid=True)

        self.handled(lambda handler: consumer.auto_claim(count, 0, handler), mirror_claim)

    def handled(self, call: Callable[[Any], int], mirror: Callable[[Sequence[Event]], None]) -> None:
        """Some are acknowledged by hand, in any order; the rest when the handler returns, if it does."""

        def handler(events: Sequence[Event]) -> None:
            mirror(events)
            chosen = self.random.sample(list(events), self.random.choice((0, 0, 1, len(events) // 2)))
            for event in chosen:
                event.ack()
                self.acknowledge_twin([event.id])
            if self.random.random() < 0.4:
                raise Crash
            self.acknowledge_twin([event.id for event in events])

        try:
            call(handler)
        except Crash:
            if self.random.random() < 0.3:  # a new process
                self.consumers[0] = self.broker.consumer_single(OURS)
                self.consumers[2] = self.broker.consumer_many(OURS)

    def acknowledge_twin(self, ids: Sequence[str]) -> None:
        self.client.xack(TWIN, GROUP, *ids)
        self.client.xdel(TWIN, *ids)
        self.settled.clear()

    def read_foreign(self) -> None:
        if not self.foreign:
            return
        count = self.random.choice((1, 10, 30))
        self.client.xreadgroup(FOREIGN, "f", {OURS: ">"}, count=count)

    def acknowledge_foreign(self) -> None:
        pending = [entry["message_id"].decode() for entry in self.client.xpending_range(OURS, FOREIGN, "-", "+", 10**6)]
        ids = self.random.sample(pending, self.random.choice((0, len(pending) // 2, len(pending))))
        if ids:
            self.client.xack(OURS, FOREIGN, *ids)
            self.settled.update(ids)

    # ---- checks ----

    def ids(self, stream: str) -> set[str]:
        return {id.decode() for id, _ in self.client.xrange(stream)}

    def pending(self, stream: str) -> list[dict[str, Any]]:
        return self.client.xpending_range(stream, GROUP, "-", "+", 10**6)

    def check(self) -> None:
        listed = [
            [(entry["message_id"], entry["consumer"]) for entry in self.pending(stream)] for stream in (OURS, TWIN)
        ]
        assert listed[0] == listed[1]
        ours, twin = self.ids(OURS), self.ids(TWIN)
        assert twin <= ours
        assert ours - twin <= self.needed_by_foreign() | self.settled

    def needed_by_foreign(self) -> set[str]:
        """What the foreign group has not had, or not acknowledged. It must all be there."""
        if not self.foreign:
            return set()
        info = next(group for group in self.client.xinfo_groups(OURS) if group["name"] == FOREIGN.encode())
        delivered = numbers(info["last-delivered-id"].decode())
        needed = {
            entry["message_id"].decode() for entry in self.client.xpending_range(OURS, FOREIGN, "-", "+", 10**6)
        }
        needed |= {id for id in self.added_since_foreign if numbers(id) > delivered}
        assert needed <= self.ids(OURS)
        return needed

    @property
    def added_since_foreign(self) -> set[str]:
        return self.ids(OURS)


def numbers(id: str) -> tuple[int, int]:
    milliseconds, _, sequence = id.partition("-")
    return int(milliseconds), int(sequence)


