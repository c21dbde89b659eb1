"""The contract of the protocol layer: what the compiled and the pure implementation both are.

The protocol does no I/O and knows no sockets. It turns values into bytes (`CommandBuffer`, `pack`) and bytes into
values (`ReplyReader`, `Event`, `unpack`). Both implementations are checked against these classes by the type
checker, and by one test suite that runs over both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeVar, final, overload, runtime_checkable

from .commands import EntryHead, StreamCommands
from .conversions import Default
from .generic import BodyT_co
from .hashing import Key

__all__ = [
    "INCOMPLETE",
    "NOT_PLAIN",
    "Acknowledge",
    "CommandBuffer",
    "Confirmations",
    "Default",
    "EntryHead",
    "ErrorReply",
    "Event",
    "EventBatch",
    "EventWriter",
    "Implementation",
    "Incomplete",
    "NotPlain",
    "Pack",
    "PlainReplies",
    "ReplyReader",
    "Unpack",
]


T = TypeVar("T")


@final
class Incomplete:
    """The type of `INCOMPLETE`: a reply has not arrived in full yet."""

    def __repr__(self) -> str:
        return "INCOMPLETE"


INCOMPLETE: Final[Incomplete] = Incomplete()


@final
class NotPlain:
    """The type of `NOT_PLAIN`: a reply is there, and is for redis-py's own parser."""

    def __repr__(self) -> str:
        return "NOT_PLAIN"


NOT_PLAIN: Final[NotPlain] = NotPlain()


class ErrorReply(NamedTuple):
    """An error from the server, as a value: ``-WRONGTYPE Operation against...``.

    Attributes:
        message: the whole text, its code in front.
    """

    message: str

    @property
    def code(self) -> str:
        """The first word: NOGROUP, WRONGTYPE, OOM..."""
        return self.message.partition(" ")[0]


class Event(Protocol[BodyT_co]):
    """One entry of a stream. Body and tags are decoded when they are first used.

    An event owns its bytes: keeping one does not keep the batch that it came with. Threads may share it.
    """

    @property
    def id(self) -> str:
        """The ID that the server gave the entry, such as ``1709136000000-0``."""

    @property
    def stream(self) -> str:
        """The stream that the event was read from."""

    @property
    def timestamp(self) -> datetime:
        """When the event was published, by the milliseconds of its ID, in UTC.

        Raises:
            ValueError: for an ID beyond the year 9999, which only a hand-made one can be.
        """

    @property
    def body(self) -> BodyT_co:
        """The body, or None; decoded once and kept.

        Plain Python values (dict, list, str, int, datetime...), or of the type that `register_body` named.

        Raises:
            SerializationError: if the body is not msgpack, or not of that type; `raw_body` has the bytes.
        """

    @property
    def raw_body(self) -> bytes | None:
        """The msgpack bytes of the body, as they stand in Redis; None if the entry has none."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags, in the order of the entry. Bytes that aren't UTF-8 are kept as surrogate escapes."""

    @property
    def acknowledged(self) -> bool:
        """True once the server confirmed that the event is acknowledged and deleted."""

    @property
    def idle(self) -> float | None:
        """Seconds since the last delivery, where the server told it (XREADGROUP ... CLAIM); else None."""

    @property
    def delivery_count(self) -> int | None:
        """How often the event was delivered before, where the server told it; else None."""

    def tag(self, name: str, default: str = "") -> str:
        """The value of a tag, or `default` if the event has none of that name."""

    @overload
    def unserialize(self, type: None = None) -> BodyT_co: ...
    @overload
    def unserialize(self, type: type[T]) -> T: ...
    @overload
    def unserialize(self, type: Any) -> Any: ...
    def unserialize(self, type: Any = None) -> Any:
        """The body, decoded anew: a value that nobody else holds, unlike `body`.

        Args:
            type: what to make of it; None: what `body` is.

        Raises:
            SerializationError: if the body is not msgpack, or not of that type.
            TypeError: if the type is none that is understood.
        """

    def ack(self) -> Any:
        """Acknowledge the event and delete it from the stream now (XACK, XDEL); a second call does nothing.

        In `fluxa_fast.asyncio` the result is awaited.

        Raises:
            FluxaError: if the event did not come from a consumer.
        """


Acknowledge = Callable[[Any], Any]


class EventBatch:
    """What one XREADGROUP, XREAD, XRANGE or XAUTOCLAIM brought.

    Attributes:
        events: the events that can be handled, in the order of the reply.
        deleted: IDs that are pending, but whose entries are no longer in the stream (their fields were nil).
        cursor: XAUTOCLAIM: where the next call begins; ``0-0`` at the end. None for the others.
        dropped: XAUTOCLAIM on Redis 7.0 and newer: how many entries the server itself took off the pending
            list, because they are no longer in the stream.
    """

    __slots__ = ("cursor", "deleted", "dropped", "events")

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.deleted: list[str] = []
        self.cursor: str | None = None
        self.dropped: int = 0


