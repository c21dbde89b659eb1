"""One producer or consumer. Run as ``python -m tests.ledger.worker '{"role": "producer", ...}'``."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

import fluxa_fast
from fluxa_fast import FlushError, FluxaError, Packing, Recovery
from tests.awaited import Faces, Loop
from tests.ledger.records import RecordFile, read, spans

__all__ = ["KEYS", "Job", "consume", "key_of", "left_after", "produce"]

STREAM = "orders"
KEYS = 20  # of each producer
LEASE = 2.0  # seconds


@dataclass
class Job:
    """What a worker is to do.

    Attributes:
        role: ``producer`` or ``consumer``.
        number: of the producer or consumer.
        folder: where the records are.
        pool: the arguments of `register_redis`.
        face: ``sync`` or ``asyncio``.
        implementation: ``c`` or ``python``.
        events: that a producer has to publish; None: until it is told to stop.
        rate: events per second of a producer, about; None: as fast as it can.
        batch: events in one flush at most, and in one batch, about.
        replicas: that must have an event before it counts as confirmed.
        background: a producer publishes with an `EventProducer`, not with a flusher.
        partitions: of the stream; None: it is one key.
        packed: the arguments of the `Packing` that it registers the stream with; None: with none.
        ordered: consumers own partitions.
        min_idle: seconds after which a consumer claims what others have left.
        recovery: seconds for which outages are waited for.
        seed: of what is random.
    """

    role: str
    number: int
    folder: str
    pool: dict[str, Any]
    face: str = "sync"
    implementation: str = "c"
    events: int | None = None
    rate: float | None = None
    batch: int = 100
    replicas: int = 0
    background: bool = False
    partitions: int | None = None
    packed: dict[str, Any] | None = None
    ordered: bool = False
    min_idle: float = 3.0
    recovery: float = 5.0
    seed: int = 0

    @property
    def leaves_the_rest(self) -> bool:
        """Whether a producer ends without being closed."""
        return self.background and self.face == "sync" and self.seed % 2 == 0

    @property
    def records(self) -> Path:
        return Path(self.folder, f"{self.role}-{self.number}.records")

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.ledger.worker", json.dumps(asdict(self))]


# ---- producing ------------------------------------------------------------------------------------------


def produce(broker: Any, job: Job, stop: threading.Event) -> None:
    """Publish number after number, and flush again until all are confirmed. What is stopped finishes its flush."""
    chance = random.Random(job.seed)
    records = RecordFile(job.records)
    flusher = broker.new_flusher(eager=chance.random() < 0.3)
    number = _first_number(job)
    while not stop.is_set() and (job.events is None or number < job.events):
        began = time.monotonic()
        size = chance.randint(1, job.batch)
        waiting = list(range(number, number + size))
        number += size
        records.write("begun", f"{waiting[0]}-{waiting[-1]}")
        for one in waiting:
            flusher.publish(STREAM, *_event(job, chance, one))
        while waiting:
            waiting = _flush(flusher, job, records, waiting)
            if waiting:
                time.sleep(0.05)
        if job.rate:
            stop.wait(max(0.0, began + size / job.rate - time.monotonic()))
    records.write("ended")
    records.close()


def _event(job: Job, chance: random.Random, number: int) -> tuple[Any, dict[str, str], str | None]:
    """The body, the tags and the key of an event."""
    padding = 0 if chance.random() < 0.9 else chance.choice((10, 1000, 50_000))
    body = {"producer": job.number, "number": number, "padding": bytes(padding)}
    key = key_of(job.number, number) if job.partitions else None
    return body, {"number": str(number), "producer": str(job.number)}, key


def produce_in_background(broker: Any, job: Job, stop: threading.Event) -> None:
    """Publish number after number with a producer. What is stopped closes it, or leaves the rest to its exit."""
    chance = random.Random(job.seed)
    records = RecordFile(job.records)
    accepted: deque[int] = deque()  # that no report has told of; reports come in the order of publishing
    producer = broker.new_producer(
        linger=chance.choice((0.0, 0.005, 0.05)),
        max_batch_bytes=chance.choice((2_000, 100_000, 4_000_000)),
        max_buffered_events=chance.choice((50, 1000, 100_000)),
        delivery_timeout=chance.choice((1.0, 120.0, None)),
        exit_timeout=60.0,
        replicas=job.replicas,
        on_delivery=lambda report: _reported(report, [accepted.popleft() for _ in range(report.events)], records),
    )
    number = _first_number(job)
    while not stop.is_set() and (job.events is None or number < job.events):
        began = time.monotonic()
        size = chance.randint(1, job.batch)
        records.write("begun", f"{number}-{number + size - 1}")
        for one in range(number, number + size):
            accepted.append(one)
            producer.publish(STREAM, *_event(job, chance, one))
        number += size
        if chance.random() < 0.02:
            producer.flush()
        if job.face == "sync" and chance.random() < 0.02:
            _fork_with(producer, records)
        if job.rate:
            stop.wait(max(0.0, began + size / job.rate - time.monotonic()))
    if job.leaves_the_rest:  # the exit sends it
        kept.append(producer)
        return
    producer.close()
    counters = producer.counters
    if counters.waiting != len(accepted) or counters.waiting or counters.dropped:
        records.write("error", f"the books of a producer do not agree: {counters}, {len(accepted)} without a report")
    records.write("ended")
    records.close()


kept: list[Any] = []


def _reported(report: Any, numbers: list[int], records: RecordFile) -> None:
    """Write down what became of the events with these numbers."""
    lost = {position for one in report.given_up for position in one.positions}
    refused = {one.position for one in report.refused}
    kept = [number for place, number in enumerate(numbers) if place not in lost | refused]
    if len(kept) != len(report.confirmed) or len(report.undelivered) != len(lost) + len(refused):
        records.write("error", f"a report does not add up: {report}")
    if refused:  # the user had no rights, or the key was of another type
        records.write("why", f"{len(refused)} events were refused: {report.refused[0].error}")
    for _ in range(report.attempts - 1):
        records.write("unconfirmed", *spans(numbers))
    records.write("confirmed", *spans(kept))
    if lost:
        records.write("why", f"{len(lost)} events were given up: {report.given_up[0].error}")


def _fork_with(producer: Any, records: RecordFile) -> None:
    """A child has nothing of the producer's events, and can flush all the same."""
    child = os.fork()
    if child == 0:
        try:
            producer.flush(30)
            os._exit(producer.counters.accepted or len(producer))
        finally:
            os._exit(2)
    if (code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) != 0:
        records.write("error", f"a forked child has ended with {code}")


