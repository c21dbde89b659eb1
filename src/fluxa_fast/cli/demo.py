"""``fluxa-fast demo``: sends a million events to a real server and back, and checks each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .. import implementation
from ..benchmark.usage import server_cpu
from ..broker import EventBroker
from ..delivery import DeliveryReport
from ..embedded import EmbeddedServer
from ..embedded.cluster import EmbeddedCluster
from ..engine import Engine
from ..errors import FluxaError
from ..flows.partition_count import count_key
from ..protocol.interface import Event
from ..redis_adapter.addresses import redacted
from ..registry import Registry
from .client import client_of
from .sample import STREAMS, number_of, sample

__all__ = ["run_demo"]

_NODES = 3  # of the cluster
_PARTITIONS = 6  # of each stream there


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo does: how many events, in which batches; on packed streams; with a producer, not with flushers."""

    events: int
    batch: int
    packed: bool
    producer: bool


@dataclass(slots=True)
class Phase:
    """The figures of one half of the demo. Times are seconds."""

    name: str
    events: int = 0
    bytes: int = 0
    elapsed: float = 0.0
    client_cpu: float = 0.0
    server_cpu: float = 0.0


@dataclass(slots=True)
class Account:
    """Which events came back, and whether they were unchanged."""

    seen: bytearray
    wrong: int = 0
    twice: int = 0
    bytes: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def missing(self) -> int:
        return self.seen.count(0)

    @property
    def exact(self) -> bool:
        return not (self.missing or self.twice or self.wrong)

    def add(self, events: Sequence[Event]) -> None:
        for event in events:
            body = event.body
            number = number_of(
                event.stream.partition(":")[0], body
            )  # the stream of an event of a partition is the partition
            expected = sample(number)
            if body != expected.expected or event.tags != (expected.tags or {}):
                self.wrong += 1
                self.examples.append(f"{event!r}: {body!r}"[:200])
            elif self.seen[number]:
                self.twice += 1
            else:
                self.seen[number] = 1
            self.bytes += len(event.raw_body or b"")


def run_demo(
    console: Console,
    events: int,
    batch: int,
    url: str | None,
    *,
    cluster: bool = False,
    packed: bool = False,
    producer: bool = False,
) -> bool:
    """Run the demo. True if every event came back exactly once and unchanged.

    Raises:
        FluxaError: if there is no server to start, or if the given server has data in the demo's streams.
        redis.RedisError: if the server or the network fails.
    """
    options = Options(events, batch, packed, producer)
    if url is not None:
        return _run_on(url, console, options)
    with EmbeddedCluster(_NODES) if cluster else EmbeddedServer() as started:
        return _run_on(started.url, console, options)


def _run_on(url: str, console: Console, options: Options) -> bool:
    with client_of(url) as client:
        on_cluster = isinstance(client, redis.RedisCluster)
        nodes = [node.redis_connection for node in client.get_primaries()] if on_cluster else [client]
        with _engine(url, _PARTITIONS if on_cluster else None, options.packed) as engine:
            keys = [key for stream in STREAMS for key in engine.partitions(stream)]
            keys += map(count_key, STREAMS) if on_cluster else ()
            if taken := [key for key in keys if client.exists(key)]:
                raise FluxaError(
                    f"the demo wants streams of its own, and {', '.join(taken)} exist on {redacted(url)}: "
                    "delete them first"
                )
            try:
                return _there_and_back(console, engine, nodes, options)
            finally:
                for key in keys:
                    client.delete(key)


def _engine(url: str, partitions: int | None, packed: bool) -> Engine:
    registry = Registry()
    registry.register_redis(url)
    for stream in STREAMS:
        registry.register_redis_stream(stream, partitions=partitions, packed=packed)
    return registry.validate()


def _there_and_back(console: Console, engine: Engine, nodes: Sequence[redis.Redis], options: Options) -> bool:
    broker = engine.new_context().get_event_broker()
    account = Account(bytearray(options.events))
    with _progress(console) as progress:
        keyed = engine.partitions(STREAMS[0]) != (STREAMS[0],)  # only streams with partitions take keys
        publish = _produce if options.producer else _publish
        published = publish(broker, nodes, progress, options, keyed)
        consumed = _consume(broker, nodes, progress, account, options.batch)
    left = sum(one.len for one in broker.get_streams_statistics())
    console.print(_table(published, consumed, options=options))
    _print_verdict(console, account, options.events, left)
    return account.exact and not left


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:8}"), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, expand=True)


