"""Runs the cases on a private server. Each contender has a process; the contenders take turns, and medians count."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from ..embedded import EmbeddedServer
from ..flusher import EventFlusher
from ..registry import Registry
from .bodies import BODIES
from .cases import THREADS_BATCH, Plan
from .contenders import CONTENDERS, Contender
from .contenders.client import STREAM
from .rows import Row, Sample, median_row, with_ratios
from .usage import server_cpu

__all__ = ["Comparison", "Progress", "peers_missing"]

Progress = Callable[[str], object]
"""Called with the name of each measurement before it begins."""

_IMPORTS = 11  # of each package; the packages take turns


def peers_missing() -> list[str]:
    """Return the contenders whose packages are not installed, so that they are not compared."""
    return [contender.name for contender in CONTENDERS if not contender.installed]


def pin(pid: int, core: int) -> None:
    """Keep a process, with all its threads, on one core, if the platform can do this and has several cores."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        return
    with suppress(OSError):
        cores = sorted(os.sched_getaffinity(0))
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")] if os.path.isdir("/proc") else [pid]
        for thread in threads:
            os.sched_setaffinity(thread, {cores[core]})


class Worker:
    """The process of a contender."""

    def __init__(self, contender: Contender, url: str) -> None:
        self.contender = contender
        command = [sys.executable, "-m", f"{__package__}.worker", contender.module, url, *contender.arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **contender.environment},
        )
        pin(self._process.pid, 1)
        self._answer()

    def ask(self, task: str, **parameters: object) -> Any:
        assert self._process.stdin is not None
        print(json.dumps([task, parameters]), file=self._process.stdin, flush=True)
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.contender.name} ended; what it said is above")
        return line

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(30)


