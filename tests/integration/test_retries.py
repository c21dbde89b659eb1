"""Retries are ours alone: whatever a client of redis-py would do by itself, the server is told everything once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.asyncio.retry import Retry as AwaitedRetry
from redis.backoff import AbstractBackoff, ConstantBackoff
from redis.exceptions import ConnectionError, ResponseError, TimeoutError
from redis.retry import Retry

from fluxa_fast import Engine, EventBroker, FlushError, Recovery
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.flows.replies import error_of
from fluxa_fast.flows.retry import Backoff, Outage, recovered, shared_delay
from fluxa_fast.flows.steps import Disconnect, Pause
from fluxa_fast.protocol.interface import ErrorReply
from tests.awaited import Faces
from tests.proxy import Proxy

MakeEngine = Callable[..., Engine]


def calls(server: EmbeddedServer, *commands: str) -> int:
    """How often the server has executed one of the commands since `CONFIG RESETSTAT`."""
    with server.client() as client:
        told = client.info("commandstats")
    return sum(told.get(f"cmdstat_{command}", {}).get("calls", 0) for command in commands)


@pytest.fixture(params=["default", "eager to retry"])
def broker(
    request: pytest.FixtureRequest,
    faces: Any,
    make_client: Callable[..., Any],
    make_engine: MakeEngine,
    own_server: EmbeddedServer,
    proxy: Proxy,
) -> Iterator[EventBroker]:
    """On a client of the user's own, as redis-py makes it, or with every retry that it can be told."""
    options: dict[str, Any] = {}
    if request.param != "default":
        retry = (AwaitedRetry if isinstance(faces, Faces) else Retry)(ConstantBackoff(0.01), 10)
        options = {"retry": retry, "retry_on_error": [ConnectionError, TimeoutError]}
    client = make_client(host="127.0.0.1", port=proxy.port, **options)
    broker = make_engine(client=client).new_context().get_event_broker()
    broker.publish("orders", "first")  # so that there is a connection, for asyncio one of each kind
    with broker.new_flusher() as flusher:
        flusher.publish("orders", "second")
    with own_server.client() as admin:
        admin.config_resetstat()
    yield broker
    proxy.heal()


def test_publish_is_sent_once(broker: EventBroker, own_server: EmbeddedServer, proxy: Proxy) -> None:
    proxy.cut_down = 1  # of the next bytes
    with pytest.raises(ConnectionError):
        broker.publish("orders", 1)
    assert calls(own_server, "xadd") == 1


def test_a_flush_is_sent_once(broker: EventBroker, own_server: EmbeddedServer, proxy: Proxy) -> None:
    flusher = broker.new_flusher()
    flusher.publish_many("orders", range(100))
    proxy.cut_down = 1
    with pytest.raises(FlushError) as caught:
        flusher.flush()
    assert sum(map(len, caught.value.unconfirmed)) == 100
    assert calls(own_server, "xadd") == 100
    proxy.cut_down = None
    assert len(flusher.flush()) == 100
    assert calls(own_server, "xadd") == 200


def test_a_read_is_sent_once_and_what_it_took_is_replayed(
    broker: EventBroker, own_server: EmbeddedServer, proxy: Proxy, later: Callable[..., None]
) -> None:
    consumer = broker.consumer_single("orders", recovery=Recovery(deadline=10.0, base=0.01, cap=0.05))
    bodies: list[Any] = []

    def handle(events: Any) -> None:
        bodies.extend(event.body for event in events)

    consumer.consume(10, None, handle)
    broker.publish("orders", "third")
    asked = proxy.forwarded.count(b"$1\r\n>\r\n")
    proxy.cut_down = 1
    later(0.3, proxy.heal)
    consumer.consume(10, None, handle)
    assert bodies == ["first", "second", "third"]
    # New ones are asked for twice: that reply was lost, and then it was known that there are no others.
    with own_server.client() as admin:
        assert admin.xpending("orders", "consumer_group")["pending"] == 0
    assert proxy.forwarded.count(b"$1\r\n>\r\n") == asked + 2