def key_of(producer: int, number: int) -> str:
    """The key of an event."""
    return f"{producer}-{number % KEYS}"


def _first_number(job: Job) -> int:
    """Where a producer goes on that was killed: what it had begun is in doubt."""
    last = -1
    if job.records.exists():
        for line in read(job.records):
            if line.kind == "begun":
                last = int(line.words[0].partition("-")[2])
    return last + 1


def _flush(flusher: Any, job: Job, records: RecordFile, waiting: list[int]) -> list[int]:
    """Flush once. Returns the numbers that wait again, in their order."""
    options = {"replicas": job.replicas, "timeout": 1.0} if job.replicas else {}
    try:
        confirmed = len(flusher.flush(**options))
    except FlushError as error:
        unconfirmed = {position for lost in error.unconfirmed for position in lost.positions}
        left = left_after(error, waiting)
        if len(left) != len(flusher) or len(error.confirmed) + len(left) != len(waiting):
            records.write("error", f"the account of a flush does not add up: {error}, {len(flusher)} wait")
        records.write("why", str(error)[:500])
        gone = set(left)
        records.write("confirmed", *spans(one for one in waiting if one not in gone))
        records.write("unconfirmed", *spans(waiting[position] for position in sorted(unconfirmed)))
        return left
    if confirmed != len(waiting):
        records.write("error", f"a flush of {len(waiting)} events confirmed {confirmed}")
    records.write("confirmed", *spans(waiting))
    return []


def left_after(error: FlushError, waiting: list[int]) -> list[int]:
    """Which of the numbers that were flushed wait again, in their order."""
    positions = {one.position for one in error.refused}.union(*(lost.positions for lost in error.unconfirmed))
    return [waiting[position] for position in sorted(positions)]


# ---- consuming ------------------------------------------------------------------------------------------


class HandlerError(Exception):
    """Raised by a handler at random."""


class _OutageRecorder(logging.Handler):
    """Records every outage that the package logs."""

    def __init__(self, records: RecordFile) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.write("outage", record.getMessage())


