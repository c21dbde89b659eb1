"""``python -m tests.ledger lives``: consumers that come and go, are slow, hang, pause and are killed.

Every event is to be handled, and the wait of each is recorded: from when it was published until a handler had it.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fluxa_fast
from fluxa_fast.embedded import EmbeddedServer, find_server
from tests.ledger.life import STREAM, Life

__all__ = ["SCENES", "Scene", "main", "play"]

_CLAIM = 2.0  # seconds


@dataclass
class Scene:
    """What happens to four consumers.

    Attributes:
        life: of each of them.
        befalls: what befalls one of them every so often: SIGTERM, SIGKILL, SIGSTOP, or "clock".
        every: seconds between two of these.
        twice: whether an event may be handled twice; those of packed entries may that have more events than a batch.
        within: seconds after which every event has been handed over, on a machine that is not busy.
    """

    life: dict[str, Any]
    befalls: str = ""
    every: float = 2.0
    twice: bool = True
    within: float = 1.0


SCENES = {
    "deploys": Scene({}, "SIGTERM", twice=False),
    "deploys that claim": Scene({"claim_idle": _CLAIM}, "SIGTERM", twice=False),
    "kills": Scene({"claim_idle": _CLAIM}, "SIGKILL", within=_CLAIM + 2),
    "pauses": Scene({"claim_idle": _CLAIM}, "SIGSTOP", every=6.0, within=_CLAIM + 2),
    "slow": Scene({"claim_idle": _CLAIM, "works": 3 * _CLAIM, "batch": 1000}, twice=False, within=3 * 3 * _CLAIM),
    "hangs": Scene({"claim_idle": _CLAIM, "hold_for": _CLAIM, "hangs_after": 30}, within=2 * _CLAIM + 2.5),
    "clock": Scene({"claim_idle": _CLAIM}, "clock", every=4.0, within=60.0),
}


@dataclass
class Books:
    """What came of it.

    Attributes:
        published, handled: how many events, each of them counted once.
        twice: how many were handled more than once.
        lost: those that were never handled.
        left: entries in the stream when all was over.
        longest: seconds that an event waited.
        befell: how often something befell a consumer.
        problems: what should not be.
    """

    published: int = 0
    handled: int = 0
    twice: int = 0
    lost: list[int] = field(default_factory=list)
    left: int = 0
    longest: float = 0.0
    befell: int = 0
    problems: list[str] = field(default_factory=list)


class _Process:
    def __init__(self, life: Life) -> None:
        self.life = life
        self.process = subprocess.Popen(life.command(), stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (life.records.exists() and life.records.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def play(scene: Scene, *, seconds: float, rate: int, folder: Path, seed: int = 0, **life: Any) -> Books:
    """Let it happen on a server of its own, and close the books."""
    chance = random.Random(seed)
    clock = Path(folder, "clock")
    program = find_server()
    with EmbeddedServer(_with_clock(program, clock) if scene.befalls == "clock" else program) as server:
        first = Life(0, str(folder), server.url, **{**scene.life, **life})
        processes = [_Process(dataclasses.replace(first, number=number)) for number in range(2)]
        first.hangs_after = None  # two of them
        processes += [_Process(dataclasses.replace(first, number=number)) for number in (2, 3)]
        number = len(processes)
        books = Books()
        stop = threading.Event()
        publisher = threading.Thread(target=_publish, args=(first, books, rate, stop))
        publisher.start()
        try:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, scene.every))
                if not scene.befalls or time.monotonic() >= end:
                    continue
                books.befell += 1
                at = chance.randrange(len(processes))
                if scene.befalls == "clock":
                    clock.write_text(str(chance.choice((-30, -5, 0, 5, 30))))
                elif scene.befalls == "SIGSTOP":
                    processes[at].send(signal.SIGSTOP)
                    time.sleep(2 * _CLAIM + 1)
                    processes[at].send(signal.SIGCONT)
                else:
                    processes[at].send(signal.Signals[scene.befalls])
                    processes[at].process.wait(60)
                    processes[at] = _Process(dataclasses.replace(first, number=number))
                    number += 1
        finally:
            stop.set()
            publisher.join()
        with server.client() as client:
            _settle(client)
            for one in processes:
                one.send(signal.SIGKILL if one.life.hangs_after else signal.SIGTERM)
            for one in processes:
                if one.process.wait(60) not in (0, -signal.SIGKILL):
                    books.problems.append(f"consumer {one.life.number} ended with {one.process.returncode}")
            books.left = sum(client.xlen(key) for key in client.scan_iter(_type="stream"))
    _close(books, scene.twice or (first.packed or 0) > first.batch, folder)
    return books


def _publish(life: Life, books: Books, rate: int, stop: threading.Event) -> None:
    with life.registry(fluxa_fast).validate() as engine:
        flusher = engine.new_context().get_event_broker().new_flusher()
        while not stop.is_set():
            count = max(1, rate // 20)
            for number in range(books.published, books.published + count):
                flusher.publish(STREAM, number, key=str(number) if life.partitions else None)
            flusher.flush()
            books.published += count
            stop.wait(count / rate)


def _settle(client: Any) -> None:
    """Wait until nothing is left, or nothing changes for long."""
    left, since = -1, time.monotonic()
    while time.monotonic() < since + 45:
        now = sum(client.xlen(key) for key in client.scan_iter(_type="stream"))
        if not now:
            return
        if now != left:
            left, since = now, time.monotonic()
        time.sleep(0.1)


def _close(books: Books, twice: bool, folder: Path) -> None:
    begun: Counter[int] = Counter()
    for path in folder.glob("life-*.records"):
        for line in path.read_text().splitlines():
            kind, *words = line.split()
            if kind == "begun":
                begun[int(words[0])] += 1
                if begun[int(words[0])] == 1:
                    books.longest = max(books.longest, float(words[1]))
    books.handled = len(begun)
    books.twice = sum(count > 1 for count in begun.values())
    books.lost = sorted(set(range(books.published)) - set(begun))
    if books.lost:
        books.problems.append(f"{len(books.lost)} events were never handled: {books.lost[:20]}")
    if books.left:
        books.problems.append(f"{books.left} entries are left in the stream")
    if books.twice and not twice:
        books.problems.append(f"{books.twice} events were handled twice")


def _with_clock(program: str | None, clock: Path) -> str:
    """Make a server whose clock is shifted by as many seconds as the file says. Needs a C compiler, and Linux."""
    clock.write_text("0")
    library, source = clock.with_name("clock.so"), Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    server = clock.with_name("server")
    server.write_text(f'#!/bin/sh\nCLOCK_FILE={clock} LD_PRELOAD={library} exec {program} "$@"\n')
    server.chmod(0o755)
    return str(server)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ledger lives", description=__doc__)
    parser.add_argument("scene", choices=SCENES, nargs="*", default=list(SCENES))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=500, help="events a second")
    parser.add_argument("--face", choices=("blocking", "asyncio"), default="blocking")
    parser.add_argument("--kind", default="consumer_many")
    parser.add_argument("--partitions", type=int)
    parser.add_argument("--packed", type=int, help="events in one entry at most; by default the stream is not packed")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    problems = 0
    for name in given.scene or SCENES:
        life = {
            "face": given.face,
            "kind": given.kind,
            "partitions": given.partitions,
            "packed": given.packed,
            "concurrency": given.concurrency,
        }
        with tempfile.TemporaryDirectory() as folder:
            books = play(
                SCENES[name], seconds=given.seconds, rate=given.rate, folder=Path(folder), seed=given.seed, **life
            )
        print(
            f"{name}: {books.published} published, {books.handled} handled, {books.twice} twice; the longest wait"
            f" {books.longest:.2f} s (bar {SCENES[name].within:g} s), {books.befell} times {SCENES[name].befalls or '-'}",
            flush=True,
        )
        for problem in books.problems:
            print("  PROBLEM:", problem)
        problems += len(books.problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
