"""fluxa_fast: a fast event broker on Redis Streams.

A thin, typed API over a compiled protocol core. A program begins with a `Registry`.

`__all__` has the public names. `_LATER`, the imports for type checkers, `fluxa_fast.asyncio` and docs/api repeat
them; tests/unit/test_public_names.py compares all of these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _gil, protocol  # noqa: F401 (_gil first: it decides how redis-py is imported)
from ._version import __version__
from .errors import (
    DeliveryTimeoutError,
    FiltersDifferError,
    FlushError,
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
from .keep import Keep
from .packing import Packing
from .registry import Registry

if TYPE_CHECKING:
    from .broker import EventBroker
    from .consumer import EventConsumer, Handler
    from .delivery import DeliveryReport, ProducerCounters
    from .dropin.pipeline import pipeline
    from .dropin.reads import xautoclaim, xrange, xread, xreadgroup
    from .engine import Context, Engine
    from .flows.publish.outcome import FlushResult
    from .flows.retry import Recovery
    from .flusher import EventFlusher
    from .hooks import Hooks
    from .producer import EventProducer
    from .protocol.interface import Event, Pack, Unpack
    from .protocol.naming import wire_names
    from .statistics import RedisStreamConsumerStatistics, RedisStreamGroupStatistics, RedisStreamStatistics
    from .typed_stream import TypedStream

__all__ = [
    "Context",
    "DeliveryReport",
    "DeliveryTimeoutError",
    "Engine",
    "Event",
    "EventBroker",
    "EventConsumer",
    "EventFlusher",
    "EventProducer",
    "FiltersDifferError",
    "FlushError",
    "FlushResult",
    "FluxaError",
    "GroupRemovedError",
    "Handler",
    "Hooks",
    "ImplementationWarning",
    "Keep",
    "LeaseLostError",
    "NotReplicatedError",
    "Packing",
    "PartitionsDifferError",
    "ProducerCounters",
    "ProducerFullError",
    "ProtocolError",
    "Recovery",
    "RedisStreamConsumerStatistics",
    "RedisStreamGroupStatistics",
    "RedisStreamStatistics",
    "RefusedEvent",
    "Registry",
    "RegistryError",
    "SerializationError",
    "TypedStream",
    "UnconfirmedEvents",
    "UnregisteredStreamError",
    "__version__",
    "implementation",
    "pack",
    "pipeline",
    "unpack",
    "wire_names",
    "xautoclaim",
    "xrange",
    "xread",
    "xreadgroup",
]

implementation: str = protocol.default.name
"""The protocol implementation in use: ``"c"`` or ``"python"``."""

pack: Pack = protocol.default.pack
unpack: Unpack = protocol.default.unpack

# The modules of the names that are imported when they are first used. So `import fluxa_fast` takes hardly longer than
# `import redis`, which it needs.
_LATER = {
    "Context": "engine",
    "DeliveryReport": "delivery",
    "Engine": "engine",
    "Event": "protocol.interface",
    "EventBroker": "broker",
    "EventConsumer": "consumer",
    "EventFlusher": "flusher",
    "EventProducer": "producer",
    "FlushResult": "flows.publish.outcome",
    "Handler": "consumer",
    "Hooks": "hooks",
    "ProducerCounters": "delivery",
    "Recovery": "flows.retry",
    "RedisStreamConsumerStatistics": "statistics",
    "RedisStreamGroupStatistics": "statistics",
    "RedisStreamStatistics": "statistics",
    "TypedStream": "typed_stream",
    "wire_names": "protocol.naming",
    "pipeline": "dropin.pipeline",
    "xautoclaim": "dropin.reads",
    "xrange": "dropin.reads",
    "xread": "dropin.reads",
    "xreadgroup": "dropin.reads",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