def _publish(
    broker: EventBroker, nodes: Sequence[redis.Redis], progress: Progress, options: Options, keyed: bool
) -> Phase:
    events, batch = options.events, options.batch
    phase = Phase("publish")
    task = progress.add_task("publish", total=events)
    with _measured(phase, nodes):
        flusher = broker.new_flusher()
        for begin in range(0, events, batch):
            for number in range(begin, min(begin + batch, events)):
                one = sample(number)
                flusher.publish(one.stream, one.body, one.tags, number if keyed else None)
            phase.bytes += flusher.size
            phase.events += len(flusher.flush())
            progress.update(task, completed=phase.events)
    return phase


def _produce(
    broker: EventBroker, nodes: Sequence[redis.Redis], progress: Progress, options: Options, keyed: bool
) -> Phase:
    """As `_publish`, with a producer: it makes the batches."""
    phase = Phase("publish")
    task = progress.add_task("publish", total=options.events)

    def on_delivery(report: DeliveryReport) -> None:
        phase.events += len(report.confirmed)
        progress.update(task, completed=phase.events)

    with _measured(phase, nodes), broker.new_producer(on_delivery=on_delivery) as producer:
        publish = producer.publish
        for number in range(options.events):
            one = sample(number)
            publish(one.stream, one.body, one.tags, number if keyed else None)
    return phase


def _consume(
    broker: EventBroker, nodes: Sequence[redis.Redis], progress: Progress, account: Account, batch: int
) -> Phase:
    phase = Phase("consume")
    task = progress.add_task("consume", total=len(account.seen))
    with _measured(phase, nodes):
        for stream in STREAMS:
            with broker.consumer_single(stream) as consumer:
                for events in consumer.batches(count=batch, block=None):
                    account.add(events)
                    phase.events += len(events)
                    progress.update(task, completed=phase.events)
    phase.bytes = account.bytes
    return phase


@contextmanager
def _measured(phase: Phase, nodes: Sequence[redis.Redis]) -> Iterator[None]:
    server = sum(map(server_cpu, nodes))
    cpu = time.process_time()
    begin = time.perf_counter()
    yield
    phase.elapsed = time.perf_counter() - begin
    phase.client_cpu = time.process_time() - cpu
    phase.server_cpu = sum(map(server_cpu, nodes)) - server


def _table(*phases: Phase, options: Options) -> Table:
    spoken = {"c": "compiled", "python": "pure Python"}[implementation]
    told = [phase for phase in phases if phase.bytes]  # a producer does not count the bytes of a batch
    mean = sum(phase.bytes for phase in told) / max(1, sum(phase.events for phase in told))
    caption = (
        "publish: make and publish; consume: decode, check, acknowledge and delete. "
        f"A body has {mean:,.0f} bytes on average. The README's tables measure bodies of 35 bytes, and check nothing."
    )
    title = f"fluxa_fast, {spoken}"
    if options.producer:
        title += ", with a producer"
        caption += " A producer sends in the background, and makes the batches itself."
    if options.packed:
        title += ", packed streams"
        caption += " Packed: a flush puts many events of a stream into one entry."
    table = Table(title=title, caption=caption)
    for column in ("", "events", "seconds", "events/s", "MB of bodies", "client CPU us/event", "server CPU us/event"):
        table.add_column(column, justify="right" if column else "left")
    for phase in phases:
        count = max(1, phase.events)
        table.add_row(
            phase.name,
            f"{phase.events:,}",
            f"{phase.elapsed:.2f}",
            f"{phase.events / phase.elapsed:,.0f}",
            f"{phase.bytes / 1e6:,.0f}" if phase.bytes else "",
            f"{phase.client_cpu / count * 1e6:.2f}",
            f"{phase.server_cpu / count * 1e6:.2f}",
        )
    return table


def _print_verdict(console: Console, account: Account, events: int, left: int) -> None:
    if account.exact and not left:
        console.print(f"[green]all {events:,} events came back exactly once, unchanged[/green]")
        return
    console.print(
        f"[red]{account.missing:,} missing, {account.twice:,} twice, {account.wrong:,} changed, "
        f"{left:,} left behind[/red]"
    )
    for example in account.examples[:5]:
        console.print(f"  {example}", markup=False)
