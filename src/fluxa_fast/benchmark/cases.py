"""The cases of the benchmark, and how much of each is measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AWAITED", "CASES", "THREADS_BATCH", "Plan", "full_plan", "quick_plan"]

_TOO_LARGE = (10_000, "dict 64 KiB")  # 655 MB in one pipeline would measure the machine's memory

THREADS_BATCH = 10

CASES = ("publish", "consume", "latency", "concurrent", "threads", "scaling", "memory", "import")

AWAITED = "asyncio"
"""Stands for all cases of contenders on asyncio."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a run measures.

    Attributes:
        publish: (events in a batch, body) of each case of publishing.
        consume: events in a batch, of each case of consuming.
        seconds: about how long a measurement takes.
        repeats: how often each measurement is repeated; the median counts.
        latencies: how many events are published one by one.
        concurrent: how many tasks publish at the same time.
        threads: how many threads publish at the same time, in batches of `THREADS_BATCH`.
        scaling_batches: (events in a batch, body). The CPU time per event should not depend on the size of the batch.
        memory_events: how many events the flusher holds.
        memory_rounds: how often these events are published and consumed, to see whether memory grows.
    """

    publish: tuple[tuple[int, str], ...]
    consume: tuple[int, ...]
    seconds: float
    repeats: int
    latencies: int
    concurrent: tuple[int, ...]
    threads: tuple[int, ...]
    scaling_batches: tuple[tuple[int, str], ...]
    memory_events: int
    memory_rounds: int


def quick_plan() -> Plan:
    """Return a plan for less than a minute."""
    return Plan(
        publish=((1, "dict 32 B"), (1000, "dict 32 B"), (1000, "dict 1 KiB")),
        consume=(1000,),
        seconds=0.08,
        repeats=3,
        latencies=300,
        concurrent=(1000,),
        threads=(1, 2),
        scaling_batches=((100, "dict 32 B"), (10_000, "dict 32 B"), (1000, "dict 1 KiB")),
        memory_events=100_000,
        memory_rounds=2,
    )


def full_plan() -> Plan:
    """Return a plan for about ten minutes."""
    bodies = ("dict 32 B", "dict 1 KiB", "dict 64 KiB")
    return Plan(
        publish=(
            *((batch, body) for body in bodies for batch in (1, 100, 1000, 10_000) if (batch, body) != _TOO_LARGE),
            (10, "dict 32 B"),
            (1000, "dataclass"),
            (1000, "nested"),
        ),
        consume=(10, 100, 1000, 5000),
        seconds=0.3,
        repeats=5,
        latencies=3000,
        concurrent=(10, 100, 1000),
        threads=(1, 2),
        scaling_batches=(
            *((batch, "dict 32 B") for batch in (100, 1000, 10_000, 100_000)),
            *((1000, body) for body in bodies[1:]),
        ),
        memory_events=1_000_000,
        memory_rounds=10,
    )