class CommandBuffer(StreamCommands, Protocol):
    """RESP commands in one growing buffer, ready to be sent.

    A call that fails leaves the buffer as it was, byte for byte. While a view of the buffer is held
    (`view()`), writing raises BufferError. Belongs to one thread.
    """

    default: Default | None
    full_at: int
    """Length in bytes at which `EventWriter` says that the buffer is full. At first it never is."""

    def __init__(self, default: Default | None = None) -> None: ...

    def __len__(self) -> int:
        """Bytes in the buffer."""

    def view(self) -> memoryview:
        """What is in the buffer, read-only and without a copy. Release it before writing again."""

    @property
    def command_count(self) -> int:
        """Commands in the buffer."""

    def with_ids(self, arguments: Sequence[str | bytes | int], events: Iterable[Any]) -> int:
        """Append a command: `arguments`, then the IDs of those of the events that are not acknowledged yet.

        They come in the order of the events. Nothing is appended if there are none.

        Returns:
            How many events were named.
        """

    def keep(self, positions: Iterable[int]) -> None:
        """Drop all commands but those at `positions` (counted from 0, ascending). Quick for a `range` without gaps."""

    def truncate(self, commands: int, size: int) -> None:
        """Drop what was appended since the buffer had that many commands, in that many bytes."""

    def swap(self, other: Any) -> None:
        """Exchange all commands, and the memory they are in, with another buffer of the same implementation."""

    def extend(self, other: Any) -> None:
        """Append a copy of all commands of another buffer of the same implementation."""

    def keys(self, positions: Iterable[int]) -> list[str]:
        """The first argument after the name of each command at `positions` (ascending): its key, for most."""

    def clear(self) -> None:
        """Drop everything."""

    def give_back(self, most: int) -> bool:
        """Drop everything, and return about `most` bytes of memory. True once `clear` would have done no more."""


class EventWriter(Protocol):
    """Publishes into the buffers of targets: what is sent together has one target. The hot path of the flusher.

    A target is opened for its first event, because a stream may have thousands of partitions.

    Args:
        heads: the heads of the partitions of every registered stream; of a stream without partitions its only head.
        open_target: is called with a stream and the number of a partition before the first event of that partition.
            It returns the index and the buffer of the target. Partitions and streams may share a target.
        on_full: is called with the index of a target whose buffer has grown to its `full_at`.
    """

    def __init__(
        self,
        heads: Mapping[str, Sequence[EntryHead]],
        open_target: Callable[[str, int], tuple[int, Any]],
        on_full: Callable[[int], object] | None = None,
    ) -> None: ...

    def publish(
        self, stream: str, body: object = None, tags: Mapping[str, str] | None = None, key: Key | None = None
    ) -> None:
        """Pack one event into the buffer of its stream, or of the partition that its partition key belongs to.

        Events without a key go to the same partition until `restart`, and then to the next one.

        Raises:
            UnregisteredStreamError: if the stream is not registered; no buffer was touched.
            SerializationError: if body, tags or key can't be written; no buffer was touched.
            ValueError: for a key, if the stream has no partitions; no buffer was touched.
        """

    def publish_many(
        self,
        stream: str,
        bodies: Iterable[object],
        tags: Mapping[str, str] | None = None,
        first: int = 0,
        key: Key | None = None,
    ) -> int:
        """Pack an event for each body, all with the same tags and key. Returns how many.

        `first` is what errors call the first body, where the caller hands over many bodies in parts.

        Raises:
            UnregisteredStreamError, SerializationError, ValueError: as `publish`; no event of the call is left in the
                buffer then, nor if the iterable raises.
            TypeError: for one body, and for what can't be iterated over.
        """

    def index(self, stream: str, key: Key | None = None) -> int:
        """The index of the target that the next event of that stream and key goes to. Opens the target.

        Raises:
            UnregisteredStreamError, SerializationError, ValueError: as `publish`.
        """

    @property
    def filled(self) -> list[int]:
        """The indexes of the targets whose buffers hold events."""

    def check_idle(self) -> None:
        """Refuse a call that comes while an event is written: from a `default` hook, or from the bodies.

        Raises:
            SerializationError: if one of the buffers is being written to.
        """

    @property
    def order(self) -> Iterable[tuple[int, int]]:
        """The order of publishing across targets, as runs of (index of the target, number of events)."""

    def restart(self, order: Iterable[tuple[int, int]]) -> None:
        """Begin a new order, with the runs of the events that are still in the buffers."""


class Confirmations(Protocol):
    """The replies to a pipeline of XADDs: counted and checked as they arrive, their IDs decoded only if asked for.

    Args:
        expected: how many replies are to come.
    """

    expected: int

    def __init__(self, expected: int) -> None: ...

    @property
    def received(self) -> int:
        """Replies so far, errors included."""

    @property
    def errors(self) -> list[tuple[int, str]]:
        """(position, message) of every reply that was an error, ascending."""

    def ids(self) -> list[str | None]:
        """The IDs of the confirmed events in order; None where NOMKSTREAM found no stream."""

    def take(self, reader: Any) -> bool:
        """Take what the reader has. True when all replies are there."""


