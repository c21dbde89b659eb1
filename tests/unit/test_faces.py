"""`fluxa_fast` and `fluxa_fast.asyncio` are the same: names, calls, arguments, defaults and docstrings.

A difference is allowed if one of the lists below has it, with its reason. An entry that no longer holds fails as well.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import fluxa_fast
import fluxa_fast.asyncio

# ---- what may differ ------------------------------------------------------------------------------------

ONLY_BLOCKING = {
    "__version__": "there is one version",
    "implementation": "there is one implementation at a time",
    "pack": "it does not wait for anything",
    "unpack": "it does not wait for anything",
}
"""Names that `fluxa_fast.asyncio` does not have."""

AWAITED = {
    "Engine.close",
    "EventBroker.get_stream_statistics",
    "EventBroker.get_streams_statistics",
    "EventBroker.publish",
    "EventBroker.remove_group",
    "EventBroker.seek",
    "EventConsumer.auto_claim",
    "EventConsumer.cleanup",
    "EventConsumer.consume",
    "EventConsumer.run",
    "EventFlusher.flush",
    "EventFlusher.publish_many",
    "EventProducer.close",
    "EventProducer.flush",
    "EventProducer.publish_many",
    "TypedStream.publish",
}
"""What is a coroutine function in `fluxa_fast.asyncio`, beside entering and leaving a block."""

NAMES = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
"""Names of methods in asyncio, and what they are called in blocking use."""

WORDS = {
    "The tasks of one event loop": "Threads",
    "tasks": "threads",
    "task": "thread",
    "an ``async with``": "a ``with``",
    "`aclose`": "`close`",
}
"""Words in docstrings of asyncio, and what is said in their places for blocking use; longer ones come first."""

RETURN = "return"

PARAMETERS = {
    ("EventConsumer.batches", RETURN): "an asynchronous iterator has `aclose`, which is awaited",
    ("EventBroker.read", RETURN): "an asynchronous iterator is awaited",
    ("EventConsumer.run", "concurrency"): "handlers run at the same time only where they are awaited",
    ("EventProducer.publish", RETURN): "what is awaited only if there is no room, and so is no coroutine function",
    ("EventProducer.publish_confirmed", RETURN): "asyncio has futures of its own",
    ("TypedStream.produce", RETURN): "as `EventProducer.publish`",
    ("EventFlusher.publish_many", "first"): "asyncio divides the bodies into parts itself",
    ("EventFlusher.publish_many", "key"): "keyword-only in asyncio, because `first` is not before it",
}
"""Parameters that differ, or that only one of the packages has."""

NOT_COMPARED = {
    "EventConsumer": "most of its docstrings say what Ctrl-C, or a cancelled task, leaves behind",
}
"""Classes whose docstrings are not compared. Their methods, parameters and defaults are."""


class Difference(NamedTuple):
    """A part of a docstring that differs; an empty text if one of the packages does not have it."""

    where: str
    blocking: str
    asyncio: str
    reason: str


DIFFERENCES = [
    Difference(
        "Engine",
        "",
        " In a new event loop (a second `asyncio.run`) it makes new connections; `aclose` before the old one ends. Two"
        " loops that run at the same time need an engine each: the second one is refused with a FluxaError.",
        "only asyncio has event loops",
    ),
    Difference(
        "Engine.close",
        "",
        " FluxaError: if another event loop uses the engine, and is running. Nothing was closed.",
        "only asyncio has event loops",
    ),
    Difference(
        "EventBroker",
        "A flusher or consumer that it hands out belongs to one thread at a time.",
        "A flusher that it hands out may be shared as well; a consumer belongs to one task at a time.",
        "tasks can share a flusher, because they are never in the middle of collecting an event",
    ),
    Difference("EventBroker.register_body", "", " Nothing to await.", "it looks like a call of a server"),
    Difference(
        "EventBroker.publish",
        "",
        " Events that several tasks publish at the same time go out together, over one connection of their own. If a"
        " task is cancelled (or times out) meanwhile, it can't know whether the server has the event, unless the event"
        " was not sent yet: then it is never sent.",
        "threads have a connection each, and can't be cancelled",
    ),
    Difference(
        "EventBroker.new_flusher",
        "; up to a third faster, but what was sent",
        ", once there is a connection; what was sent",
        "asyncio can't connect in `publish`, and gains less",
    ),
    Difference(
        "EventFlusher",
        ", so that the server does not wait for Python:",
        ", as soon as there is a connection:",
        "asyncio can't connect in `publish`",
    ),
    Difference(
        "EventFlusher",
        "It belongs to one thread.",
        "The tasks of one event loop may share it: events that they publish during a flush wait for the next one, and"
        " only one flush runs at a time.",
        "tasks can share a flusher, because they are never in the middle of collecting an event",
    ),
    Difference(
        "EventFlusher.publish_many",
        " They are serialised now. ",
        " Other tasks run in between, however many bodies there are. ",
        "asyncio lets other tasks run between the bodies, so that they are not serialised at one moment",
    ),
    Difference("EventFlusher.publish_many", "", ", nor after the task was cancelled", "threads can't be cancelled"),
    Difference(
        "EventFlusher.publish_many",
        " first: what errors call the first body, if the call is one of several for the same bodies.",
        "",
        "only blocking use has this argument",
    ),
    Difference(
        "EventFlusher.flush", "", " Pools are flushed at the same time.", "a thread flushes one pool after the other"
    ),
    Difference(
        "EventFlusher.flush",
        "",
        " Other tasks run in between, however many events there are.",
        "other threads always run in between",
    ),
    Difference("EventFlusher.flush", "another thread uses", "another event loop uses", "tasks can share a flusher"),
    Difference(
        "EventFlusher.flush",
        "",
        " asyncio.CancelledError: if the task was cancelled; the confirmed events have left the flusher.",
        "threads can't be cancelled",
    ),
    Difference("EventBroker.new_producer", "", " A coroutine function is awaited.", "only asyncio has them"),
    Difference(
        "EventProducer",
        "At the end of the process the rest",
        "When the event loop ends (`asyncio.run` cancels all tasks) the rest",
        "the tasks end with the event loop, before the process does",
    ),
    Difference(
        "EventProducer",
        ", and sends with a thread of its own",
        "",
        "a child has no event loop until it makes one",
    ),
    Difference("EventProducer.publish", "", " To await the call waits for room.", "only asyncio awaits"),
    Difference(
        "EventProducer.publish",
        "",
        ", or if another event loop uses the producer",
        "only asyncio has event loops",
    ),
    Difference("EventProducer.publish_many", "", " Other tasks run in between.", "other threads always do"),
    Difference(
        "EventProducer.publish_confirmed",
        " A future takes some 20 us: `on_delivery` costs next to nothing.",
        "",
        "asyncio's futures are cheap",
    ),
    Difference(
        "EventProducer.publish_confirmed",
        "The future of its ID.",
        "What gives its ID, when it is awaited.",
        "asyncio has futures of its own",
    ),
    Difference(
        "EventProducer.publish_confirmed",
        "Functions that are added to it run in the thread that sends, and so must be quick.",
        "To cancel it changes nothing about an event that was accepted.",
        "asyncio has futures of its own",
    ),
    Difference("Registry", "", " None of its methods is awaited.", "they look like calls of a server"),
    Difference("Registry.validate", "", "; no event loop is needed", "only asyncio has event loops"),
]


# ---- what is compared -----------------------------------------------------------------------------------

USERS_MAKE = ("Registry",)
"""Classes that users call. Objects of the other classes are made by the library."""

SPECIAL = {"__enter__", "__exit__", "__len__", "__bool__", "__call__", "__iter__", "__next__"}
"""The special methods that are public."""


def _classes() -> dict[str, tuple[type, type]]:
    """The public classes that each package has of its own, by name: blocking, asyncio."""
    pairs = {
        name: (getattr(fluxa_fast, name), getattr(fluxa_fast.asyncio, name)) for name in fluxa_fast.asyncio.__all__
    }
    return {name: pair for name, pair in pairs.items() if isinstance(pair[0], type) and pair[0] is not pair[1]}


CLASSES = _classes()


def _members(owner: type) -> dict[str, Any]:
    """The methods and properties that users see, by their blocking name."""
    members = {NAMES.get(name, name): getattr(owner, name) for name in dir(owner)}
    return {name: member for name, member in members.items() if not name.startswith("_") or name in SPECIAL}


MEMBERS = [
    f"{owner}.{name}"
    for owner, pair in CLASSES.items()
    for name in sorted(set.intersection(*map(set, map(_members, pair))))
]

DOCUMENTED = [one for one in (*CLASSES, *MEMBERS) if one.partition(".")[0] not in NOT_COMPARED]


def _pair(member: str) -> tuple[Any, Any]:
    owner, _, name = member.partition(".")
    blocking, asynchronous = CLASSES[owner]
    return (_members(blocking)[name], _members(asynchronous)[name]) if name else (blocking, asynchronous)


def _parameters(function: Callable[..., Any]) -> dict[str, tuple[object, ...]]:
    """The kind, default and type of every parameter, in their order, and the type of the result."""
    signature = inspect.signature(function)
    parameters = {each.name: (each.kind, each.default, each.annotation) for each in signature.parameters.values()}
    return {**parameters, RETURN: (signature.return_annotation,)}


def _said(documented: Any) -> str:
    """A docstring in one line."""
    return " ".join((inspect.getdoc(documented) or "").split())


def _whole(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def _as_blocking(member: str, blocking: str, asynchronous: str) -> tuple[str, str]:
    """Both docstrings, with what is allowed to differ in asyncio replaced by what stands in its place otherwise."""
    for difference in DIFFERENCES:
        if difference.where != member:
            continue
        if difference.asyncio:
            assert asynchronous.count(difference.asyncio) == 1, f"{asynchronous!r} has not {difference.asyncio!r}"
            asynchronous = asynchronous.replace(difference.asyncio, difference.blocking)
        else:
            assert blocking.count(difference.blocking) == 1, f"{blocking!r} has not {difference.blocking!r}"
            blocking = blocking.replace(difference.blocking, "")
    for word, its_blocking in WORDS.items():
        asynchronous = re.sub(_whole(word), its_blocking, asynchronous)
    return blocking, asynchronous


# ---- the tests ------------------------------------------------------------------------------------------


def test_both_have_the_same_names() -> None:
    assert set(fluxa_fast.__all__) - set(fluxa_fast.asyncio.__all__) == ONLY_BLOCKING.keys()
    assert set(fluxa_fast.asyncio.__all__) <= set(fluxa_fast.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_the_same_methods_and_properties(name: str) -> None:
    blocking, asynchronous = map(_members, CLASSES[name])
    assert sorted(asynchronous) == sorted(blocking)
    for member in blocking:
        assert isinstance(blocking[member], property) == isinstance(asynchronous[member], property), member


@pytest.mark.parametrize("member", [*USERS_MAKE, *(one for one in MEMBERS if not isinstance(_pair(one)[0], property))])
def test_a_call_has_the_same_parameters_and_defaults(member: str) -> None:
    blocking, asynchronous = map(_parameters, _pair(member))
    for of, name in PARAMETERS:
        if of == member:
            assert blocking.pop(name, None) != asynchronous.pop(name, None), f"{name} is no longer a difference"
    assert list(asynchronous.items()) == list(blocking.items())


@pytest.mark.parametrize("member", DOCUMENTED)
def test_the_docstrings_are_the_same(member: str) -> None:
    for documented, foreign in zip(_pair(member), (WORDS.keys(), WORDS.values()), strict=True):
        assert not [word for word in foreign if re.search(_whole(word), _said(documented))], "words of the other one"
    blocking, asynchronous = _as_blocking(member, *map(_said, _pair(member)))
    assert asynchronous.split(". ") == blocking.split(". ")


def test_what_is_awaited_is_known() -> None:
    pairs = {member: _pair(member) for member in MEMBERS if member.partition(".")[2] not in SPECIAL}
    assert {
        member for member, (_, asynchronous) in pairs.items() if inspect.iscoroutinefunction(asynchronous)
    } == AWAITED
    assert not {member for member, (blocking, _) in pairs.items() if inspect.iscoroutinefunction(blocking)}


def test_every_difference_is_that_of_something_compared() -> None:
    assert {difference.where for difference in DIFFERENCES} <= set(DOCUMENTED)
    assert {member for member, _ in PARAMETERS} | AWAITED <= set(MEMBERS)
    assert NOT_COMPARED.keys() <= CLASSES.keys()
