"""One consumer of the scenes in `lives.py`. Run as ``python -m tests.ledger.life '{"number": 0, ...}'``."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import fluxa_fast
import fluxa_fast.asyncio

__all__ = ["Life"]

STREAM = "orders"
FOR_EVER = 3600.0  # seconds


@dataclass
class Life:
    """What one process does.

    Attributes:
        number: of the consumer; one that is started again has another.
        folder: where its records are.
        url: of the server.
        face: ``blocking`` or ``asyncio``.
        kind: the method of the broker that makes the consumer.
        partitions: of the stream; None: it is one key.
        packed: events in one entry at most; None: the stream is not packed.
        claim_idle: seconds; None: it takes over nothing.
        hold_for: seconds; None: the default.
        works: seconds that the handler takes for a batch.
        hangs_after: batches after which it hangs; None: it never does.
        concurrency: of the handler on asyncio.
        batch: events in one batch at most.
    """

    number: int
    folder: str
    url: str
    face: str = "blocking"
    kind: str = "consumer_many"
    partitions: int | None = None
    packed: int | None = None
    claim_idle: float | None = None
    hold_for: float | None = None
    works: float = 0.01
    hangs_after: int | None = None
    concurrency: int = 1
    batch: int = 20

    @property
    def records(self) -> Path:
        return Path(self.folder, f"life-{self.number}.records")

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.ledger.life", json.dumps(asdict(self))]

    @property
    def options(self) -> dict[str, Any]:
        return {"count": self.batch, "claim_idle": self.claim_idle, "hold_for": self.hold_for}

    def registry(self, package: Any) -> Any:
        registry = package.Registry()
        registry.register_redis(self.url)
        packed = None if self.packed is None else package.Packing(max_events=self.packed)
        registry.register_redis_stream(STREAM, partitions=self.partitions, packed=packed)
        return registry


class _Handler:
    """Records what it is given when it begins, and once more when it is done."""

    def __init__(self, life: Life, records: TextIO) -> None:
        self._life = life
        self._records = records
        self._batches = 0

    def begin(self, events: Sequence[Any]) -> float:
        """Returns how many seconds the batch takes."""
        now = time.time()
        for event in events:
            self._records.write(f"begun {event.body} {now - event.timestamp.timestamp():.3f} {event.delivery_count}\n")
        self._records.flush()
        self._batches += 1
        return FOR_EVER if self._batches == self._life.hangs_after else self._life.works

    def end(self, events: Sequence[Any]) -> None:
        self._records.write("".join(f"{'lost' if one.taken_over else 'done'} {one.body}\n" for one in events))
        self._records.flush()


def _blocking(life: Life, records: TextIO) -> None:
    handler = _Handler(life, records)

    def handle(events: Sequence[Any]) -> None:
        time.sleep(handler.begin(events))
        handler.end(events)

    with life.registry(fluxa_fast).validate() as engine:
        consumer = getattr(engine.new_context().get_event_broker(), life.kind)(STREAM)
        signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
        print("ready", file=records, flush=True)
        with consumer:
            consumer.run(handle, **life.options)


async def _asyncio(life: Life, records: TextIO) -> None:
    handler = _Handler(life, records)

    async def handle(events: Sequence[Any]) -> None:
        await asyncio.sleep(handler.begin(events))
        handler.end(events)

    async with life.registry(fluxa_fast.asyncio).validate() as engine:
        consumer = getattr(engine.new_context().get_event_broker(), life.kind)(STREAM)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
        print("ready", file=records, flush=True)
        async with consumer:
            await consumer.run(handle, concurrency=life.concurrency, **life.options)


def main() -> None:
    life = Life(**json.loads(sys.argv[1]))
    with life.records.open("w") as records:
        if life.face == "blocking":
            _blocking(life, records)
        else:
            asyncio.run(_asyncio(life, records))
        print("left", file=records, flush=True)


if __name__ == "__main__":
    main()
