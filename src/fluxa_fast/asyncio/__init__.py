"""fluxa_fast for asyncio: the same names, arguments, dataclasses and errors, awaited.

A program begins with a `Registry`, as in `fluxa_fast`. Runs on the event loops of asyncio and uvloop.
"""

from __future__ import annotations

from ..delivery import DeliveryReport, ProducerCounters
from ..dropin.pipeline import pipeline
from ..dropin.reads import xautoclaim, xrange, xread, xreadgroup
from ..errors import (
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
from ..flows.publish.outcome import FlushResult
from ..flows.retry import Recovery
from ..hooks import Hooks
from ..keep import Keep
from ..packing import Packing
from ..protocol.naming import wire_names
from ..statistics import RedisStreamConsumerStatistics, RedisStreamGroupStatistics, RedisStreamStatistics
from .broker import EventBroker
from .consumer import EventConsumer, Handler
from .engine import Context, Engine
from .event import Event
from .flusher import EventFlusher
from .producer import EventProducer
from .registry import Registry
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
    "pipeline",
    "wire_names",
    "xautoclaim",
    "xrange",
    "xread",
    "xreadgroup",
]
