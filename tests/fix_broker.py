"""A registry, and what comes out of it, on the shared server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis
import redis.asyncio

import fluxa_fast
from fluxa_fast import Engine, EventBroker, Recovery
from fluxa_fast.protocol import Implementation
from tests.awaited import Faces, Loop

STREAMS = ("orders", "users")
QUICK = Recovery(deadline=10.0, base=0.01, cap=0.1)

MakeEngine = Callable[..., Engine]


@pytest.fixture(params=["sync", "asyncio"])
def faces(request: pytest.FixtureRequest, implementation: Implementation) -> Iterator[Any]:
    """The package: `fluxa_fast`, and then `fluxa_fast.asyncio` behind blocking calls."""
    if request.param == "sync":
        yield fluxa_fast
    else:
        loop = Loop()
        yield Faces(loop)
        loop.close()


@pytest.fixture
def make_client(faces: Any) -> Iterator[Callable[..., Any]]:
    """Makes clients of redis-py, as a user has one; closes them after the engines."""
    awaited = isinstance(faces, Faces)
    clients = []

    def make(**options: Any) -> Any:
        client = (redis.asyncio.Redis if awaited else redis.Redis)(**options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        if awaited:
            faces.call(getattr(client, "aclose", client.close))  # redis-py 5.0.0 has one name for both
        else:
            client.close()


@pytest.fixture
def make_engine(faces: Any, make_client: Callable[..., Any]) -> Iterator[MakeEngine]:
    """Makes engines of one pool (address or options) with the streams `orders` and `users`; closes them in the end."""
    engines = []

    def make(*address: object, groups: Sequence[str] | None = None, **options: object) -> Engine:
        registry = faces.Registry()
        registry.register_redis(*address, **options)  # type: ignore[arg-type]
        for stream in STREAMS:
            registry.register_redis_stream(stream, groups=groups)
        engine = registry.validate()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def broker(make_engine: MakeEngine, server_url: str, client: redis.Redis) -> EventBroker:
    """A broker on the shared, empty server."""
    return make_engine(server_url).new_context().get_event_broker()


@pytest.fixture
def broker_with(faces: Any, server_url: str, client: redis.Redis) -> Iterator[Callable[..., EventBroker]]:
    """Makes a broker whose stream `orders` is registered with these arguments."""
    engines = []

    def make(url: str = server_url, user: str = "", prefix: str = "", **options: Any) -> EventBroker:
        registry = faces.Registry(prefix=prefix)
        registry.register_redis(url, **({"username": user, "password": "secret"} if user else {}))
        registry.register_redis_stream("orders", **options)
        engine = registry.validate()
        engines.append(engine)
        return engine.new_context().get_event_broker()  # type: ignore[no-any-return]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def later(make_engine: MakeEngine) -> Iterator[Callable[..., None]]:
    """Calls something after some seconds, in a thread that is over before the engines are closed."""
    timers = []

    def call(seconds: float, function: Callable[..., object], *arguments: object) -> None:
        timer = threading.Timer(seconds, function, arguments)
        timers.append(timer)
        timer.start()

    yield call
    for timer in timers:
        timer.join()