class ReplyReader(Protocol):
    """An incremental reader of RESP2 and RESP3.

    Bytes go in through `feed`, or without a copy through `get_buffer` and `buffer_updated`. Each `read...` returns one
    reply, or INCOMPLETE; it goes on where it stopped, so a reply costs the same in one piece as in a thousand.
    Push frames between replies are skipped. After a ProtocolError every call raises it again until `reset`.
    """

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Room to receive into: at least one byte, `sizehint` bytes if that is positive."""

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` bytes were received into the last `get_buffer`."""

    def feed(self, received: Any) -> None:
        """Take a copy of received bytes (any bytes-like)."""

    @property
    def unread(self) -> int:
        """Bytes that no reply was made of yet."""

    @property
    def capacity(self) -> int:
        """Bytes of memory that the receive buffer holds."""

    def read(self) -> object:
        """One reply as Python values, or INCOMPLETE.

        Strings are bytes, errors are `ErrorReply`, null is None; RESP3: maps are dicts, sets and pushes are lists,
        doubles are floats, big numbers are ints, verbatim strings are bytes without their format, attributes are
        dropped. A null of either kind is None.
        """

    def read_streams(self, acknowledge: Acknowledge | None = None) -> EventBatch | ErrorReply | Incomplete:
        """The reply of XREADGROUP or XREAD."""

    def read_claimed(self, stream: str, acknowledge: Acknowledge | None = None) -> EventBatch | ErrorReply | Incomplete:
        """The reply of XAUTOCLAIM (without JUSTID) for that stream."""

    def read_range(self, stream: str, acknowledge: Acknowledge | None = None) -> EventBatch | ErrorReply | Incomplete:
        """The reply of XRANGE or XREVRANGE for that stream."""

    def reset(self) -> None:
        """Forget everything that was received."""


class PlainReplies(Protocol):
    """What the drop-in reads replies with, as redis-py would give them. Of the compiled implementation only.

    A plain reply is made of IDs, integers and strings. Any other is left in the reader, for `frame`.
    """

    def frame(self, reader: Any, /) -> bytes | Incomplete:
        """The bytes of the next reply or push, whatever it is."""

    def unread(self, reader: Any, /) -> bytes:
        """The bytes of what no reply was made of yet, taken out."""

    def take_scalars(self, reader: Any, into: list[Any], most: int, text: bool, /) -> bool:
        """Append up to `most` replies that are strings, integers or null. True if one that isn't plain is next."""

    def read_streams(
        self, reader: Any, text: bool, parts: int, arrays: bool, maps: bool, /
    ) -> tuple[bool, list[Any]] | Incomplete | NotPlain:
        """The reply of XREAD or XREADGROUP: whether it was a map, and [[stream, [(id, fields), ...]], ...]."""

    def read_range(self, reader: Any, text: bool, /) -> list[Any] | Incomplete | NotPlain:
        """The reply of XRANGE: [(id, fields), ...]."""

    def read_claimed(self, reader: Any, text: bool, /) -> list[Any] | Incomplete | NotPlain:
        """The reply of XAUTOCLAIM: [cursor, [(id, fields), ...], [deleted id, ...]]."""


@runtime_checkable
class Pack(Protocol):
    """The msgpack bytes of a value, as they are the body of an event.

    Args:
        value: what docs/bodies.md lists.
        default: is asked for a replacement of what msgpack has no type for.

    Raises:
        SerializationError: with the path to what can't be written.
    """

    def __call__(self, value: object, default: Default | None = None) -> bytes: ...


class Unpack(Protocol):
    """The one value that msgpack bytes (any contiguous bytes-like) hold.

    Raises:
        SerializationError: if they are not msgpack, or hold more or less than one value.
    """

    def __call__(self, data: Any) -> Any: ...


class Implementation(Protocol):
    """The module-like set of the names that an implementation has. `name` is ``"c"`` or ``"python"``."""

    @property
    def name(self) -> str: ...
    @property
    def CommandBuffer(self) -> type[CommandBuffer]: ...  # noqa: N802 (it is the name of a class)
    @property
    def Confirmations(self) -> type[Confirmations]: ...  # noqa: N802
    @property
    def Event(self) -> type[Event]: ...  # noqa: N802
    @property
    def EventWriter(self) -> type[EventWriter]: ...  # noqa: N802
    @property
    def ReplyReader(self) -> type[ReplyReader]: ...  # noqa: N802
    @property
    def plain_replies(self) -> PlainReplies | None: ...

    @property
    def pack(self) -> Pack: ...
    @property
    def unpack(self) -> Unpack: ...
    def key_slot(self, key: Key) -> int: ...
    def key_hash(self, key: Key) -> int: ...
    def mark_acknowledged(self, events: Iterable[Any]) -> None: ...
    def stage_command(self, out: Any, arguments: tuple[Any, ...], utf8: bool, /) -> bool: ...
    def stage_entry(
        self, out: Any, name: Any, options: bytes, option_count: int, id: Any, fields: dict[Any, Any], utf8: bool, /
    ) -> bool: ...
    def same_objects(self, one: dict[Any, Any], other: dict[Any, Any], /) -> bool: ...
