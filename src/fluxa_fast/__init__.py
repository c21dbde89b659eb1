"""fluxa_fast: a fast event broker on Redis Streams.

A thin, typed API over a compiled protocol core. `Registry` is where everything begins.
"""

from __future__ import annotations

from . import protocol
from ._version import __version__
from .broker import EventBroker
from .consumer import EventConsumer
from .engine import Context, Engine
from .errors import (
    FlushError,
    FluxaError,
    ImplementationWarning,
    ProtocolError,
    RefusedEvent,
    RegistryError,
    SerializationError,
    UnconfirmedEvents,
    UnregisteredStreamError,
)
from .flows.publish import FlushResult
from .flows.recovery import Recovery
from .flusher import EventFlusher
from .protocol.interface import Event
from .registry import Registry
from .statistics import (
    RedisStreamConsumerStatistics,
    RedisStreamGroupStatistics,
    RedisStreamStatistics,
)

__all__ = [
    "Context",
    "Engine",
    "Event",
    "EventBroker",
    "EventConsumer",
    "EventFlusher",
    "FlushError",
    "FlushResult",
    "FluxaError",
    "ImplementationWarning",
    "ProtocolError",
    "Recovery",
    "RedisStreamConsumerStatistics",
    "RedisStreamGroupStatistics",
    "RedisStreamStatistics",
    "RefusedEvent",
    "Registry",
    "RegistryError",
    "SerializationError",
    "UnconfirmedEvents",
    "UnregisteredStreamError",
    "__version__",
    "implementation",
    "pack",
    "unpack",
]

implementation: str = protocol.default.name
"""``"c"`` or ``"python"``: which protocol implementation is in use."""

pack = protocol.default.pack
unpack = protocol.default.unpack
