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
from fluxa_fast.flows.consume import acknowledge
from tests.fix_broker import MakeEngine

GROUP = "consumer_group"
OURS, TWIN = "orders", "twin"
FOREIGN = "foreign"


class CrashError(Exception):
    """A handler that does not get to its end."""


class Twins:
    """A stream that is consumed by us, and one to which the same happens by hand, with XACK + XDEL."""

    def __init__(self, broker: EventBroker, client: redis.Redis, seed: str) -> None:
        self.broker = broker
        self.client = client
        self.random = random.Random(seed)
        self.consumers = [broker.consumer_single(OURS), broker.consumer_many(OURS), broker.consumer_many(OURS)]
        self.number = 0
        self.foreign = False
        self.owed: set[str] = set()  # what the foreign group has not acknowledged; it must all be there
        self.all_consumers = list(self.consumers)

    def both(self, call: Callable[[str], Any]) -> None:
        for stream in (OURS, TWIN):
            call(stream)

    # ---- steps ----

    def add(self) -> None:
        for _ in range(self.random.choice((1, 5, 40))):
            self.number += self.random.choice((1, 1, 7))
            id = f"{10**12 + self.number // 3}-{self.number}"
            self.both(lambda stream, id=id: self.client.xadd(stream, {"s": b"\x01"}, id=id))
            if self.foreign:
                self.owed.add(id)

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
                raise CrashError
            self.acknowledge_twin([event.id for event in events])

        try:
            call(handler)
        except CrashError:
            if self.random.random() < 0.3:  # a new process
                self.consumers[0] = self.broker.consumer_single(OURS)
                self.consumers[2] = self.broker.consumer_many(OURS)
                self.all_consumers += self.consumers

    def acknowledge_twin(self, ids: Sequence[str]) -> None:
        self.client.xack(TWIN, GROUP, *ids)
        self.client.xdel(TWIN, *ids)

    def skip(self) -> None:
        """Move the group on, as an operator does: the entries between are not delivered, and must not be deleted."""
        after = self.random.choice(sorted(self.ids(OURS), key=numbers) or ["0-0"])
        if numbers(after) > self.delivered(GROUP):
            self.both(lambda stream: self.client.xgroup_setid(stream, GROUP, after))

    def delete(self) -> None:
        """Delete an entry, pending or not, as an operator does."""
        ids = sorted(self.ids(TWIN))
        if ids:
            id = self.random.choice(ids)
            self.both(lambda stream: self.client.xdel(stream, id))
            self.owed.discard(id)

    def make_foreign(self) -> None:
        if not self.foreign:
            self.foreign = True
            self.client.xgroup_create(OURS, FOREIGN, "0")
            self.owed = self.ids(OURS)
            time.sleep(acknowledge._ALONE)

    def read_foreign(self) -> None:
        if self.foreign:
            self.client.xreadgroup(FOREIGN, "f", {OURS: ">"}, count=self.random.choice((1, 10, 30)))

    def acknowledge_foreign(self) -> None:
        if self.foreign:
            pending = [entry["message_id"].decode() for entry in self.pending(OURS, FOREIGN)]
            ids = self.random.sample(pending, self.random.choice((0, len(pending) // 2, len(pending))))
            if ids:
                self.client.xack(OURS, FOREIGN, *ids)
                self.owed.difference_update(ids)

    # ---- checks ----

    def ids(self, stream: str) -> set[str]:
        return {id.decode() for id, _ in self.client.xrange(stream)}

    def pending(self, stream: str, group: str = GROUP) -> list[dict[str, Any]]:
        return self.client.xpending_range(stream, group, "-", "+", 10**6)

    def delivered(self, group: str) -> tuple[int, int]:
        info = next(one for one in self.client.xinfo_groups(OURS) if one["name"] == group.encode())
        return numbers(info["last-delivered-id"].decode())

    def check(self) -> None:
        ours, twin = self.ids(OURS), self.ids(TWIN)
        assert twin <= ours
        assert self.owed <= ours
        left = ours - twin
        acknowledged_by_both = left - self.owed
        # Such an entry goes with our next acknowledgement: the server does not tell us of the other group's.
        spans = [consumer._state.partitions[0].member.held.span for consumer in self.all_consumers]
        for id in acknowledged_by_both:
            assert any(low and numbers(low) <= numbers(id) <= numbers(high) for low, high in spans), id
        listed = [
            [(entry["message_id"], entry["consumer"]) for entry in self.pending(stream)] for stream in (OURS, TWIN)
        ]
        exist = {id.encode() for id in twin}
        assert [one for one in listed[0] if one[0] in exist] == [one for one in listed[1] if one[0] in exist]


def numbers(id: str) -> tuple[int, int]:
    milliseconds, _, sequence = id.partition("-")
    return int(milliseconds), int(sequence)


@pytest.mark.parametrize("few", [0, 20])
@pytest.mark.parametrize("others", ["alone", "skipped", "foreign"])
def test_the_same_entries_are_gone_as_after_xack_and_xdel(
    broker: EventBroker,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    others: str,
    few: int,
) -> None:
    """At random, and differently for each set of parameters."""
    monkeypatch.setattr(acknowledge, "_FEW", few)
    twins = Twins(broker, client, request.node.name)
    steps = [twins.add, twins.consume, twins.consume, twins.claim]
    start = "0"
    if others == "skipped":
        steps += [twins.skip, twins.delete]
        twins.add()
        start = "$"
    elif others == "foreign":
        steps += [twins.make_foreign, twins.read_foreign, twins.acknowledge_foreign]
    twins.both(lambda stream: client.xgroup_create(stream, GROUP, start, mkstream=True))
    for _ in range(120):
        step = twins.random.choice(steps)
        step()
        twins.check()


def test_many_are_trimmed_and_few_are_not(broker: EventBroker, client: redis.Redis) -> None:
    """XTRIM does the work: that is what makes it cheap."""
    flusher = broker.new_flusher()
    for number in range(25_000):
        flusher.publish(OURS, number)
    flusher.flush()
    client.config_resetstat()
    for events in broker.consumer_single(OURS).batches(12_000, None):
        assert events
    assert client.xlen(OURS) == 0
    calls = client.info("commandstats")
    assert calls["cmdstat_xtrim"]["calls"] >= 3
    assert calls["cmdstat_xdel"]["calls"] <= 2  # of the last entry


def test_a_forgotten_script_is_sent_again(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    for number in range(100):
        flusher.publish(OURS, number)
    flusher.flush()
    consumer = broker.consumer_single(OURS)
    handled = 0
    for events in consumer.batches(20, None):
        handled += len(events)
        client.script_flush()
    assert handled == 100
    assert client.xlen(OURS) == 0
    assert client.xpending(OURS, GROUP)["pending"] == 0


@pytest.mark.parametrize("forbidden", ["-eval -evalsha", "-xinfo", "-xtrim", "-xpending", "-xrange", "-xlen"])
def test_without_the_right_to_run_the_script(
    make_engine: MakeEngine, client: redis.Redis, server_url: str, forbidden: str
) -> None:
    client.execute_command("ACL", "SETUSER", "plain", "reset", "on", ">secret", "~*", "+@all", *forbidden.split())
    try:
        engine = make_engine(server_url, username="plain", password="secret")
        broker = engine.new_context().get_event_broker()
        flusher = broker.new_flusher()
        for number in range(100):
            flusher.publish(OURS, number)
        flusher.flush()
        seen: list[Event] = []
        for events in broker.consumer_single(OURS).batches(20, None):
            seen += events
        assert len(seen) == 100
        assert all(event.acknowledged for event in seen)
        assert client.xlen(OURS) == 0
        assert client.xpending(OURS, GROUP)["pending"] == 0
    finally:
        client.execute_command("ACL", "DELUSER", "plain")


def test_acknowledging_with_full_memory(own_server: EmbeddedServer, make_engine: MakeEngine) -> None:
    broker = make_engine(own_server.url).new_context().get_event_broker()
    flusher = broker.new_flusher()
    for number in range(2000):
        flusher.publish(OURS, number)
    flusher.flush()
    with own_server.client() as client:
        for _ in broker.consumer_single(OURS).batches(500, None):
            client.config_set("maxmemory", 1)
        assert client.xlen(OURS) == 0


def test_ids_that_no_double_holds(broker: EventBroker, client: redis.Redis) -> None:
    high = 2**64 - 1
    ids = [f"{2**53 + number}-{high - 100 + number}" for number in range(100)]
    for id in ids:
        client.xadd(OURS, {"s": b"\x01"}, id=id)
    client.xadd(OURS, {"s": b"\x01"}, id=f"{high}-{high}")
    consumer = broker.consumer_single(OURS)
    consumer.consume(60, None, lambda events: None)
    assert client.xlen(OURS) == 41
    consumer.consume(60, None, lambda events: None)
    assert client.xlen(OURS) == 0
