"""Promise 8 in processes of their own: forks, patched sockets, and an end of the interpreter that nobody hears."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker
from fluxa_fast.protocol import Implementation
from tests.isolated.programs import PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.blocking
def test_promise_8(implementation: Implementation, server_url: str, client: redis.Redis, program: str) -> None:
    if "fork" in program and not hasattr(os, "fork"):
        pytest.skip("there is no fork")
    if "gevent" in program and not importlib.util.find_spec("gevent"):
        pytest.skip("there is no gevent")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",  # "use of fork() may lead to deadlocks": that is what is tested
            "-m",
            "tests.isolated.programs",
            program,
            server_url,
        ],
        env={**os.environ, "FLUXA_FAST_IMPL": implementation.name},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.blocking
def test_threads_each_with_a_flusher_and_a_consumer(broker: EventBroker, client: redis.Redis) -> None:
    """Of one broker."""
    seen: list[list[Any]] = [[] for _ in range(6)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            flusher = broker.new_flusher(eager=bool(number % 2))
            with broker.consumer_many("orders") as consumer:
                for turn in range(20):
                    flusher.publish_many("orders", [(number, turn, place) for place in range(100)])
                    assert len(flusher.flush()) == 100
                    consumer.consume(
                        200, None, lambda events: seen[number].extend(map(tuple, (e.body for e in events)))
                    )
                while consumer.consume(200, None, lambda events: seen[number].extend(tuple(e.body) for e in events)):
                    pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    handled = [event for part in seen for event in part]
    assert len(handled) == len(set(handled)) == 6 * 20 * 100
    assert client.xlen("orders") == 0


@pytest.mark.blocking
def test_a_flusher_is_handed_from_thread_to_thread(broker: EventBroker, client: redis.Redis) -> None:
    flusher = broker.new_flusher()
    for number in range(5):
        thread = threading.Thread(target=lambda number=number: (flusher.publish("orders", number), flusher.flush()))
        thread.start()
        thread.join()
    assert [fields[b"s"] for _, fields in client.xrange("orders")] == [b"%c" % number for number in range(5)]