class Comparison:
    """A run of cases. As a context manager it starts the server and the processes, and stops them at its end.

    Args:
        clients: names of the contenders to compare; None: all that are installed.
    """

    def __init__(self, plan: Plan, progress: Progress, clients: Sequence[str] | None = None) -> None:
        self._plan = plan
        self._progress = progress
        self._stack = ExitStack()
        wanted = [one for one in CONTENDERS if one.installed and (clients is None or one.name in clients)]
        try:
            self.server: EmbeddedServer = self._stack.enter_context(EmbeddedServer())
            pin(self.server.pid, 0)
            self._redis = self._stack.enter_context(self.server.client())
            self._workers = []
            for contender in wanted:
                progress(f"start {contender.name}")
                worker = Worker(contender, self.server.url)
                self._stack.callback(worker.close)
                self._workers.append(worker)
            self._flushers = {packed: self._new_flusher(packed=packed) for packed in (False, True)}
        except BaseException:
            self._stack.close()
            raise

    def _new_flusher(self, *, packed: bool) -> EventFlusher:
        registry = Registry()
        registry.register_redis(self.server.url)
        registry.register_redis_stream(STREAM, packed=packed)
        engine = self._stack.enter_context(registry.validate())
        return engine.new_context().get_event_broker().new_flusher()

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def versions(self) -> dict[str, str]:
        """Return the version of the server."""
        info = self._redis.info("server")
        name = "valkey" if "valkey_version" in info else "redis"
        return {f"{name}-server": str(info[f"{name}_version"])}

    def run(self, cases: Sequence[str]) -> list[Row]:
        """Run these cases, and return all rows."""
        steps: dict[str, Callable[[], Iterator[Row]]] = {
            "publish": self._publish,
            "consume": self._consume,
            "latency": self._latency,
            "concurrent": self._concurrent,
            "threads": self._threads,
            "scaling": self._scaling,
            "memory": self._memory,
            "import": self._import,
        }
        return with_ratios(row for case in cases for row in steps[case]())

    def _taking_part(self, case: str) -> list[Worker]:
        return [worker for worker in self._workers if case in worker.contender.cases]

    # ---- cases ----

    def _publish(self) -> Iterator[Row]:
        for batch, body in self._plan.publish:
            workers = [one for one in self._taking_part("publish") if batch > 1 or not one.contender.only_batches]
            yield from self._published("publish", batch, body, workers)

    def _published(self, case: str, batch: int, body: str, workers: Sequence[Worker]) -> Iterator[Row]:
        def measure(worker: Worker, events: int) -> Sample:
            events = max(1, events // batch) * batch
            self._redis.flushall()
            sample = self._sample(worker, "publish", body=body, events=events, batch=batch)
            return replace(sample, stored=self._redis.memory_usage(STREAM, samples=0))

        yield from self._medians(case, batch, body, workers, measure, first=max(batch, 50))

    def _consume(self) -> Iterator[Row]:
        body = "dict 32 B"
        for count in self._plan.consume:

            def measure(worker: Worker, events: int, count: int = count) -> Sample:
                events = max(1, events // count) * count
                self._fill(worker, events, body)
                sample = self._sample(worker, "consume", events=events, count=count)
                if not worker.contender.own_format and self._redis.xlen(STREAM):
                    raise RuntimeError(f"{worker.contender.name} left events in the stream")
                return sample

            yield from self._medians("consume", count, body, self._taking_part("consume"), measure, first=10 * count)

    def _fill(self, worker: Worker, events: int, body: str) -> None:
        self._redis.flushall()
        if worker.contender.own_format:
            worker.ask("fill", body=body, events=events)
            return
        flusher = self._flushers[worker.contender.packed]
        for begin in range(0, events, 10_000):
            numbers = range(begin, min(begin + 10_000, events))
            flusher.publish_many(STREAM, map(BODIES[body], numbers))
            flusher.flush()

    def _medians(
        self,
        case: str,
        batch: int,
        body: str,
        workers: Sequence[Worker],
        measure: Callable[[Worker, int], Sample],
        first: int,
    ) -> Iterator[Row]:
        """Return a row for each worker. The first measurement only tells how many events the others need."""
        self._progress(f"{case}: {body}, {batch:,} in one go")
        events = {}
        for worker in workers:
            warm = measure(worker, first)
            events[worker] = max(first, int(warm.events / warm.seconds * self._plan.seconds))
        samples: dict[Worker, list[Sample]] = {worker: [] for worker in workers}
        for _ in range(self._plan.repeats):
            for worker in workers:
                self._progress(f"{case}: {body}, {batch:,} in one go: {worker.contender.name}")
                samples[worker].append(measure(worker, events[worker]))
        for worker in workers:
            yield median_row(case, worker.contender.name, batch, body, samples[worker])

    def _sample(self, worker: Worker, task: str, *, events: int, **parameters: object) -> Sample:
        before = server_cpu(self._redis)
        took = worker.ask(task, events=events, **parameters)
        return Sample(events, took["seconds"], took["cpu"], server_cpu(self._redis) - before, took["lag"])

    def _concurrent(self) -> Iterator[Row]:
        body = "dict 32 B"
        for tasks in self._plan.concurrent:

            def measure(worker: Worker, events: int, tasks: int = tasks) -> Sample:
                self._redis.flushall()
                events = max(1, events // tasks) * tasks
                return self._sample(worker, "publish_concurrently", body=body, events=events, tasks=tasks)

            yield from self._medians("concurrent", tasks, body, self._taking_part("concurrent"), measure, first=tasks)

    def _threads(self) -> Iterator[Row]:
        body = "dict 32 B"
        for threads in self._plan.threads:
            each = threads * THREADS_BATCH

            def measure(worker: Worker, events: int, threads: int = threads, each: int = each) -> Sample:
                self._redis.flushall()
                events = max(1, events // each) * each
                options: dict[str, Any] = {"body": body, "batch": THREADS_BATCH, "threads": threads}
                return self._sample(worker, "publish_in_threads", events=events, **options)

            yield from self._medians("threads", threads, body, self._taking_part("threads"), measure, first=each)

    def _latency(self) -> Iterator[Row]:
        body = "dict 32 B"
        workers = self._taking_part("latency")
        times: dict[Worker, list[float]] = {worker: [] for worker in workers}
        for round_ in range(self._plan.repeats + 1):
            for worker in workers:
                self._progress(f"latency: {worker.contender.name}")
                self._redis.flushall()
                taken = worker.ask("latencies", body=body, events=self._plan.latencies if round_ else 50)
                if round_:
                    times[worker] += taken
        for worker in workers:
            taken = sorted(times[worker])
            details = {
                f"p{name}_us": taken[min(len(taken) - 1, int(len(taken) * part))] * 1e6
                for name, part in (("50", 0.5), ("99", 0.99), ("99_9", 0.999))
            }
            speed = len(taken) / sum(taken)
            yield Row("latency", worker.contender.name, 1, body, speed, details=details)

    def _scaling(self) -> Iterator[Row]:
        workers = self._taking_part("scaling")
        for batch, body in self._plan.scaling_batches:
            yield from self._published("scaling", batch, body, workers)
        for worker in workers:
            for pieces in (1, 1000):
                self._progress(f"scaling: a reply in {pieces} pieces: {worker.contender.name}")
                cpu = worker.ask("parse", body="dict 32 B", pieces=pieces)
                yield Row(
                    "scaling", worker.contender.name, 1000, "dict 32 B", None, cpu * 1e6, details={"pieces": pieces}
                )

    def _memory(self) -> Iterator[Row]:
        for worker in self._taking_part("memory"):
            self._progress(f"memory: {worker.contender.name}")
            self._redis.flushall()
            plan = self._plan
            held = worker.ask("memory", events=plan.memory_events, rounds=plan.memory_rounds)
            yield Row("memory", worker.contender.name, plan.memory_events, "dict 32 B", details=held)

    def _import(self) -> Iterator[Row]:
        programs = {"fluxa_fast": "import fluxa_fast", "redis-py": "import redis"}
        times: dict[str, list[float]] = {name: [] for name in programs}
        for round_ in range(_IMPORTS + 1):
            for name, program in programs.items():
                self._progress(f"import: {name}")
                begin = time.perf_counter()
                subprocess.run([sys.executable, "-c", program], check=True)
                if round_:
                    times[name].append(time.perf_counter() - begin)
        for name, taken in times.items():
            yield Row("import", name, 1, "", details={"milliseconds": statistics.median(taken) * 1000})
