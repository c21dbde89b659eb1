"""How long it takes until partitions have other owners, and what a failover has handled again."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count, pairwise
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from fluxa_fast import Engine, EventConsumer, FlushError
from fluxa_fast.embedded.cluster import EmbeddedCluster

from .cluster import PARTITIONS, STREAM, engine_of

__all__ = ["run_owners"]

_PATIENCE = 30.0  # seconds


def _consumer(engine: Engine, *, ordered: bool, lease: float = 10.0) -> Any:
    broker = engine.new_context().get_event_broker()
    return broker.consumer_ordered(STREAM, lease=lease) if ordered else broker.consumer_many(STREAM)


@contextmanager
def _running(consumer: Any, handler: Callable[[Sequence[Any]], object]) -> Iterator[Any]:
    thread = threading.Thread(target=consumer.run, args=(handler,))
    thread.start()
    try:
        yield consumer
    finally:
        consumer.stop()
        thread.join()
        consumer.cleanup()


def _seconds_until(reached: Callable[[], bool]) -> float:
    begin = time.perf_counter()
    while not reached():
        if time.perf_counter() - begin > _PATIENCE:
            raise TimeoutError("what is waited for did not happen")
        time.sleep(0.005)
    return time.perf_counter() - begin


# ---- owners that come and go --------------------------------------------------------------------------------


def _own(url: str, lease: float) -> None:
    """A process that is to be killed."""
    with engine_of(url) as engine:
        _consumer(engine, ordered=True, lease=lease).run(lambda _: None)


def _shares(consumers: Sequence[EventConsumer[Any]]) -> list[int]:
    return sorted(len(one.partitions) for one in consumers)


def _handovers(url: str, lease: float) -> dict[str, float]:
    """Seconds until all partitions are owned again, and fairly."""
    found = {}
    with ExitStack() as stack:
        engine = stack.enter_context(engine_of(url))
        consumers = [
            stack.enter_context(_running(_consumer(engine, ordered=True, lease=lease), lambda _: None))
            for _ in range(3)
        ]
        found["three begin"] = _seconds_until(lambda: _shares(consumers) == [4, 4, 4])
        with _running(_consumer(engine, ordered=True, lease=lease), lambda _: None) as fourth:
            found["a fourth comes"] = _seconds_until(lambda: _shares([*consumers, fourth]) == [3, 3, 3, 3])
        found["it leaves"] = _seconds_until(lambda: _shares(consumers) == [4, 4, 4])
        process = multiprocessing.get_context("spawn").Process(target=_own, args=(url, lease))
        process.start()
        _seconds_until(lambda: _shares(consumers) == [3, 3, 3])
        time.sleep(lease / 2)  # it has renewed its leases
        process.kill()
        process.join()
        found["one is killed"] = _seconds_until(lambda: _shares(consumers) == [4, 4, 4])
    return found


# ---- failovers ----------------------------------------------------------------------------------------------


def _failover(rate: int, *, ordered: bool) -> dict[str, float]:
    """A primary is killed while events come and go."""
    handled: Counter[int] = Counter()
    moments: list[float] = []
    confirmed = set()
    stop = threading.Event()

    def handle(events: Sequence[Any]) -> None:
        moments.append(time.perf_counter())
        handled.update(event.body for event in events)

    def publish() -> None:
        with engine_of(cluster.url) as engine:
            flusher = engine.new_context().get_event_broker().new_flusher()
            waiting: list[int] = []
            for number in count():
                flusher.publish(STREAM, number, key=number)
                waiting.append(number)
                if len(waiting) < rate // 10:
                    continue
                with suppress(FlushError):
                    flusher.flush()
                    confirmed.update(waiting)
                    waiting.clear()
                if stop.wait(0.1) and not waiting:
                    return

    with EmbeddedCluster(3, 1, node_timeout=1.0) as cluster, engine_of(cluster.url) as engine:
        publisher = threading.Thread(target=publish)
        with _running(_consumer(engine, ordered=ordered), handle):
            publisher.start()
            time.sleep(3.0)
            cluster.nodes[0].kill()
            killed = time.perf_counter()
            time.sleep(12.0)
            stop.set()
            publisher.join()
            with suppress(TimeoutError):
                _seconds_until(lambda: confirmed <= handled.keys())
    gaps = [b - a for a, b in pairwise(moments) if b > killed]
    return {
        "confirmed": len(confirmed),
        "lost": len(confirmed - handled.keys()),
        "handled again": sum(handled.values()) - len(handled),
        "longest pause, s": max(gaps),
    }


def run_owners(console: Console, lease: float, rate: int, rounds: int) -> None:
    """Measure and show it."""
    with EmbeddedCluster(3) as cluster:
        found = [_handovers(cluster.url, lease) for _ in range(rounds)]
    table = Table(*found[0], title=f"seconds until {PARTITIONS} partitions are shared fairly, lease {lease:g} s")
    table.add_row(*(f"{median(one[name] for one in found):.2f}" for name in found[0]))
    console.print(table)
    for ordered in (False, True):
        outcomes = [_failover(rate, ordered=ordered) for _ in range(rounds)]
        name = "consumer_ordered" if ordered else "consumer_many"
        table = Table(*outcomes[0], title=f"one of three primaries killed, {rate:,} events/s, {name}")
        for outcome in outcomes:
            table.add_row(*(f"{value:,.1f}" if key.endswith("s") else f"{value:,}" for key, value in outcome.items()))
        console.print(table)
