"""A subclass of a flusher may have its own `publish` and `publish_many`, and whatever replaces them is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import pytest
import redis

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import EventBroker
from tests.awaited import Faces

EAGER = pytest.mark.parametrize("eager", [False, True], ids=["collected", "eager"])


def _of(broker: Any, faces: Any, own: Callable[[Any], Any], *, eager: bool) -> tuple[Any, Callable[..., Any]]:
    """A flusher of a subclass of the face's own class, and what calls its methods."""
    awaited = isinstance(faces, Faces)
    base = (fluxa_fast.asyncio if awaited else fluxa_fast).EventFlusher
    flusher = own(base)(broker._routes, eager=eager)
    return flusher, faces.call if awaited else lambda call, *arguments: call(*arguments)


def _tagging(base: Any) -> Any:
    class Tagging(base):  # type: ignore[misc]
        def publish(self, stream: str, body: object = None, tags: Any = None, key: Any = None) -> None:
            super().publish(stream, body, {"by": "publish", **(tags or {})}, key)

    return Tagging


def _tagging_many(base: Any) -> Any:
    class Tagging(base):  # type: ignore[misc]
        def publish_many(self, stream: str, bodies: Iterable[object], tags: Any = None) -> Any:
            return super().publish_many(stream, bodies, {"by": "publish_many", **(tags or {})})

    return Tagging


@EAGER
def test_an_own_publish_is_called(broker: EventBroker, client: redis.Redis, faces: Any, eager: bool) -> None:
    flusher, call = _of(broker, faces, _tagging, eager=eager)
    orders = broker.register_body("orders", int)
    flusher.publish("orders", 1)
    orders = getattr(orders, "_target", orders)
    orders.collect(flusher, 2, {"n": "2"})
    assert call(flusher.publish_many, "orders", [3]) == 1  # which has no tags: neither calls the other
    assert len(call(flusher.flush)) == 3
    assert [fields.get(b"by") for _, fields in client.xrange("orders")] == [b"publish", b"publish", None]


@EAGER
def test_an_own_publish_many_is_called(broker: EventBroker, client: redis.Redis, faces: Any, eager: bool) -> None:
    flusher, call = _of(broker, faces, _tagging_many, eager=eager)
    flusher.publish("orders", 1)
    assert call(flusher.publish_many, "orders", [2, 3]) == 2
    assert len(call(flusher.flush)) == 3
    assert [fields.get(b"by") for _, fields in client.xrange("orders")] == [None, b"publish_many", b"publish_many"]


@pytest.mark.parametrize("name", ["publish", "publish_many"])
def test_what_replaces_a_method_of_the_class_is_called(broker: EventBroker, faces: Any, name: str) -> None:
    """As tests and instrumentations do."""
    own = fluxa_fast.asyncio if isinstance(faces, Faces) else fluxa_fast
    with mock.patch.object(own.EventFlusher, name) as replaced:
        flusher = broker.new_flusher()
        getattr(flusher, name)("orders", [1])
    assert replaced.call_count == 1
    assert len(flusher) == 0
