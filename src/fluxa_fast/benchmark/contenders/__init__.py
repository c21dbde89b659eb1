"""The contenders: all ways to publish and consume that the benchmark compares."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

from ...protocol import missing_modules

__all__ = ["BESIDE_AWAITED", "CONTENDERS", "NAMES", "Contender"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to publish and consume.

    Attributes:
        name: the name in tables.
        module: the module of this package that has its class `Client`.
        needs: the packages that it imports.
        cases: the cases that it takes part in.
        arguments: the arguments of `Client` after the server's address.
        environment: environment variables of its process.
        only_batches: publishes single events as another contender does, so only batches are measured.
        awaited: runs on asyncio.
        own_format: consumes only what it has published itself, and leaves it in the stream.
    """

    name: str
    module: str
    needs: tuple[str, ...] = ()
    cases: frozenset[str] = frozenset({"publish", "consume", "latency"})
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    own_format: bool = False
    only_batches: bool = False
    awaited: bool = False

    @property
    def packed(self) -> bool:
        """Whether it publishes and consumes packed entries."""
        return "packed" in self.arguments

    @property
    def installed(self) -> bool:
        """Whether the packages that it imports are installed."""
        if self.environment.get("FLUXA_FAST_IMPL") == "c" and missing_modules():
            return False
        return all(importlib.util.find_spec(name) for name in self.needs)


_COMPILED = {"FLUXA_FAST_IMPL": "c"}
_PURE = {"FLUXA_FAST_IMPL": "python"}
_AWAITED = frozenset({"publish", "consume", "latency", "concurrent"})
_OURS = frozenset({"publish", "consume", "latency", "threads", "scaling", "memory"})
_PACKED = frozenset({"publish", "consume"})

CONTENDERS = (
    Contender("ceiling", "ceiling"),
    Contender(
        "ceiling, send then wait",
        "ceiling",
        arguments=("one",),
        cases=frozenset({"publish", "threads"}),
        only_batches=True,
    ),
    Contender("ceiling, script", "ceiling", arguments=("script",), cases=frozenset({"consume"})),
    Contender("ceiling, packed", "ceiling", cases=_PACKED, arguments=("packed",), only_batches=True),
    Contender("fluxa_fast", "ours", cases=_OURS, environment=_COMPILED),
    Contender(
        "fluxa_fast, eager",
        "ours",
        cases=frozenset({"publish"}),
        arguments=("eager",),
        environment=_COMPILED,
        only_batches=True,
    ),
    Contender(
        "fluxa_fast, producer",
        "ours",
        cases=frozenset({"publish"}),
        arguments=("producer",),
        environment=_COMPILED,
        only_batches=True,
    ),
    Contender(
        "fluxa_fast, producer, packed",
        "ours",
        cases=frozenset({"publish"}),
        arguments=("producer", "packed"),
        environment=_COMPILED,
        only_batches=True,
    ),
    Contender(
        "fluxa_fast, at most once",
        "ours",
        cases=frozenset({"consume"}),
        arguments=("at-most-once",),
        environment=_COMPILED,
    ),
    Contender(
        "fluxa_fast, packed",
        "ours",
        cases=_PACKED,
        arguments=("eager", "packed"),
        environment=_COMPILED,
        only_batches=True,
    ),
    Contender("fluxa_fast pure", "ours", cases=_OURS, environment=_PURE),
    Contender(
        "fluxa_fast pure, packed",
        "ours",
        cases=_PACKED,
        arguments=("eager", "packed"),
        environment=_PURE,
        only_batches=True,
    ),
    Contender("redis-py", "redis_py", ("redis", "hiredis", "msgpack")),
    Contender("valkey-glide", "glide", ("glide_sync", "msgpack")),
    Contender("fluxa_fast.asyncio", "ours_asyncio", cases=_AWAITED, environment=_COMPILED, awaited=True),
    Contender(
        "fluxa_fast.asyncio, eager",
        "ours_asyncio",
        cases=frozenset({"publish"}),
        arguments=("eager",),
        environment=_COMPILED,
        only_batches=True,
        awaited=True,
    ),
    Contender(
        "fluxa_fast.asyncio, packed",
        "ours_asyncio",
        cases=_PACKED,
        arguments=("eager", "packed"),
        environment=_COMPILED,
        only_batches=True,
        awaited=True,
    ),
    Contender(
        "fluxa_fast.asyncio, uvloop",
        "ours_asyncio",
        ("uvloop",),
        cases=_AWAITED,
        arguments=("uvloop",),
        environment=_COMPILED,
        awaited=True,
    ),
    Contender("redis.asyncio", "redis_asyncio", ("redis", "hiredis", "msgpack"), cases=_AWAITED, awaited=True),
    Contender("coredis", "coredis_client", ("coredis", "msgpack"), cases=_AWAITED, awaited=True),
    Contender("FastStream", "fast_stream", ("faststream",), cases=_AWAITED, own_format=True, awaited=True),
)

BESIDE_AWAITED = ("ceiling", "ceiling, packed", "fluxa_fast", "fluxa_fast, eager", "fluxa_fast, packed", "redis-py")
"""The contenders with blocking calls that those on asyncio are compared with."""

NAMES = tuple(contender.name for contender in CONTENDERS)
