"""The process of a contender. It reads tasks as lines of JSON, and writes the measured times of each."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from .bodies import BODIES
from .contenders.client import Client
from .usage import timed


def _timed(client: Any, call: Callable[[], object]) -> dict[str, float | None]:
    return {**timed(call)._asdict(), "lag": getattr(client, "worst_lag", None)}


class Tasks:
    """The tasks of a worker. Arguments and results are JSON."""

    def __init__(self, make_client: Callable[[], Client]) -> None:
        self._make_client = make_client
        self._client = make_client()
        self._clients = [self._client]  # of threads

    def publish(self, body: str, events: int, batch: int) -> Any:
        self._client.prepare_publish(BODIES[body], batch)
        return _timed(self._client, lambda: self._client.publish(BODIES[body], events, batch))

    def publish_concurrently(self, body: str, events: int, tasks: int) -> Any:
        client: Any = self._client
        return _timed(client, lambda: client.publish_concurrently(BODIES[body], events, tasks))

    def publish_in_threads(self, body: str, events: int, batch: int, threads: int) -> Any:
        while len(self._clients) < threads:
            self._clients.append(self._make_client())
        clients = self._clients[:threads]
        for client in clients:
            client.prepare_publish(BODIES[body], batch)

        def publish() -> None:
            arguments = (BODIES[body], events // threads, batch)
            running = [threading.Thread(target=client.publish, args=arguments) for client in clients]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()

        return _timed(self._client, publish)

    def fill(self, body: str, events: int) -> Any:
        self._client.publish(BODIES[body], events, 1)

    def latencies(self, body: str, events: int) -> Any:
        self._client.prepare_publish(BODIES[body], 1)
        return self._client.latencies(BODIES[body], events)

    def consume(self, events: int, count: int) -> Any:
        self._client.prepare_consume(events, count)
        return _timed(self._client, lambda: self._client.consume(events, count))

    def parse(self, body: str, pieces: int) -> Any:
        from .inside import parse

        return parse(BODIES[body], pieces)

    def memory(self, events: int, rounds: int) -> Any:
        from .inside import memory

        return memory(self._client, BODIES["dict 32 B"], events, rounds)


def main() -> None:
    module, url, *arguments = sys.argv[1:]
    contender = importlib.import_module(f"{__package__}.contenders.{module}")
    tasks = Tasks(lambda: contender.Client(url, *arguments))
    answers = sys.stdout
    sys.stdout = sys.stderr  # so that nothing that a client prints is taken for a result
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        task, parameters = json.loads(line)
        print(json.dumps(getattr(tasks, task)(**parameters)), file=answers, flush=True)


if __name__ == "__main__":
    main()
