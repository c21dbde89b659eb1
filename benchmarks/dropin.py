"""What each step of a migration from redis-py gains: the same work, done by redis-py, the drop-in, and the broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import msgpack
import redis
from rich.console import Console
from rich.table import Table

import fluxa_fast
from fluxa_fast.embedded import EmbeddedServer

BATCH = 1000
ROUNDS = 5
SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "decode_responses=True": {"decode_responses": True},
    "protocol=2": {"protocol": 2},
}

Work = Callable[[], object]
Steps = dict[str, tuple[Work, Work]]  # name: (what comes before, what is timed)


def body(number: int) -> dict[str, int]:
    return {"UserID": number, "ProductID": 42, "Quantity": 3}


def fields(number: int) -> dict[str, Any]:
    return {"user_id": number, "product": "p-42", "quantity": 3}


def packed(number: int) -> dict[str, Any]:
    return {"s": msgpack.packb(body(number))}


def publish(make: Callable[[], Any], fields: Callable[[int], Any], events: int, **options: Any) -> None:
    pipe = make()
    for first in range(0, events, BATCH):
        for number in range(first, first + BATCH):
            pipe.xadd("orders", fields(number), **options)
        pipe.execute()


def read(call: Callable[..., Any], **options: Any) -> None:
    last = "0"
    while got := call({"orders": last}, count=BATCH, **options):
        last = got[-1].id if options else entries_of(got)[-1][0]


def consume(call: Callable[..., Any], make: Callable[[], Any], handle: Callable[[Any], object]) -> None:
    while got := call("group", "me", {"orders": ">"}, count=BATCH):
        entries = entries_of(got)
        for _, one in entries:
            handle(one)
        pipe = make()
        ids = [id for id, _ in entries]
        pipe.xack("orders", "group", *ids)
        pipe.xdel("orders", *ids)
        pipe.execute()


def entries_of(got: Any) -> list[Any]:
    """The entries of the one stream, whichever shape redis-py gives them."""
    found = got[0][1] if isinstance(got, list) else next(iter(got.values()))
    return found[0] if len(found) == 1 and isinstance(found[0], list) else found


def unpack(fields: dict[Any, Any]) -> object:
    return msgpack.unpackb(fields[b"s"])


def run_dropin(console: Console, events: int) -> None:
    with EmbeddedServer() as server:
        plain = redis.Redis.from_url(server.url)
        table = Table("work", "client", "step", "events/s", "x redis-py", title="what each step gains")
        for setting, options in SETTINGS.items():
            client = redis.Redis.from_url(server.url, **options)
            for work, steps in of_a_client(client, plain, events).items():
                measure(table, plain, work, setting, steps, events)
        for work, steps in to_the_broker(plain, server.url, events).items():
            measure(table, plain, work, "as it comes", steps, events)
        console.print(table)
        console.print(short_and_mixed(redis.Redis.from_url(server.url)))


# ---- short and mixed work -----------------------------------------------------------------------------


def mixed(pipe: Any, commands: int) -> None:
    for number in range(commands):
        if number % 2:
            pipe.set("key", number)
        else:
            pipe.xadd("orders", fields(number))
    pipe.execute()


def others(pipe: Any, commands: int) -> None:
    for number in range(commands):
        pipe.set("key", number)
    pipe.execute()


def entries(pipe: Any, commands: int) -> None:
    for number in range(commands):
        pipe.xadd("orders", fields(number))
    pipe.execute()


def short_and_mixed(client: redis.Redis) -> Table:
    """CPU time of the client for each call, where the drop-in has little to gain. It must not be slower."""
    for number in range(100):
        client.xadd("many", fields(number))
    work: dict[str, tuple[Callable[[Any], object], bool, int]] = {
        **{f"pipeline of {n} XADD": (partial(entries, commands=n), True, n) for n in (1, 5, 10, 30, 100)},
        **{f"pipeline of {n} SET": (partial(others, commands=n), True, n) for n in (1, 1000)},
        **{f"pipeline of {n} XADD and SET in turn": (partial(mixed, commands=n), True, n) for n in (10, 1000)},
        "xread, nothing there": (lambda xread: xread({"none": "0"}), False, 1),
        **{f"xread, count={n}": (partial(_read_one, count=n), False, n) for n in (1, 10, 100)},
    }
    table = Table("work", "redis-py, us", "drop-in, us", "x redis-py", title="short and mixed work: CPU time of a call")
    for name, (do, is_pipeline, size) in work.items():
        theirs: Callable[[], object] = (
            partial(client.pipeline, transaction=False) if is_pipeline else lambda: client.xread
        )
        ours: Callable[[], object] = (
            partial(fluxa_fast.pipeline, client) if is_pipeline else lambda: partial(fluxa_fast.xread, client)
        )
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(2 * ROUNDS + 1):
            for which in (0, 1) if turn % 2 else (1, 0):
                began = time.process_time()
                for _ in range(max(3, 1000 // size)):
                    do((theirs, ours)[which]())
                times[which].append((time.process_time() - began) / max(3, 1000 // size) * 1e6)
        ratio = median(one / other for one, other in zip(*times, strict=True))
        table.add_row(name, f"{median(times[0]):.1f}", f"{median(times[1]):.1f}", f"{ratio:.2f}")
    return table


def _read_one(xread: Any, count: int) -> None:
    xread({"many": "0"}, count=count)


def of_a_client(client: redis.Redis, plain: redis.Redis, events: int) -> dict[str, Steps]:
    def theirs() -> Any:
        return client.pipeline(transaction=False)

    def ours() -> Any:
        return fluxa_fast.pipeline(client)

    fill = partial(publish, ours, fields, events)
    xread = partial(fluxa_fast.xread, client)
    return {
        "xadd": {
            "redis-py": (nothing, partial(publish, theirs, fields, events)),
            "fluxa_fast.pipeline": (nothing, partial(publish, ours, fields, events)),
        },
        "xadd, maxlen=100000": {
            "redis-py": (nothing, partial(publish, theirs, fields, events, maxlen=100_000)),
            "fluxa_fast.pipeline": (nothing, partial(publish, ours, fields, events, maxlen=100_000)),
        },
        "xread": {
            "redis-py": (fill, partial(read, client.xread)),
            "fluxa_fast.xread": (fill, partial(read, xread)),
            "... as_events=True": (fill, partial(read, xread, as_events=True)),
        },
    }


def to_the_broker(client: redis.Redis, url: str, events: int) -> dict[str, Steps]:
    registry = fluxa_fast.Registry()
    registry.register_redis(url)
    registry.register_redis_stream("orders")
    broker = registry.validate().new_context().get_event_broker()

    def flush() -> None:
        flusher = broker.new_flusher()
        for first in range(0, events, BATCH):
            for number in range(first, first + BATCH):
                flusher.publish("orders", body(number))
            flusher.flush()

    def batches() -> None:
        with broker.consumer_single("orders") as consumer:
            for got in consumer.batches(BATCH, block=None):
                for event in got:
                    assert event.body is not None

    def fill() -> None:
        flush()
        client.xgroup_create("orders", "group", "0")

    theirs = partial(client.pipeline, transaction=False)
    ours = partial(fluxa_fast.pipeline, client)
    return {
        "publish msgpack bodies": {
            "redis-py": (nothing, partial(publish, theirs, packed, events)),
            "fluxa_fast.pipeline": (nothing, partial(publish, ours, packed, events)),
            "the broker's flusher": (nothing, flush),
        },
        "consume, decode, ack, delete": {
            "redis-py": (fill, partial(consume, client.xreadgroup, theirs, unpack)),
            "fluxa_fast.xreadgroup, pipeline": (
                fill,
                partial(consume, partial(fluxa_fast.xreadgroup, client), ours, unpack),
            ),
            "the broker's consumer": (flush, batches),
        },
    }


def nothing() -> None:
    """Before work that begins on an empty server."""


def measure(table: Table, plain: redis.Redis, work: str, setting: str, steps: Steps, events: int) -> None:
    seconds: dict[str, list[float]] = {step: [] for step in steps}
    for _ in range(ROUNDS):
        for step, (before, timed) in steps.items():  # interleaved
            plain.flushall()
            before()
            began = time.perf_counter()
            timed()
            seconds[step].append(time.perf_counter() - began)
    first = median(seconds["redis-py"])
    for step, taken in seconds.items():
        took = median(taken)
        table.add_row(work, setting, step, f"{events / took:,.0f}", f"{first / took:.1f}")
        work = setting = ""
    table.add_section()
