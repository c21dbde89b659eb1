"""Programs that collect events: ``python -m tests.isolated.unflushed NAME URL``.

Those called ``ends...`` leave two events in a flusher when the interpreter ends. Those called ``forks...`` fork with
events in one, and check what the server has then.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import redis

from fluxa_fast import FluxaError
from tests.isolated.programs import broker_of

PROGRAMS: dict[str, Callable[[str], None]] = {}
keep: list[Any] = []


def program(function: Callable[[str], None]) -> Callable[[str], None]:
    PROGRAMS[function.__name__] = function
    return function


def _buffer(url: str, *, eager: bool = False) -> Any:
    flusher = broker_of(url).new_flusher(eager=eager)
    flusher.publish_many("orders", [1, 2])
    return flusher


# ---- the end of the interpreter -------------------------------------------------------------------------


@program
def ends_with_one_in_a_module(url: str) -> None:
    keep.append(_buffer(url))


@program
def ends_with_an_eager_one(url: str) -> None:
    keep.append(_buffer(url, eager=True))


@program
def ends_with_one_in_a_cycle(url: str) -> None:
    cycle: list[Any] = [_buffer(url)]
    cycle.append(cycle)


@program
def ends_with_one_in_another_module(url: str) -> None:
    asyncio.flusher = _buffer(url)  # type: ignore[attr-defined]


@program
def ends_with_one_in_a_daemon_thread(url: str) -> None:
    ready = threading.Event()

    def work() -> None:
        flusher = _buffer(url)
        ready.set()
        time.sleep(1000)
        flusher.flush()

    threading.Thread(target=work, daemon=True).start()
    assert ready.wait(30)


@program
def ends_by_an_exit(url: str) -> None:
    keep.append(_buffer(url))
    sys.exit(0)


@program
def ends_with_one_of_asyncio(url: str) -> None:
    async def main() -> None:
        flusher = broker_of(url, "fluxa_fast.asyncio").new_flusher()
        await flusher.publish_many("orders", [1, 2])
        keep.append(flusher)

    asyncio.run(main())


# ---- forks ----------------------------------------------------------------------------------------------


def _in_child(work: Callable[[], None]) -> None:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _length(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.xlen("orders"))


@program
def forks_and_both_flush(url: str) -> None:
    flusher = broker_of(url).new_flusher()
    flusher.publish_many("orders", [1, 2, 3])

    def child() -> None:
        assert len(flusher) == 0
        assert flusher.size == 0
        assert len(flusher.flush()) == 0

    _in_child(child)
    assert len(flusher) == 3
    assert len(flusher.flush()) == 3
    assert _length(url) == 3


@program
def forks_and_the_child_collects_on(url: str) -> None:
    flusher = broker_of(url).new_flusher()
    publish = flusher.publish  # as programs keep it, for speed
    flusher.publish("orders", "parent")

    def child() -> None:
        publish("orders", "child")
        assert len(flusher) == 1
        assert len(flusher.flush()) == 1

    _in_child(child)
    flusher.flush()
    with redis.Redis.from_url(url) as client:
        assert sorted(fields[b"s"][1:] for _, fields in client.xrange("orders")) == [b"child", b"parent"]


@program
def forks_with_an_eager_one(url: str) -> None:
    flusher = broker_of(url).new_flusher(eager=True)
    flusher.publish_many("orders", ["x" * 100] * 1000)  # some of them are on their way already

    def child() -> None:
        assert len(flusher) == 0
        flusher.publish_many("orders", ["x" * 100] * 1000)
        assert len(flusher.flush()) == 1000

    _in_child(child)
    assert len(flusher.flush()) == 1000
    assert _length(url) == 2000


@program
def forks_after_a_flush_that_failed(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set("orders", "not a stream")
        flusher = broker_of(url).new_flusher()
        flusher.publish("orders", 1)
        try:
            flusher.flush()
        except Exception:
            client.delete("orders")

    def child() -> None:
        assert flusher.discard_refused() == 0
        assert len(flusher.flush()) == 0

    _in_child(child)
    assert len(flusher.flush()) == 1
    assert _length(url) == 1


@program
def forks_while_the_flusher_of_another_thread_flushes(url: str) -> None:
    """What the thread was sending is not the child's. Where it was writing, the child is told to make a new flusher."""
    broker = broker_of(url)
    flusher = broker.new_flusher()
    over = threading.Event()
    flushed = []

    def work() -> None:
        while not over.is_set():
            flusher.publish_many("orders", ["x" * 1000] * 500)
            flushed.append(len(flusher.flush()))

    def child() -> None:
        own = flusher
        try:
            own.flush()
        except FluxaError:
            own = broker.new_flusher()
        own.publish("users", 1)
        assert len(own.flush()) == 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while not flushed:
        time.sleep(0.01)
    for _ in range(20):
        _in_child(child)
    over.set()
    thread.join()
    assert broker.get_stream_statistics("users").len == 20
    assert _length(url) == sum(flushed)


@program
def forks_within_a_generator_of_publish_many(url: str) -> None:
    """Then the child's copy can't be emptied: it refuses to flush, so that nothing goes out twice."""
    flusher = broker_of(url).new_flusher()
    flusher.publish("orders", 0)

    def child() -> None:
        try:
            flusher.flush()
        except FluxaError as error:
            assert "in the child" in str(error)
        else:
            raise AssertionError("it was flushed")

    def bodies() -> Any:
        yield 1
        _in_child(child)
        yield 2

    flusher.publish_many("orders", bodies())
    assert len(flusher.flush()) == 3
    assert _length(url) == 3


@program
def forks_and_the_child_ends_without_a_warning(url: str) -> None:
    flusher = _buffer(url)

    def child() -> None:
        nonlocal flusher
        del flusher

    _in_child(child)
    child_id = os.fork()
    if child_id == 0:
        sys.exit(0)  # with all that Python does at its end
    assert os.waitstatus_to_exitcode(os.waitpid(child_id, 0)[1]) == 0
    flusher.flush()
    assert _length(url) == 2


@program
def forks_with_asyncio(url: str) -> None:
    broker = broker_of(url, "fluxa_fast.asyncio")

    async def collect() -> Any:
        flusher = broker.new_flusher()
        await flusher.publish_many("orders", [1, 2, 3])
        return flusher

    with asyncio.Runner() as runner:
        flusher = runner.run(collect())

        def child() -> None:
            assert len(flusher) == 0
            flusher.publish("orders", 4)
            assert len(asyncio.run(flusher.flush())) == 1

        _in_child(child)
        assert len(runner.run(flusher.flush())) == 3
    assert _length(url) == 4


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
