"""Drives the ledger: starts a server, workers, and faults, and waits until everything has been handled."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ledger.audit import Balance, audit
from tests.ledger.faults import FAULTS, Fault, Site, persistent_server
from tests.ledger.order import check_order
from tests.ledger.worker import LEASE, Job
from tests.proxy import Proxy

__all__ = ["Plan", "Result", "run", "with_one_server"]

_LOSSLESS = {name: fault for name, fault in FAULTS.items() if fault.keeps_data}
_ON_WORKERS = ("killed producer", "killed consumer", "stopped consumer")
_PACKINGS = (
    None,
    {"max_events": 1},
    {"max_events": 7},
    {"max_events": 50, "compression": "zstd"},
    {"max_events": 1000},
    {"max_events": 1000, "max_bytes": 2000, "compression": "zstd"},
)
_STARTING = 60.0  # seconds for all workers to start
_DRAINING = 60.0  # seconds without any event being handled, after which what is left counts as lost


@dataclass
class Plan:
    """What is to happen.

    Attributes:
        seconds: for which there are faults.
        faces, implementations: of the workers, one after the other.
        producers, consumers: how many.
        events: of all producers together; None: as many as the seconds allow.
        rate: events per second of each producer; None: as fast as it can.
        replicas: that must have an event before it counts as confirmed.
        seed: of what is random.
        faults: of the server and the network, by name.
        partitions: of the stream; None: it is one key.
        packed: whether the stream is packed: some workers register it so, each in another way, and some do not.
        background: which of four producers publish with an `EventProducer`; the others use flushers.
        ordered: consumers own partitions.
        recovery: seconds for which consumers wait for outages.
        forgets: whether a fault may make the server forget acknowledgements, and what was not confirmed.
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
    faults: Mapping[str, Fault] = field(default_factory=lambda: _LOSSLESS)
    partitions: int | None = None
    background: Collection[int] = (0, 3)
    packed: bool = True
    ordered: bool = False
    recovery: float = 5.0
    forgets: bool = False


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
        self.process = subprocess.Popen(self.job.command(), env=environment, stdin=subprocess.PIPE)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def pause(self, signal_number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal_number)

    def stop(self, seconds: float = 60.0) -> None:
        """Let it end; raises if it did not end well."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.process.send_signal(signal.SIGABRT)  # it tells where it is
            self.process.wait()
            error.add_note(
                "its records end with:\n" + "\n".join(self.job.records.read_text("utf-8").splitlines()[-10:])
            )
            raise
        if code not in (0, -signal.SIGTERM):  # it may have had no time yet to begin
            raise RuntimeError(f"{self.job.role} {self.job.number} ended with {code}")


def run(plan: Plan, site: Any, pool: dict[str, Any], folder: Path) -> Result:
    """Carry the plan out, and check the records.

    Args:
        site: the server or cluster that has the faults; its `state` tells what is in the stream.
        pool: how workers reach the server, as the arguments of `register_redis`.
        folder: for the records.
    """
    chance = random.Random(plan.seed)
    producers, consumers = _workers(plan, pool, folder)
    faults: Counter[str] = Counter()
    repeating: list[tuple[float, float]] = []
    paused: list[tuple[int, float, float]] = []  # consumers, and from when to when
    try:
        _wait_until_at_work([*producers, *consumers])
        began = time.monotonic()
        while time.monotonic() < began + plan.seconds or any(one.running and plan.events for one in producers):
            time.sleep(chance.uniform(0.2, 1.0))
            if time.monotonic() > began + plan.seconds:
                continue
            name = chance.choice([*plan.faults, *_ON_WORKERS])
            faults[name] += 1
            fault = plan.faults.get(name)
            befell = time.monotonic()
            with fault.context(site) if fault else _process_fault(name, chance, producers, consumers, paused):
                time.sleep(chance.uniform(0.1, 1.5))
            if fault and fault.repeats:
                repeating.append((befell, time.monotonic()))
        for worker in producers:
            worker.stop()
        _drain(site, folder)
        for worker in consumers:
            worker.stop()
    finally:
        for worker in [*producers, *consumers]:
            worker.kill()
    result = Result(_audited(site, folder, repeating, plan), faults, time.monotonic() - began)
    if plan.ordered:
        check_order(folder, result.balance, paused)
    return result


def with_one_server(plan: Plan, program: str, folder: Path) -> Result:
    """The plan with one server, which keeps its data when it is killed, behind a proxy."""
    with persistent_server(program, folder) as server:
        proxy = Proxy(server.port, recording=False)
        try:
            pool = {"address": f"127.0.0.1:{proxy.port}", "socket_timeout": 1.0}
            return run(plan, Site(server, proxy), pool, folder)
        finally:
            proxy.close()


def _workers(plan: Plan, pool: dict[str, Any], folder: Path) -> tuple[list[_Worker], list[_Worker]]:
    kinds = [(face, implementation) for implementation in plan.implementations for face in plan.faces]
    made: dict[str, list[_Worker]] = {}
    chance = random.Random(plan.seed)
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
                background=number % 4 in plan.background,
                partitions=plan.partitions,
                packed=chance.choice(_PACKINGS) if plan.packed else None,
                ordered=plan.ordered,
                recovery=plan.recovery,
                seed=plan.seed * 1000 + number,
            )
            made[role].append(_Worker(job))
    return made["producer"], made["consumer"]


def _wait_until_at_work(workers: Sequence[_Worker]) -> None:
    """Wait for the first record of each worker: on a busy machine, processes take their time to start."""
    end = time.monotonic() + _STARTING
    while time.monotonic() < end and not all(worker.job.records.exists() for worker in workers):
        time.sleep(0.05)


@contextlib.contextmanager
def _process_fault(
    name: str,
    chance: random.Random,
    producers: list[_Worker],
    consumers: list[_Worker],
    paused: list[tuple[int, float, float]],
) -> Iterator[None]:
    """A fault of a worker."""
    worker = chance.choice(producers if "producer" in name else consumers)
    if not worker.running:  # it has published all that it had to
        yield
    elif "stopped" in name:
        began = time.monotonic()
        worker.pause(signal.SIGSTOP)
        yield
        if worker.job.ordered:
            time.sleep(chance.choice((0.0, 1.5 * LEASE)))  # past its lease, perhaps
        worker.pause(signal.SIGCONT)
        if worker.job.role == "consumer":
            paused.append((worker.job.number, began, time.monotonic()))
    else:
        worker.kill()
        yield
        worker.start()


def _drain(site: Any, folder: Path) -> None:
    """Wait until nothing is left, or nothing happens any more."""
    batches, since = -1, time.monotonic()
    while site.state().left:
        now = sum(path.read_bytes().count(b" handled ") for path in folder.glob("consumer-*.records"))
        if now != batches:
            batches, since = now, time.monotonic()
        if time.monotonic() > since + _DRAINING:
            return
        time.sleep(0.2)


def _audited(site: Any, folder: Path, repeating: list[tuple[float, float]], plan: Plan) -> Balance:
    left, pending, added = site.state()
    if plan.forgets:  # also on its own account: Sentinels may fail over because the machine is slow
        added, repeating = None, [(0.0, math.inf)]
    balance = audit(folder, added=added, repeating=repeating)
    if left or pending:
        balance.problem(f"{left} entries are left in the stream, {pending} are pending")
    return balance