def consume(broker: Any, job: Job, stop: threading.Event) -> None:
    """Consume in every way there is, one after the other, until told to stop."""
    chance = random.Random(job.seed)
    records = RecordFile(job.records)
    records.write("started")
    told = _OutageRecorder(records)
    logging.getLogger("fluxa_fast").addHandler(told)

    def handle(events: Sequence[Any]) -> None:
        fails = chance.random() < 0.01
        handled = events[: chance.randint(0, len(events))] if fails else events
        if handled:
            words = [f"{_id_of(event)}:{event.body['producer']}:{event.body['number']}" for event in handled]
            records.write("handled", *words)
            if stopping.is_set():
                records.write("stopped")
            assert all(event.tag("number") == str(event.body["number"]) for event in handled)
            if job.ordered:
                time.sleep(chance.choice((0.0, 0.001, 0.05)))
                records.write("done", *{word.partition(":")[0].partition("@")[2] for word in words})
        if chance.random() < 0.05:
            with suppress(RedisError, FluxaError):
                for event in chance.sample(handled, chance.randint(0, min(5, len(handled)))):
                    event.ack()
        if fails:
            records.write("failed")
            raise HandlerError

    stopping = threading.Event()
    consumer = _new_consumer(broker, job)
    claimed = time.monotonic()
    while not stop.is_set():
        ways = ("run", "batches", "consume", "leave")
        way = chance.choices(ways, (5, 3, 2, 1))[0]
        try:
            if time.monotonic() > claimed + job.min_idle / 2 and not job.ordered:
                records.write("claiming")
                claimed = time.monotonic()
                consumer.auto_claim(_count(job, chance), job.min_idle, handle)
            elif way == "leave":
                records.write("cleared", consumer.cleanup())
                consumer = _new_consumer(broker, job)
            else:
                _in_one_way(way, consumer, job, records, handle, chance, stopping)
        except HandlerError:
            records.write("failed")  # by now, those beside it have been cancelled
        except (RedisError, TimeoutError) as error:
            records.write("error", type(error).__name__, error)
            time.sleep(0.05)
    with suppress(RedisError):
        records.write("cleared", consumer.cleanup())
    records.write("ended")
    logging.getLogger("fluxa_fast").removeHandler(told)
    records.close()


def _new_consumer(broker: Any, job: Job) -> Any:
    recovery = Recovery(deadline=job.recovery, cap=0.5)
    if job.ordered:
        return broker.consumer_ordered(STREAM, lease=LEASE, recovery=recovery)
    return broker.consumer_many(STREAM, recovery=recovery)


def _id_of(event: Any) -> str:
    """The ID; of a partition's entry, with the number of the partition."""
    _, of, rest = event.stream.partition(f"{STREAM}:")
    return f"{event.id}@{rest.partition('of')[0]}" if of else str(event.id)


def _count(job: Job, chance: random.Random) -> int:
    """Events in a batch: fewer or more than a packed entry has."""
    return chance.choice((10, job.batch, job.batch, 10 * job.batch))


def _in_one_way(
    way: str,
    consumer: Any,
    job: Job,
    records: RecordFile,
    handle: Any,
    chance: random.Random,
    stopping: threading.Event,
) -> None:
    if way == "run":

        def stop() -> None:
            stopping.set()
            records.write("stopped")
            consumer.stop()

        stopping.clear()
        timer = threading.Timer(chance.uniform(0.05, 2.0), stop)
        timer.start()
        try:
            options: dict[str, Any] = {"concurrency": chance.choice((1, 4))} if job.face == "asyncio" else {}
            if chance.random() < 0.5:
                records.write("claiming")  # what others have had for so long may come again
                options["claim_idle"] = job.min_idle
            consumer.run(handle, count=_count(job, chance), **options)
        finally:
            timer.cancel()
            timer.join()
    elif way == "batches":
        for events in consumer.batches(_count(job, chance), 0.3):
            handle(events)
            if chance.random() < 0.02:
                records.write("left")  # the batch stays pending
                break
    else:
        consumer.consume(_count(job, chance), chance.choice((None, 0.5)), handle)


# ---- the process ----------------------------------------------------------------------------------------


def _stop_when_told(stop: threading.Event) -> None:
    signal.sigwait({signal.SIGTERM})
    stop.set()


def _end_with_driver() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    faulthandler.enable()  # the driver aborts what does not end
    job = Job(**json.loads(sys.argv[1]))
    stop = threading.Event()
    # A thread waits for it: a signal handler might interrupt the thread that holds the event's lock.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_stop_when_told, args=(stop,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which stops us
    threading.Thread(target=_end_with_driver, daemon=True).start()
    loop = Loop() if job.face == "asyncio" else None
    registry = Faces(loop).Registry() if loop else fluxa_fast.Registry()
    registry.register_redis(**job.pool)
    packed = None if job.packed is None else Packing(**job.packed)
    registry.register_redis_stream(STREAM, partitions=job.partitions, packed=packed)
    work = consume if job.role == "consumer" else produce_in_background if job.background else produce
    try:
        engine = registry.validate()
        with nullcontext() if job.leaves_the_rest else engine:
            work(engine.new_context().get_event_broker(), job, stop)
    finally:
        if loop:
            loop.close()  # its thread would keep a process that has failed


if __name__ == "__main__":
    main()
