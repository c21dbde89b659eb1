"""Events that are collected and never flushed are told of, and those that were collected before a fork go out once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from fluxa_fast import EventBroker, FlushError
from fluxa_fast.protocol import Implementation
from tests.isolated import unflushed

UNFLUSHED = "a flusher was dropped"  # the connections of these programs are not closed, and redis-py warns of that

EAGER = pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])


@contextmanager
def told() -> Iterator[list[str]]:
    """The texts of the ResourceWarnings that come in the block, and when what it leaves behind is collected."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
        gc.collect()
        texts += [str(one.message) for one in caught if one.category is ResourceWarning]


@EAGER
def test_a_flusher_that_is_dropped_with_events_in_it_says_how_many_and_for_which_streams(
    broker: EventBroker, client: redis.Redis, eager: bool
) -> None:
    with told() as texts:
        flusher = broker.new_flusher(eager=eager)
        flusher.publish_many("orders", range(3))
        flusher.publish("users", 1)
        del flusher
    (text,) = texts
    assert "dropped with 4 events that were not flushed: 3 for stream 'orders', 1 for stream 'users'" in text
    assert "flush()" in text
    assert "clear()" in text
    assert ("eager" in text) is eager


def test_one_event_of_a_partitioned_stream_is_told_of_by_the_stream(
    faces: Any, server_url: str, client: redis.Redis
) -> None:
    registry = faces.Registry()
    registry.register_redis(server_url)
    registry.register_redis_stream("orders", partitions=3)
    with registry.validate() as engine:
        with told() as texts:
            flusher = engine.new_context().get_event_broker().new_flusher()
            for number in range(9):
                flusher.publish("orders", number, key=number)
            del flusher
        (text,) = texts
        assert "9 for stream 'orders';" in text
        with told() as texts:
            flusher = engine.new_context().get_event_broker().new_flusher()
            flusher.publish("orders", 1)
            del flusher
        (text,) = texts
        assert "1 event that was not flushed: 1 for stream 'orders'" in text


def test_of_very_many_events_the_streams_of_the_first_are_named(broker: EventBroker) -> None:
    with told() as texts:
        flusher = broker.new_flusher()
        flusher.publish_many("orders", range(10_000))
        flusher.publish_many("users", range(5))
        del flusher
    (text,) = texts
    assert "10005 events that were not flushed: the first 10000 are for 'orders'" in text


@EAGER
@pytest.mark.parametrize(
    "settle",
    [lambda flusher: flusher.flush(), lambda flusher: flusher.clear(), lambda flusher: None],
    ids=["flushed", "cleared", "empty"],
)
def test_a_flusher_without_events_is_dropped_without_a_warning(
    broker: EventBroker, client: redis.Redis, settle: Callable[[Any], object], eager: bool
) -> None:
    with told() as texts:
        flusher = broker.new_flusher(eager=eager)
        if settle(flusher) is not None:
            flusher.publish("orders", 1)
            settle(flusher)
        del flusher
    assert texts == []


def test_events_that_a_failed_flush_has_left_are_warned_of(broker: EventBroker, client: redis.Redis) -> None:
    client.set("users", "not a stream")
    with told() as texts:
        flusher = broker.new_flusher()
        flusher.publish("orders", 1)
        flusher.publish("users", 1)
        with pytest.raises(FlushError):
            flusher.flush()
        del flusher
    (text,) = texts
    assert "1 event that was not flushed: 1 for stream 'users'" in text


def test_a_block_that_an_exception_leaves_sends_nothing_and_needs_no_warning(
    broker: EventBroker, client: redis.Redis
) -> None:
    with told() as texts:
        with pytest.raises(KeyError), broker.new_flusher() as flusher:
            flusher.publish("orders", 1)
            raise KeyError
        assert len(flusher) == 1
        del flusher
    assert texts == []
    client.set("users", "not a stream")
    with told() as texts:
        with pytest.raises(FlushError), broker.new_flusher() as flusher:
            flusher.publish("users", 1)
        del flusher
    assert texts == []


def test_events_that_are_collected_after_such_a_block_are_warned_of(broker: EventBroker, client: redis.Redis) -> None:
    with told() as texts:
        with pytest.raises(KeyError), broker.new_flusher() as flusher:
            flusher.publish("orders", 1)
            raise KeyError
        flusher.publish("orders", 2)
        del flusher
    (text,) = texts
    assert "2 events" in text
    with told() as texts:
        with pytest.raises(KeyError), broker.new_flusher() as flusher:
            flusher.publish_many("orders", [1, 2, 3])
            raise KeyError
        flusher.flush()
        flusher.publish("orders", 2)
        del flusher
    (text,) = texts
    assert "1 event " in text


@EAGER
def test_a_flusher_is_freed_as_soon_as_it_is_dropped(broker: EventBroker, eager: bool) -> None:
    """It is in no cycle of references: otherwise the warning would come when the collector runs."""
    gc.disable()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            flusher = broker.new_flusher(eager=eager)
            flusher.publish("orders", 1)
            del flusher
            assert len(caught) == 1
    finally:
        gc.enable()


# ---- processes ------------------------------------------------------------------------------------------


def _run(program: str, url: str, implementation: Implementation, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-m", unflushed.__name__, program, url],
        env={**os.environ, "FLUXA_FAST_IMPL": implementation.name},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.blocking
@pytest.mark.parametrize("program", [name for name in unflushed.PROGRAMS if name.startswith("ends")])
def test_the_end_of_the_interpreter_tells_of_them_once(
    implementation: Implementation, server_url: str, client: redis.Redis, program: str
) -> None:
    done = _run(program, server_url, implementation, "-W", f"default:{UNFLUSHED}:ResourceWarning")
    assert done.returncode == 0
    assert done.stderr.count("2 events that were not flushed: 2 for stream 'orders'") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.blocking
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("program", [name for name in unflushed.PROGRAMS if name.startswith("forks")])
def test_what_was_collected_before_a_fork_is_flushed_by_the_parent_only(
    implementation: Implementation, server_url: str, client: redis.Redis, program: str
) -> None:
    options = ("-W", "ignore::DeprecationWarning", "-W", f"default:{UNFLUSHED}:ResourceWarning")
    done = _run(program, server_url, implementation, *options)
    assert done.stderr == ""
    assert done.returncode == 0
