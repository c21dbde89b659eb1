"""Random steps on a stream with several groups: nothing that a group still has to get is deleted, and all else goes.

What a group still has to get is asked of the server before each step: what is pending, and what lies behind the last
entry that it was delivered.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis

GROUPS = {"all": "0", "new": "$", "third": "0"}
STEPS = 40


class World:
    """The stream, and the consumers of its groups."""

    def __init__(self, registry: Any, url: str, client: redis.Redis, choose: random.Random) -> None:
        registry.register_redis(url)
        registry.register_redis_stream("orders", groups=GROUPS)
        self.engine = registry.validate()
        self.broker = self.engine.new_context().get_event_broker()
        self.client = client
        self.choose = choose
        self.consumers: dict[str, list[Any]] = {
            group: [self.broker.consumer_many("orders", group=group, name=f"{group}-{n}") for n in range(2)]
            for group in GROUPS
        }
        self.before = {client.xadd("orders", {"s": b"\x01"}) for _ in range(choose.choice((0, 3)))}
        self.is_before_all = choose.random() < 0.3
        if self.is_before_all:  # then no group is given what is there
            for group in GROUPS:
                client.xgroup_create("orders", group, "$", mkstream=True)

    def entries(self) -> set[bytes]:
        return {id for id, _ in self.client.xrange("orders")}

    def needed(self) -> set[bytes]:
        """What some group still has to get."""
        found: set[bytes] = set()
        for group in self.client.xinfo_groups("orders") if self.client.exists("orders") else ():
            after = group["last-delivered-id"].decode()
            found |= {id for id, _ in self.client.xrange("orders", min=f"({after}")}
            pending = self.client.xpending_range("orders", group["name"], "-", "+", 10_000)
            found |= {one["message_id"] for one in pending} & self.entries()
        return found

    # ---- steps ----

    def publish(self) -> None:
        flusher = self.broker.new_flusher()
        flusher.publish_many("orders", range(self.choose.choice((1, 5, 150))))
        flusher.flush()

    def any_consumer(self) -> Any:
        return self.choose.choice(self.consumers[self.choose.choice(list(GROUPS))])

    def consume(self) -> None:
        self.any_consumer().consume(self.choose.choice((1, 3, 30, 200)), None, lambda events: None)

    def loop(self) -> None:
        """Batches that are trimmed one behind the other; perhaps the loop is left."""
        steps = self.choose.choice((1, 2, 100))
        for _, _ in zip(self.any_consumer().batches(self.choose.choice((1, 30, 60)), None), range(steps), strict=False):
            if self.choose.random() < 0.1:
                self.publish()

    def crash(self) -> None:
        def handle(events: Any) -> None:
            for event in events[:: self.choose.choice((1, 2, 7))]:
                if self.choose.random() < 0.3:
                    event.ack()
            raise ArithmeticError

        try:
            self.any_consumer().consume(self.choose.choice((1, 30, 200)), None, handle)
        except ArithmeticError:
            pass

    def claim(self) -> None:
        self.any_consumer().auto_claim(100, 0, lambda events: None)

    def leave(self) -> None:
        self.any_consumer().cleanup()

    def step(self) -> None:
        """Do something."""
        steps = (self.publish, self.consume, self.consume, self.loop, self.loop, self.crash, self.claim, self.leave)
        self.choose.choice(steps)()

    def foreign(self) -> None:
        """What other clients do."""
        group = self.choose.choice(list(GROUPS))
        ids = sorted(self.entries())
        if not ids:
            return
        try:
            self.choose.choice((
                lambda: self.client.xgroup_setid("orders", group, self.choose.choice([*ids, b"0", b"$"])),
                lambda: self.client.xdel("orders", self.choose.choice(ids)),
                lambda: self.client.xgroup_destroy("orders", group),
                lambda: self.client.xgroup_delconsumer("orders", group, f"{group}-0"),
                lambda: self.broker.seek("orders", group, self.choose.choice(ids).decode(), pending="drop"),
            ))()  # fmt: skip
        except redis.ResponseError as error:
            assert "NOGROUP" in str(error)

    def settle(self) -> None:
        """Let every group get everything, and go on for a while."""
        for _ in range(4):
            for consumers in self.consumers.values():
                for consumer in consumers:
                    consumer.auto_claim(1000, 0, lambda events: None)
                    list(consumer.batches(1000, None))
            self.publish()
        for consumers in self.consumers.values():
            while consumers[0].consume(1000, None, lambda events: None):
                pass


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("foreign", [False, True])
def test_what_is_deleted(faces: Any, server_url: str, client: redis.Redis, seed: int, foreign: bool) -> None:
    choose = random.Random(f"{seed} {foreign}")
    world = World(faces.Registry(), server_url, client, choose)
    with world.engine:
        for _ in range(STEPS):
            if foreign and choose.random() < 0.15:
                world.foreign()
            needed = world.needed()
            world.step()
            lost = needed - world.entries() - _handled(world, needed)
            assert not lost
            if world.is_before_all and not foreign:
                assert world.before <= world.entries()
        world.settle()
        left = world.entries() - (world.before if world.is_before_all else set())
        if not foreign:
            assert not left


def _handled(world: World, needed: set[bytes]) -> set[bytes]:
    """Those that no group has to get any more: every group was delivered them, and none has them pending."""
    still: set[bytes] = set()
    for group in world.client.xinfo_groups("orders") if world.client.exists("orders") else ():
        last = _numbers(group["last-delivered-id"])
        still |= {id for id in needed if _numbers(id) > last}
        still |= {one["message_id"] for one in world.client.xpending_range("orders", group["name"], "-", "+", 10_000)}
    return needed - still


def _numbers(id: bytes) -> tuple[int, int]:
    milliseconds, sequence = id.split(b"-")
    return int(milliseconds), int(sequence)
