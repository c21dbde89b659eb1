"""Drives the ledger: starts a server, workers, and faults, and waits until everything has been handled."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.ledger.audit import Balance, audit
from tests.ledger.faults import FAULTS, STREAM, Site
from tests.ledger.worker import Job

__all__ = ["Plan", "Result", "run"]

_LOSSLESS = [name for name, fault in FAULTS.items() if fault.keeps_data]
_DRAINING = 60.0  # seconds without any event being handled, after which what is left counts as lost


@dataclass
class Plan:
    """What is to happen.

    Attributes:
        seconds: for which there are faults.
        faces, implementations: of the workers, in turn.
        producers, consumers: how many.
        events: of all producers together; None: as many as the seconds allow.
        rate: events per second of each producer; None: as fast as it can.
        seed: of what is random.
        faults: their names.
    """

    seconds: float = 60.0
    faces: Sequence[str] = ("sync", "asyncio")
    implementations: Sequence[str] = ("c", "python")
    producers: int = 4
    consumers: int = 4
    events: int | None = None
    rate: float | None = 1000.0
    batch: int = 100
    replicas: int = 0
    seed: int = 0
    faults: Sequence[str] = tuple(_LOSSLESS)


@dataclass
class Result:
    balance: Balance
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class _Worker:
    """A process that is started again when it was killed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "FLUXA_FAST_IMPL": self.job.implementation}
        self.process = subprocess.Popen(self.job.command(), env=environment)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self, signal_number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal_number)

    def stop(self, seconds: float = 60.0) -> None:
        """Let it end; raises if it did not end well."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise
        if code:
            raise RuntimeError(f"{self.job.role} {self.job.number} ended with {code}")


def run(plan: Plan, site: Site, pool: dict[str, Any], folder: Path) -> Result:
    """Carry the plan out, and compare the books.

    Args:
        pool: how workers reach the server, as the arguments of `register_redis`.
        folder: for the books.
    """
    chance = random.Random(plan.seed)
    began = time.monotonic()
    producers, consumers = _workers(plan, pool, folder)
    faults: Counter[str] = Counter()
    repeated_at: list[float] = []
    try:
        while time.monotonic() < began + plan.seconds or any(one.running and plan.events for one in producers):
            time.sleep(chance.uniform(0.2, 1.0))
            if time.monotonic() > began + plan.seconds:
                continue
            name = chance.choice([*plan.faults, "killed producer", "killed consumer", "stopped consumer"])
            faults[name] += 1
            with _befalling(name, site, chance, producers, consumers):
                if name in FAULTS and FAULTS[name].repeats:
                    repeated_at.append(time.monotonic())
                time.sleep(chance.uniform(0.1, 1.5))
        for worker in producers:
            worker.stop()
        _drain(site, folder)
        for worker in consumers:
            worker.stop()
    finally:
        for worker in [*producers, *consumers]:
            worker.kill()
    return Result(_audited(site, folder, repeated_at, plan), faults, time.monotonic() - began)


def _workers(plan: Plan, pool: dict[str, Any], folder: Path) -> tuple[list[_Worker], list[_Worker]]:
    kinds = [(face, implementation) for implementation in plan.implementations for face in plan.faces]
    made: dict[str, list[_Worker]] = {}
    for role, count in (("producer", plan.producers), ("consumer", plan.consumers)):
        made[role] = []
        for number in range(count):
            face, implementation = kinds[number % len(kinds)]
            job = Job(
                role,
                number,
                str(folder),
                pool,
                face,
                implementation,
                events=plan.events and plan.events // plan.producers,
                rate=plan.rate,
                batch=plan.batch,
                replicas=plan.replicas,
                seed=plan.seed * 1000 + number,
            )
            made[role].append(_Worker(job))
    return made["producer"], made["consumer"]


@contextlib.contextmanager
def _befalling(
    name: str, site: Site, chance: random.Random, producers: list[_Worker], consumers: list[_Worker]
) -> Iterator[None]:
    if name in FAULTS:
        with FAULTS[name].context(site):
            yield
        return
    worker = chance.choice(producers if "producer" in name else consumers)
    if not worker.running:  # it has published all that it had to
        yield
    elif "stopped" in name:
        worker.pause(signal.SIGSTOP)
        yield
        worker.pause(signal.SIGCONT)
    else:
        worker.kill()
        yield
        worker.start()


def _drain(site: Site, folder: Path) -> None:
    """Wait until nothing is left, or nothing happens any more."""
    size, since = -1, time.monotonic()
    with site.admin() as admin:
        while admin.xlen(STREAM):
            now = sum(path.stat().st_size for path in folder.glob("consumer-*.book"))
            if now != size:
                size, since = now, time.monotonic()
            if time.monotonic() > since + _DRAINING:
                return
            time.sleep(0.2)


def _audited(site: Site, folder: Path, repeated_at: list[float], plan: Plan) -> Balance:
    with site.admin() as admin:
        stream: Any = admin.xinfo_stream(STREAM)
        left = admin.xlen(STREAM)
        pending = 0
        with contextlib.suppress(redis.ResponseError):
            pending = admin.xpending(STREAM, "consumer_group")["pending"]
    balance = audit(folder, added=stream.get("entries-added"), repeated_at=repeated_at)
    if left or pending:
        balance.problem(f"{left} entries are left in the stream, {pending} are pending")
    return balance