def test_block_is_longer_than_the_timeout_of_the_socket(
    make_client: Callable[..., Any],
    make_engine: MakeEngine,
    own_server: EmbeddedServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = make_client(port=own_server.port, socket_timeout=1)
    consumer = make_engine(client=client).new_context().get_event_broker().consumer_single("orders")
    assert consumer.consume(1, 2.5, print) == 0
    assert not caplog.records


# ---- back-off -------------------------------------------------------------------------------------------


class Recorded(AbstractBackoff):
    """A back-off of the user's own."""

    def __init__(self) -> None:
        self.computed: list[int] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def compute(self, failures: int) -> float:
        self.computed.append(failures)
        return 0.25


def _outage(recovery: Recovery, failures: int) -> list[float]:
    """The delays of an outage of so many failures."""
    left = failures

    def attempt() -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ConnectionError("gone")
        return "back"
        yield

    delays = []
    flow = recovered(recovery, Outage("a consumer"), attempt)
    try:
        step = next(flow)
        while True:
            if isinstance(step, Pause):
                delays.append(step.seconds)
            else:
                assert isinstance(step, Disconnect)
            step = flow.send(None)
    except StopIteration as end:
        assert end.value == "back"
    return delays


def test_a_back_off_of_redis_py_can_be_chosen() -> None:
    backoff = Recorded()
    recovery = Recovery(backoff=backoff)
    assert _outage(recovery, 3) == [0.25] * 3
    assert _outage(recovery, 1) == [0.25]
    assert backoff.computed == [0, 1, 2, 0]
    assert backoff.resets == 2


def test_an_error_that_passes_is_waited_for_when_redis_py_s_handshake_meets_it() -> None:
    """A connection to another database than 0 begins with SELECT, which a server with a slow script refuses."""

    def attempt() -> Any:
        attempts.append("attempt")
        if len(attempts) == 1:
            raise ResponseError(
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
            )
        if len(attempts) == 2:
            return "connected"
        raise ResponseError("ERR DB index is out of range")
        yield

    attempts: list[str] = []
    flow = recovered(Recovery(), Outage("a consumer"), attempt)
    assert isinstance(next(flow), Disconnect)
    assert isinstance(flow.send(None), Pause)
    with pytest.raises(StopIteration, match="connected"):
        flow.send(None)
    with pytest.raises(ResponseError, match="out of range"):
        next(recovered(Recovery(), Outage("a consumer"), attempt))


def test_an_outage_without_end_is_waited_for() -> None:
    """redis-py's own back-off overflows after a thousand failures."""
    delays = _outage(Recovery(deadline=float("inf")), 3000)
    assert len(delays) == 3000
    assert 0.025 <= delays[0] <= 0.05
    assert max(delays) <= 2.0
    assert min(delays[10:]) >= 1.0


# ---- what several connections of a consumer count -------------------------------------------------------

_MOVED = error_of(ErrorReply("MOVED 7 127.0.0.1:7001"))
_QUICK = Recovery(deadline=10.0, backoff=ConstantBackoff(0.5))


def test_five_redirections_in_a_row_are_followed_without_a_pause() -> None:
    backoff = Backoff(_QUICK, Outage("a consumer"))
    assert [backoff.next_delay(_MOVED) for _ in range(7)] == [0.0] * 5 + [0.5] * 2
    assert (backoff.failures, backoff.redirections) == (2, 7)
    backoff.end(over=True)
    assert (backoff.failures, backoff.redirections, backoff.began) == (0, 0, 0.0)
    assert backoff.next_delay(_MOVED) == 0.0


def test_a_redirection_that_one_of_several_has_met_too_often_is_an_outage_of_all() -> None:
    often, first = (Backoff(_QUICK, Outage("a consumer")) for _ in range(2))
    for _ in range(5):
        assert often.next_delay(_MOVED) == 0.0
    assert shared_delay([often, first], _MOVED) == 0.5
    assert (often.failures, first.failures) == (1, 1)


def test_several_that_meet_one_outage_wait_once_and_log_once(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()
    recovery, outage = Recovery(deadline=10.0, backoff=recorded), Outage("a consumer")
    backoffs = [Backoff(recovery, outage) for _ in range(3)]
    backoffs[0].next_delay(ConnectionError("gone"))
    assert shared_delay(backoffs, ConnectionError("gone")) == 0.25
    assert recorded.computed == [0, 1]  # of the one that has failed most often
    assert [one.failures for one in backoffs] == [2, 1, 1]
    for one in backoffs:
        one.end(over=True)
    assert [record.message.partition(",")[0] for record in caplog.records][:1] == ["a consumer is cut off"]
    assert len(caplog.records) == 2


def test_what_is_given_up_is_not_logged_as_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("a consumer")
    wrong_password = error_of(ErrorReply("WRONGPASS invalid username-password pair"))
    for recovery, error in ((Recovery(deadline=0), ConnectionError("gone")), (_QUICK, wrong_password)):
        backoff = Backoff(recovery, outage)
        with pytest.raises(type(error)) as caught:
            backoff.next_delay(error)
        assert caught.value is error
        backoff.end(over=False)
        assert backoff.failures == 0
    assert not caplog.records


def test_the_deadline_counts_from_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("fluxa_fast.flows.retry.time.monotonic", lambda: now)
    backoff = Backoff(_QUICK, Outage("a consumer"))
    assert backoff.next_delay(ConnectionError("gone")) == 0.5
    assert backoff.began == 100.0
    now = 109.4
    assert backoff.next_delay(TimeoutError("late")) == 0.5
    now = 109.6
    with pytest.raises(TimeoutError):
        backoff.next_delay(TimeoutError("late"))
    assert backoff.failures == 2
