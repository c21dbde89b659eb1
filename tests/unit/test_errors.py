"""Errors cross processes: what a task raises is pickled by multiprocessing, ProcessPoolExecutor and Celery."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import redis

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import (
    DeliveryTimeoutError,
    FiltersDifferError,
    FlushError,
    FlushResult,
    FluxaError,
    GroupRemovedError,
    ImplementationWarning,
    LeaseLostError,
    NotReplicatedError,
    PartitionsDifferError,
    ProducerFullError,
    ProtocolError,
    RefusedEvent,
    RegistryError,
    SerializationError,
    UnconfirmedEvents,
    UnregisteredStreamError,
)
from fluxa_fast.flows.publish.pipeline import FlushReplies
from fluxa_fast.flows.replies import error_of
from fluxa_fast.protocol import Implementation
from fluxa_fast.protocol.interface import ErrorReply

_WAYS: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(lambda one, protocol=protocol: pickle.loads(pickle.dumps(one, protocol)) for protocol in range(6)),
]
EVERY_WAY = pytest.mark.parametrize("again", _WAYS, ids=["copy", "deepcopy", *(f"pickle{n}" for n in range(6))])

REFUSED = RefusedEvent(2, "orders", "default", redis.ResponseError("WRONGTYPE of a key"), "WRONGTYPE")
LOST = UnconfirmedEvents("default", range(3, 5), redis.ConnectionError("it broke"))
SAMPLES = {
    FluxaError: [FluxaError("something"), FluxaError()],
    ImplementationWarning: [ImplementationWarning("slow")],
    RegistryError: [RegistryError(["one", "two"]), RegistryError(["one"])],
    UnregisteredStreamError: [UnregisteredStreamError("orders"), UnregisteredStreamError(5)],
    GroupRemovedError: [GroupRemovedError("orders", "billing")],
    LeaseLostError: [LeaseLostError("orders:0of2:{1}")],
    ProtocolError: [ProtocolError("not RESP")],
    SerializationError: [SerializationError("too deep", "body[0]", "orders"), SerializationError("too deep")],
    NotReplicatedError: [NotReplicatedError("default", 1, 2, 0.5)],
    FiltersDifferError: [FiltersDifferError("orders", "eu", None, {"region": ["eu"]}, "{orders}:where@eu")],
    PartitionsDifferError: [PartitionsDifferError("orders", 4, 3, "{orders}:partitions")],
    ProducerFullError: [ProducerFullError("default", 1000, 150_000)],
    DeliveryTimeoutError: [DeliveryTimeoutError("flush", 3, 2.0, "3 for stream 'orders'")],
    FlushError: [FlushError(FlushResult((), {}), [REFUSED], [LOST]), FlushError(FlushResult((), {}), [], [LOST])],
}
ERRORS = [
    value
    for name in fluxa_fast.__all__
    if isinstance(value := getattr(fluxa_fast, name), type) and issubclass(value, BaseException)
]


def told(value: Any) -> Any:
    """What can be compared of an error, or of what one has."""
    if isinstance(value, BaseException):
        return type(value), str(value), repr(value.args), told(vars(value))
    if isinstance(value, (RefusedEvent, UnconfirmedEvents)):
        return type(value), [told(getattr(value, name)) for name in type(value).__slots__]
    if isinstance(value, FlushResult):
        return FlushResult, list(value)
    if isinstance(value, dict):
        return {name: told(one) for name, one in value.items()}
    return [told(one) for one in value] if isinstance(value, (list, tuple)) else value


@EVERY_WAY
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_survives_a_copy_with_all_that_it_says(error: type[Exception], again: Callable[[Any], Any]) -> None:
    for sample in SAMPLES[error]:
        assert told(again(sample)) == told(sample)


@EVERY_WAY
def test_notes_and_other_attributes_survive(again: Callable[[Any], Any]) -> None:
    error = UnregisteredStreamError("orders")
    error.add_note("in the nightly import")
    error.attempt = 3  # type: ignore[attr-defined]
    copied = again(error)
    assert copied.__notes__ == ["in the nightly import"]
    assert copied.attempt == 3


class OwnError(FluxaError):
    """One of a user, which is made in another way."""

    def __init__(self, *, number: int) -> None:
        self.number = number
        super().__init__(f"number {number}")


@EVERY_WAY
def test_a_subclass_with_other_arguments_survives(again: Callable[[Any], Any]) -> None:
    copied = again(OwnError(number=4))
    assert type(copied) is OwnError
    assert (copied.number, str(copied)) == (4, "number 4")


@EVERY_WAY
@pytest.mark.parametrize("part", [REFUSED, LOST], ids=["refused", "unconfirmed"])
def test_the_parts_of_a_flush_error_survive(part: Any, again: Callable[[Any], Any]) -> None:
    assert told(again(part)) == told(part)


@EVERY_WAY
@pytest.mark.parametrize(
    "message",
    [
        "OOM command not allowed", "READONLY You can't write", "LOADING Redis is loading", "MOVED 7 127.0.0.1:7001", "ASK 7 127.0.0.1:7001",
        "CLUSTERDOWN Hash slot not served", "TRYAGAIN Multiple keys", "MASTERDOWN Link", "NOPERM No permissions", "WRONGTYPE Operation", "BUSY a script",
        "MISCONF no disk", "NOREPLICAS Not enough", "NOAUTH Authentication required.", "ERR unknown command", "x",
    ],
)  # fmt: skip
def test_what_a_server_has_refused_survives(message: str, again: Callable[[Any], Any]) -> None:
    refused = RefusedEvent(0, "orders", "default", error_of(ErrorReply(message)))
    assert told(again(refused)) == told(refused)


@EVERY_WAY
def test_a_result_survives_with_its_ids(implementation: Implementation, again: Callable[[Any], Any]) -> None:
    reader = implementation.ReplyReader()
    reader.feed(b"$3\r\n1-0\r\n-ERR no\r\n$3\r\n2-0\r\n")
    replies = implementation.Confirmations(3)
    assert replies.take(reader)
    copied = again(FlushResult([(0, 3)], {0: FlushReplies(replies, False)}))
    assert type(copied) is FlushResult
    assert copied.ids == list(copied) == ["1-0", "2-0"]
    assert (len(copied), repr(copied)) == (2, "<FlushResult: 2 events>")
    assert copied[1] == "2-0"


def test_both_faces_have_the_same_errors() -> None:
    for error in ERRORS:
        assert getattr(fluxa_fast.asyncio, error.__name__) is error


# ---- what a FlushError advises --------------------------------------------------------------------------


def advice(*refused: str, unconfirmed: bool = False) -> str:
    """What is advised after these messages of the server."""
    events = []
    for position, message in enumerate(refused):
        reply = ErrorReply(message)
        events.append(RefusedEvent(position, "orders", "default", error_of(reply), reply.code))
    text = str(FlushError(FlushResult((), {}), events, [LOST] if unconfirmed else []))
    return text.partition("what was not confirmed stays in the flusher: ")[2]


def test_what_is_unconfirmed_is_sent_again() -> None:
    assert advice(unconfirmed=True) == "call flush() again; what is unconfirmed may be published twice by that"


@pytest.mark.parametrize(
    ("message", "when"),
    [
        ("OOM command not allowed", "the server has memory again"),
        ("READONLY You can't write against a read only replica.", "there is a master again (this server is a replica)"),
        ("LOADING Redis is loading the dataset in memory", "the server has loaded its data"),
        ("BUSY Redis is busy running a script.", "the slow script on the server has ended"),
        ("MISCONF Redis is configured to save RDB snapshots", "the server can write to its disk again"),
        ("NOREPLICAS Not enough good replicas to write.", "enough replicas are connected again"),
        ("MASTERDOWN Link with MASTER is down", "the replica has its master again"),
        ("CLUSTERDOWN Hash slot not served", "the cluster serves all its slots again"),
        ("TRYAGAIN Multiple keys request", "the slot has moved"),
        ("MOVED 7 127.0.0.1:7001", "the slot has moved"),
        ("ASK 7 127.0.0.1:7001", "the slot has moved"),
    ],
)
def test_what_is_refused_for_now_is_sent_again_when_the_cause_is_over(message: str, when: str) -> None:
    assert advice(message, message) == f"call flush() again when {when}"


def test_events_that_are_refused_for_good_are_mended_or_dropped() -> None:
    assert (
        advice("WRONGTYPE Operation")
        == "mend the cause of WRONGTYPE or call discard_refused(), then call flush() again"
    )
    assert advice("NOPERM no", "WRONGTYPE no") == (
        "mend the cause of NOPERM, WRONGTYPE or call discard_refused(), then call flush() again"
    )
    assert advice("something else") == "mend the cause or call discard_refused(), then call flush() again"


def test_advice_for_several_fates() -> None:
    assert advice("OOM no", "WRONGTYPE no", unconfirmed=True) == (
        "mend the cause of WRONGTYPE (discard_refused() would drop what is refused for now, too), "
        "then call flush() again when the server has memory again; what is unconfirmed may be published twice by that"
    )


def test_the_first_refusal_is_told_with_its_code() -> None:
    refused = RefusedEvent(0, "orders", "default", error_of(ErrorReply("OOM command not allowed")), "OOM")
    assert "first refusal: stream 'orders' on pool 'default': OOM command not allowed;" in str(
        FlushError(FlushResult((), {}), [refused], [])
    )
    assert "on pool 'default': WRONGTYPE of a key;" in str(FlushError(FlushResult((), {}), [REFUSED], []))
