"""What an event costs the client on clusters of several sizes. Their nodes share a core, and the client has another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from fluxa_fast import Engine, Registry
from fluxa_fast.benchmark.bodies import BODIES
from fluxa_fast.benchmark.compare import pin
from fluxa_fast.benchmark.usage import Took, timed
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster

__all__ = ["PARTITIONS", "STREAM", "engine_of", "run_cluster"]

STREAM = "orders"
PARTITIONS = 12
_SIZES = (1, 3, 6)
_ROUNDS = 5
_BODY = BODIES["dict 32 B"]


@dataclass(slots=True)
class Place:
    """Somewhere to publish to: a server, or a cluster."""

    name: str
    engine: Engine
    nodes: Sequence[EmbeddedServer]

    def clear(self) -> None:
        for node in self.nodes:
            node.command("FLUSHALL")


def engine_of(url: str) -> Engine:
    """An engine with one stream, which has partitions."""
    registry = Registry()
    registry.register_redis(url)
    registry.register_redis_stream(STREAM, partitions=PARTITIONS)
    return registry.validate()


def _publish(place: Place, events: int, batch: int, *, keys: bool) -> Took:
    place.clear()
    flusher = place.engine.new_context().get_event_broker().new_flusher()

    def publish(numbers: range) -> None:
        for begin in range(0, len(numbers), batch):
            for number in numbers[begin : begin + batch]:
                flusher.publish(STREAM, _BODY(number), key=number if keys else None)
            flusher.flush()

    publish(range(batch))
    return timed(lambda: publish(range(events)))


def _consume(place: Place, events: int, count: int, *, ordered: bool) -> Took:
    place.clear()
    broker = place.engine.new_context().get_event_broker()
    flusher = broker.new_flusher()
    flusher.publish(STREAM, _BODY(0), key=0)
    flusher.flush()
    handled = 0
    wanted = 1

    def handle(batch: Sequence[Any]) -> None:
        nonlocal handled
        for event in batch:
            assert event.body
        handled += len(batch)
        if handled >= wanted:
            consumer.stop()

    with broker.consumer_ordered(STREAM) if ordered else broker.consumer_many(STREAM) as consumer:
        consumer.run(handle, count)
        wanted += events
        for begin in range(0, events, 10_000):
            for number in range(begin, min(begin + 10_000, events)):
                flusher.publish(STREAM, _BODY(number), key=number)
            flusher.flush()
        return timed(lambda: consumer.run(handle, count))


def _measurements(events: int) -> dict[str, Callable[[Place], Took]]:
    return {
        "publish, no key, 1000": lambda place: _publish(place, events, 1000, keys=False),
        "publish, keys, 1000": lambda place: _publish(place, events, 1000, keys=True),
        "publish, keys, 10 000": lambda place: _publish(place, events, 10_000, keys=True),
        "consumer_many, 1000": lambda place: _consume(place, events, 1000, ordered=False),
        "consumer_ordered, 1000": lambda place: _consume(place, events, 1000, ordered=True),
    }


def _places(stack: ExitStack) -> Iterator[Place]:
    server = stack.enter_context(EmbeddedServer())
    yield _place(stack, "one server", server.url, [server])
    for size in _SIZES:
        cluster = stack.enter_context(EmbeddedCluster(size))
        yield _place(
            stack, "cluster of 1 node" if size == 1 else f"cluster of {size} nodes", cluster.url, cluster.nodes
        )


def _place(stack: ExitStack, name: str, url: str, nodes: Sequence[EmbeddedServer]) -> Place:
    for node in nodes:
        pin(node.pid, 0)
    return Place(name, stack.enter_context(engine_of(url)), nodes)


def run_cluster(console: Console, events: int) -> None:
    """Measure and show it: each place takes its turn in each round."""
    with ExitStack() as stack:
        places = list(_places(stack))
        pin(os.getpid(), 1)
        measurements = _measurements(events)
        costs: dict[tuple[str, str], list[Took]] = {}
        for _ in range(_ROUNDS):
            for name, measure in measurements.items():
                for place in places:
                    costs.setdefault((place.name, name), []).append(measure(place))
    table = Table("client CPU, us (events/s)", *measurements, title=f"{PARTITIONS} partitions, medians of {_ROUNDS}")
    for place in places:
        table.add_row(place.name, *(_cell(costs[place.name, name], events) for name in measurements))
    console.print(table)


def _cell(costs: Sequence[Took], events: int) -> str:
    seconds, cpu = map(median, zip(*costs, strict=True))
    return f"{cpu / events * 1e6:.2f} ({events / seconds:,.0f})"
