"""Promises 3, 4 and 6 under one fault after the other: what was confirmed is handled, and both sides go on.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from redis.exceptions import RedisError

from fluxa_fast import Engine, Event, EventBroker, EventConsumer, FlushError, FluxaError, Recovery
from tests.proxy import Proxy

if sys.platform == "win32":
    pytest.skip("faults of POSIX processes", allow_module_level=True)

from tests.fix_servers import PROGRAMS
from tests.ledger.faults import FAULTS, Site, persistent_server
from tests.ledger.worker import left_after

MakeEngine = Callable[..., Engine]

pytestmark = pytest.mark.slow

_BEFORE, _DURING = 0.1, 0.45  # seconds


@pytest.fixture(params=sorted(PROGRAMS))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with persistent_server(PROGRAMS[request.param], tmp_path) as server:
        site = Site(server, Proxy(server.port, recording=False))
        yield site
        site.proxy.close()


class Producing(threading.Thread):
    """Flushes number after number until told to stop, and what is not confirmed again.

    Attributes:
        options: of `flush`.
        confirmed: numbers.
    """

    options: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, broker: EventBroker) -> None:
        super().__init__()
        self.confirmed: set[int] = set()
        self.stopping = threading.Event()
        self._flusher = broker.new_flusher()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            waiting = list(range(number, number + 5))
            number += 5
            for one in waiting:
                self._flusher.publish("orders", one)
            while waiting:
                waiting = self._left(waiting)
            time.sleep(0.005)

    def _left(self, waiting: list[int]) -> list[int]:
        try:
            self._flusher.flush(**self.options)
        except FlushError as error:
            left = left_after(error, waiting)
            self.confirmed.update(set(waiting) - set(left))
            time.sleep(0.05)
            return left
        self.confirmed.update(waiting)
        return []


class Consuming(threading.Thread):
    """Consumes until told to stop; what the server refuses is tried again."""

    def __init__(self, consumer: EventConsumer[int]) -> None:
        super().__init__()
        self.handled: set[int] = set()
        self.failures: list[Exception] = []
        self._consumer = consumer
        self._stopping = threading.Event()

    def handle(self, events: Sequence[Event[int]]) -> None:
        self.handled.update(event.body for event in events)

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consumer.run(self.handle, count=50)
            except RedisError as error:
                self.failures.append(error)
                time.sleep(0.05)

    def stop(self) -> None:
        self._stopping.set()
        self._consumer.stop()
        self.join()


@pytest.mark.parametrize("how", ["consume", "run"])
def test_promise_7_a_byte_that_is_not_what_the_server_sent(make_engine: MakeEngine, site: Site, how: str) -> None:
    """Whichever byte it is, there is an error or none; in the end every event was handled, and none is left.

    (A changed letter in a body is noticed by TCP only.)
    """
    direct = make_engine(site.server.url).new_context().get_event_broker()
    bodies = ["one", ["two", 2], {"three": 3}]
    with site.admin() as admin:
        for at in range(0, 420, 5):
            for body in bodies:
                direct.publish("orders", body)
            address = f"redis://127.0.0.1:{site.proxy.port}?protocol=2"
            engine = make_engine(address, socket_timeout=0.1)
            consumer = (
                engine.new_context().get_event_broker().consumer_single("orders", recovery=Recovery(deadline=0.0))
            )
            seen: list[object] = []

            def handle(
                events: Sequence[Event[object]], seen: list[object] = seen, consumer: EventConsumer[object] = consumer
            ) -> None:
                consumer.stop()
                seen.extend(event.body for event in events)

            site.proxy.corrupt_down = at
            with contextlib.suppress(RedisError, FluxaError, ValueError, UnicodeError):
                consumer.consume(3, 0.01, handle) if how == "consume" else consumer.run(handle, 3)
            site.proxy.heal()
            engine.close()
            while direct.consumer_single("orders").consume(3, None, handle):  # it has the same name
                pass
            assert len(seen) >= 3, (at, seen)
            assert admin.xlen("orders") == 0, at
            assert admin.xpending("orders", "consumer_group")["pending"] == 0


@pytest.mark.any_server
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_may_come_before_there_is_a_stream(site: Site, name: str) -> None:
    """Workers of the ledger may be slower to start than the first fault is to come."""
    with FAULTS[name].context(site):
        pass
    with site.admin() as admin:
        admin.xadd("orders", {"_": ""})


# What a consumer tells its caller instead of waiting, because waiting does not cure it.
_TOLD = {"denied", "key replaced"}


@pytest.mark.parametrize("name", FAULTS)
def test_promises_3_4_and_6_under_faults(make_engine: MakeEngine, site: Site, name: str) -> None:
    fault = FAULTS[name]
    broker = make_engine(f"127.0.0.1:{site.proxy.port}", socket_timeout=0.4).new_context().get_event_broker()
    consumer = broker.consumer_single("orders", recovery=Recovery(deadline=20.0, base=0.01, cap=0.1))
    producing, consuming = Producing(broker), Consuming(consumer)
    producing.start()
    consuming.start()
    try:
        time.sleep(_BEFORE)
        with fault.context(site):
            time.sleep(_DURING)
        site.proxy.heal()
        before = set(producing.confirmed)
        end = time.monotonic() + 20.0
        while producing.confirmed <= before and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        producing.stopping.set()
        producing.join()
    wanted = producing.confirmed if fault.keeps_data else producing.confirmed - before
    assert wanted, "the producer did not go on"
    with site.admin() as admin:
        end = time.monotonic() + 20.0
        while admin.xlen("orders") and time.monotonic() < end:
            time.sleep(0.01)
        consuming.stop()
        assert not wanted - consuming.handled
        assert admin.xlen("orders") == 0
        assert admin.xpending("orders", "consumer_group")["pending"] == 0
    if name not in _TOLD:
        assert not consuming.failures
