"""The contract of the protocol layer, which the compiled and the pure implementation both keep.

The protocol does no I/O and knows no sockets. It turns values into bytes (`CommandBuffer`, `pack`) and bytes into
values (`ReplyReader`, `Event`, `unpack`). The type checker compares both implementations with these classes, and one
test suite runs over both.

The file is long because it is the whole contract, with the documentation of every method.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeVar, final, overload, runtime_checkable

from .commands import EntryHead, StreamCommands
from .conversions import Default
from .generic import BodyT_co
from .hashing import Key
from .packed_log import PackedLog
from .sealed_batch import SealedBatch

__all__ = [
    "INCOMPLETE",
    "NOT_PLAIN",
    "Acknowledge",
    "Acknowledges",
    "BatchWriter",
    "CommandBuffer",
    "CommandStack",
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
    "Staging",
    "Tests",
    "Unpack",
]


T = TypeVar("T")


@final
class Incomplete:
    """The type of `INCOMPLETE`, which stands for a reply that has not arrived in full yet."""

    def __repr__(self) -> str:
        return "INCOMPLETE"


INCOMPLETE: Final[Incomplete] = Incomplete()


@final
class NotPlain:
    """The type of `NOT_PLAIN`, which stands for a reply that has arrived and that redis-py's own parser has to read."""

    def __repr__(self) -> str:
        return "NOT_PLAIN"


NOT_PLAIN: Final[NotPlain] = NotPlain()


class ErrorReply(NamedTuple):
    """An error that the server replied, as a value: ``-WRONGTYPE Operation against...``.

    Attributes:
        message: the whole text, which begins with the code.
    """

    message: str

    @property
    def code(self) -> str:
        """The first word of the message: NOGROUP, WRONGTYPE, OOM..."""
        return self.message.partition(" ")[0]


class Event(Protocol[BodyT_co]):
    """An entry of a stream. Body and tags are decoded when they are first used.

    An event owns its bytes: to keep an event does not keep the batch that it came with. (In a packed entry, it keeps
    the tags of the entry's events until its own are asked for.) Threads may share an event.
    """

    @property
    def id(self) -> str:
        """The ID of the event, such as ``1709136000000-0``: that of its entry.

        Of an event in a packed entry, with its place behind that, from 0: ``1709136000000-0/17``.
        """

    @property
    def entry_id(self) -> str:
        """The ID that the server gave the entry, such as ``1709136000000-0``."""

    @property
    def stream(self) -> str:
        """The stream that the event was read from."""

    @property
    def timestamp(self) -> datetime:
        """When the event was published: the milliseconds of its ID, in UTC.

        Raises:
            ValueError: for an ID beyond the year 9999. No server generates such an ID, but a client may choose it.
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
        """The msgpack bytes of the body, as Redis holds them; None if the entry has no body."""

    @property
    def tags(self) -> dict[str, str]:
        """The tags, in the order of the entry's fields. Bytes that aren't UTF-8 become surrogate escapes."""

    @property
    def acknowledged(self) -> bool:
        """True once the server confirmed that the event is acknowledged and deleted.

        An entry is acknowledged with the last of its events. So an event in a packed entry is only then.
        """

    @property
    def taken_over(self) -> bool:
        """True once the consumer knows that another one has taken the event over, while its handler had it.

        It is not acknowledged then when the handler returns: the other consumer handles it as well.
        """

    @property
    def idle(self) -> float | None:
        """Seconds since the last delivery, if the server told it (XREADGROUP ... CLAIM); else None."""

    @property
    def delivery_count(self) -> int | None:
        """How often the event was delivered to a consumer of the group, this time included; None: it is not known.

        1 for the first delivery. The server tells it for events that are delivered again (XPENDING). In the reply to
        XREADGROUP ... CLAIM, which `xreadgroup` reads, it is what the server says: this time is not included.
        """

    def tag(self, name: str, default: str = "") -> str:
        """Return the value of a tag, or `default` if the event has no tag of that name."""

    @overload
    def unserialize(self, type: None = None) -> BodyT_co: ...
    @overload
    def unserialize(self, type: type[T]) -> T: ...
    @overload
    def unserialize(self, type: Any) -> Any: ...
    def unserialize(self, type: Any = None) -> Any:
        """Decode the body once more. The value is the caller's own, whereas `body` is the same object at each access.

        Args:
            type: the type to convert the body to; None: the type that `body` has.

        Raises:
            SerializationError: if the body is not msgpack, or not of that type.
            TypeError: if bodies can't be converted to that type.
        """

    def ack(self) -> Any:
        """Acknowledge the event and delete it from the stream now (XACK, XDEL); a second call does nothing.

        In a packed entry the server is told when all events of the entry are acknowledged or handled.

        In `fluxa_fast.asyncio` the result is awaited.

        Raises:
            FluxaError: if the event did not come from a consumer.
        """


Acknowledge = Callable[[Any], Any]

Acknowledges = Acknowledge | dict[str, Acknowledge | None] | None
"""What acknowledges the events of a reply: the same for all streams, or a dict of each stream's own; None: nothing."""

Tests = Sequence[tuple[bytes, frozenset[bytes]]]
"""For each tag its name, and the values that pass."""


class EventBatch:
    """The entries in the reply to an XREADGROUP, XREAD, XRANGE or XAUTOCLAIM.

    Attributes:
        events: the entries that still have their fields, in the order of the reply.
        deleted: the IDs of pending entries that are no longer in the stream (their fields were nil).
        cursor: where the next XAUTOCLAIM begins; ``0-0`` if there is nothing more to claim. None for other commands.
        dropped: how many pending entries XAUTOCLAIM found no longer in the stream, and took off the pending list
            (Redis 7.0).
        extra: how many events share an entry with an event in front of them: 0 if no entry is packed.
        size: of the reply in bytes; told only if an entry is packed.
    """

    __slots__ = ("__dict__", "cursor", "deleted", "dropped", "events")

    extra: int = 0
    size: int = 0

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.deleted: list[str] = []
        self.cursor: str | None = None
        self.dropped: int = 0

    @property
    def entries(self) -> int:
        """How many entries the reply had, deleted ones included."""
        return len(self.events) - self.extra + len(self.deleted)


class CommandBuffer(StreamCommands, Protocol):
    """RESP commands in a growing buffer, ready to be sent.

    A call that fails leaves every byte of the buffer as it was. To write while a view of the buffer is held (`view()`)
    raises BufferError. A buffer belongs to one thread.
    """

    default: Default | None
    packed: PackedLog | None
    """Which commands are entries of packed streams; None: none is, and each command is one event."""
    full_at: int
    """Length in bytes at which `EventWriter` calls `on_full`. The initial value is out of reach."""

    def __init__(self, default: Default | None = None, encode_body: Callable[[bytes], bytes] | None = None) -> None: ...

    def __len__(self) -> int:
        """How many bytes the buffer holds."""

    def view(self) -> memoryview:
        """Return the bytes of the buffer, read-only and without a copy. Release the view before you write again."""

    @property
    def command_count(self) -> int:
        """How many commands the buffer holds."""

    def with_ids(self, arguments: Sequence[str | bytes | int], events: Iterable[Any]) -> int:
        """Append a command of `arguments` and the IDs of the events that are not acknowledged yet.

        The IDs stand in the order of the events. If all events are acknowledged, nothing is appended.

        Returns:
            How many IDs were appended.
        """

    def keep(self, positions: Iterable[int]) -> None:
        """Drop all commands but those at `positions`, which ascend from 0. A `range` with step 1 is the fast case."""

    def truncate(self, commands: int, size: int) -> None:
        """Drop what was appended since the buffer held `commands` commands of `size` bytes."""

    def swap(self, other: Any) -> None:
        """Exchange all commands with another buffer of the same implementation, without a copy."""

    def extend(self, other: Any) -> None:
        """Append a copy of all commands of another buffer of the same implementation."""

    def keys(self, positions: Iterable[int]) -> list[str]:
        """Return the first argument of each command at `positions`, which ascend: the Redis key, for most commands."""

    def clear(self) -> None:
        """Drop all commands."""

    def give_back(self, most: int) -> bool:
        """Drop all commands, and return about `most` bytes of memory to the system.

        Returns:
            True once there is no more memory to return.
        """


class EventWriter(Protocol):
    """Publishes into the buffers of targets: what is sent together has one target. The hot path of the flusher.

    A target is opened for its first event, because a stream may have thousands of partitions.

    Args:
        heads: the heads of the partitions of every registered stream; of a stream without partitions its only head.
        open_target: is called with a stream and the number of a partition before the first event of that partition.
            It returns a lane, the index of the target, and its buffer. Partitions and streams may share a target. The
            order of publishing names lanes: a packed Redis key has a lane of its own, all others of a target share the
            one that has the target's index.
        on_full: is called with the index of a target whose buffer has grown to its `full_at`.
    """

    def __init__(
        self,
        heads: Mapping[str, Sequence[EntryHead]],
        open_target: Callable[[str, int], tuple[int, int, Any]],
        on_full: Callable[[int], object] | None = None,
    ) -> None: ...

    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> None:
        """Pack one event into the buffer of its stream, or of the partition that its partition key belongs to.

        Events without a key go to the same partition until `restart`, and then to the next one.

        Raises:
            UnregisteredStreamError: if the stream is not registered; no buffer was touched.
            SerializationError: if body, tags or key can't be written; no buffer was touched.
            ValueError: for a key, if the stream has no partitions, and for what is no ID; no buffer was touched.
            TypeError: for an ID that is no str; no buffer was touched.
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
        """The indexes of the targets whose buffers hold commands."""

    @property
    def count(self) -> int:
        """How many events wait, those in open entries included."""

    @property
    def open_size(self) -> int:
        """How many bytes the open entries have, about."""

    def close_entries(self) -> None:
        """Write the events that wait for more of their entry into the buffers.

        Raises:
            SerializationError: if an event is being written.
        """

    def close_entry(self, stream: str, key: Key | None = None) -> None:
        """The same, of the Redis key that the next event of that stream and key goes to."""

    def check_idle(self) -> None:
        """Refuse a call that comes while an event is written: from a `default` hook, or from the bodies.

        Raises:
            SerializationError: if one of the buffers is being written to.
        """

    @property
    def order(self) -> Iterable[tuple[int, int]]:
        """The order of publishing, as runs of (lane, number of events)."""

    def restart(self, order: Iterable[tuple[int, int]]) -> None:
        """Begin a new order, with the runs of the events that are still in the buffers."""


class BatchWriter(Protocol):
    """Publishes for a producer: from several threads, into batches, within limits. The hot path of the producer.

    Events are added to the batch that is open until it is sealed. Then the sender takes it out of `sealed`.

    Args:
        heads, open_target: as for `EventWriter`.
        limits: four numbers. The bytes with which a batch is worth sending; the bytes with which it is sealed at once;
            and how many events and how many bytes there may be before `on_full` is called.
        on_batch: is called when the open batch has its first event, when it is worth sending, whenever it has grown by
            as much again, and when it was sealed. What it returns, `publish` returns.
        on_full: is called with the arguments of `publish` in place of adding the event. What it returns, `publish`
            returns.
        lock: a new ``threading.Lock``; None: the writer belongs to one thread.
        accepted: what `publish` returns otherwise.
    """

    def __init__(
        self,
        heads: Mapping[str, Sequence[EntryHead]],
        open_target: Callable[[str, int], tuple[int, int, Any]],
        limits: tuple[int, int, int, int],
        on_batch: Callable[[], Any],
        on_full: Callable[[str, Any, Any, Any, Any], Any],
        *,
        lock: Any = None,
        accepted: Any = None,
    ) -> None: ...

    @property
    def sealed(self) -> deque[SealedBatch]:
        """The batches that wait for the sender, which takes them from the left."""

    @property
    def began(self) -> float | None:
        """When the first event of the open batch was added, in monotonic seconds; None: it has none."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    @property
    def total(self) -> int:
        """How many events were added since the beginning."""

    @property
    def dropped(self) -> int:
        """How many events `drop` was told of."""

    @property
    def count(self) -> int:
        """How many events were added and not let go."""

    @property
    def waiting(self) -> int:
        """How many events the open batch has."""

    @property
    def buffered(self) -> int:
        """How many bytes the events have that were added and not let go, about."""

    @property
    def ready(self) -> bool:
        """Whether the open batch is worth sending, or holds up publishers."""

    @property
    def room(self) -> bool:
        """Whether one more event may be added."""

    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> Any:
        """Add one event, or call `on_full`.

        Raises:
            UnregisteredStreamError, SerializationError, ValueError, TypeError: as `EventWriter.publish`. Also if an
                event is being written by this thread: a hook publishes.
        """

    def add(
        self,
        stream: str,
        body: object,
        tags: Mapping[str, str] | None,
        key: Key | None,
        id: str | None,
        receipt: Any,
        beyond: bool,
    ) -> bool:
        """As `publish`, without `on_full`. False: there is no room, or the writer is closed.

        Args:
            receipt: what the batch is to have for the event, which makes it worth sending at once; None: nothing.
            beyond: add it even if there is no room.
        """

    def add_many(
        self,
        stream: str,
        bodies: Sequence[object],
        tags: Mapping[str, str] | None,
        first: int,
        key: Key | None,
        beyond: bool,
    ) -> bool:
        """As `add`, for an event of each body: all of them or none. They may go beyond the limits."""

    def seal(self) -> None:
        """Put the open batch behind the others, if it has events."""

    def drop(self, events: int) -> int:
        """Count events that were not added, because there was no room. Return how many there were before."""

    def let_go(self, events: int, size: int) -> None:
        """So many events with so many bytes of sealed batches are there no more."""

    def note_again(self) -> None:
        """Call `on_batch` for the next event, whatever the open batch has: the sender was not told."""

    def check_idle(self) -> None:
        """Refuse a call of a thread that is adding an event: from a hook, or from a signal handler meanwhile.

        Raises:
            SerializationError: if it is.
        """

    def close(self) -> None:
        """Add nothing from now on. What is being added is counted before."""

    def renew(self, lock: Any = None) -> None:
        """Drop everything, in a forked child."""


class Confirmations(Protocol):
    """The replies to a pipeline of XADDs. They are counted and checked as they arrive; `ids` decodes their IDs.

    Args:
        expected: how many replies will come.
    """

    expected: int

    def __init__(self, expected: int) -> None: ...

    @property
    def received(self) -> int:
        """How many replies have arrived, errors included."""

    @property
    def errors(self) -> list[tuple[int, str]]:
        """(position, message) of every error reply, by ascending position."""

    def ids(self) -> list[str | None]:
        """Return the IDs of the confirmed events in order; None for a null reply, which only NOMKSTREAM brings."""

    def take(self, reader: Any) -> bool:
        """Take the replies that the reader has. True when all have arrived."""


class ReplyReader(Protocol):
    """An incremental reader of RESP2 and RESP3.

    Bytes go in through `feed`, or without a copy through `get_buffer` and `buffer_updated`. Each `read...` returns a
    reply, or INCOMPLETE. The next call goes on where the last one stopped, so a reply costs the same in one piece as in
    a thousand. Push frames between replies are skipped. After a ProtocolError every call raises one until `reset`.
    """

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Return memory to receive into: at least `sizehint` bytes, if that is positive."""

    def buffer_updated(self, nbytes: int) -> None:
        """Tell the reader that `nbytes` bytes were received into the memory of the last `get_buffer`."""

    def feed(self, received: Any) -> None:
        """Take a copy of received bytes (any bytes-like)."""

    @property
    def unread(self) -> int:
        """How many received bytes have not been read as a reply."""

    @property
    def capacity(self) -> int:
        """How many bytes of memory the receive buffer has."""

    def read(self) -> object:
        """Read a reply as Python values, or return INCOMPLETE.

        Strings are bytes, errors are `ErrorReply`, every null is None. RESP3: maps are dicts, sets and pushes are
        lists, doubles are floats, big numbers are ints, verbatim strings are bytes without their format; attributes
        are dropped.
        """

    def read_id(self) -> str | ErrorReply | Incomplete:
        """Read the reply to XADD: the ID of an entry."""

    def read_number(self) -> int | ErrorReply | Incomplete:
        """Read a reply that is a number."""

    def read_streams(self, acknowledge: Acknowledges = None) -> EventBatch | ErrorReply | Incomplete:
        """Read the reply to XREADGROUP or XREAD."""

    def read_claimed(self, stream: str, acknowledge: Acknowledge | None = None) -> EventBatch | ErrorReply | Incomplete:
        """Read the reply to XAUTOCLAIM (without JUSTID) of this stream."""

    def read_range(self, stream: str, acknowledge: Acknowledge | None = None) -> EventBatch | ErrorReply | Incomplete:
        """Read the reply to XRANGE or XREVRANGE of this stream."""

    def reset(self) -> None:
        """Forget all received bytes."""


class CommandStack(Protocol):
    """The list of (arguments, options) that is redis-py's `command_stack`, for the drop-in.

    It calls `_consider_staging` of the pipeline that owns it as soon as it has `look_at` commands.
    """

    look_at: int

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]: ...
    def append(self, command: tuple[tuple[Any, ...], dict[str, Any]], /) -> None:
        """Take a command. FluxaError while it is sealed."""

    def seal(self, why: str, /) -> None:
        """Take no more commands: they would be waited for, and were not sent."""

    def unseal(self) -> None:
        """End `seal`."""


class Staging(Protocol):
    """Keeps and writes the commands of the drop-in's pipeline. Only the compiled implementation has it."""

    @property
    def CommandStack(self) -> Callable[[Callable[[], Any], int], CommandStack]: ...  # noqa: N802

    def stage_command(self, out: Any, arguments: tuple[Any, ...], utf8: bool, /) -> bool:
        """Append a command of plain arguments. If one of them is not plain, append nothing and return False."""

    def stage_entry(
        self, out: Any, name: Any, options: bytes, option_count: int, id: Any, fields: dict[Any, Any], utf8: bool, /
    ) -> bool:
        """Append an XADD. `options` is the RESP of the `option_count` arguments between the name and the ID.

        If the name, the ID or a field is not plain, append nothing and return False.
        """

    def check_ints(self, commands: Iterable[tuple[tuple[Any, ...], dict[str, Any]]], /) -> None:
        """Raise Python's ValueError for an int in (arguments, options) that has too many digits for it to print."""

    def same_objects(self, one: dict[Any, Any], other: dict[Any, Any], /) -> bool:
        """Return whether both dicts have the same objects as keys and as values, in the same order."""


class PlainReplies(Protocol):
    """Reads replies for the drop-in, in the form that redis-py gives them. Only the compiled implementation has it.

    A plain reply is made of IDs, integers and strings. Any other reply stays in the reader, for `frame`.
    """

    def frame(self, reader: Any, /) -> bytes | Incomplete:
        """Return the bytes of the next reply or push, of whatever type."""

    def unread(self, reader: Any, /) -> bytes:
        """Take out the received bytes that have not been read as a reply, and return them."""

    def take_scalars(self, reader: Any, into: list[Any], most: int, text: bool, /) -> bool:
        """Append up to `most` replies that are strings, integers or null. True if the next reply is not plain."""

    def read_streams(
        self, reader: Any, text: bool, parts: int, arrays: bool, maps: bool, /
    ) -> tuple[bool, list[Any]] | Incomplete | NotPlain:
        """Read the reply to XREAD or XREADGROUP: whether it was a map, and [[stream, [(id, fields), ...]], ...]."""

    def read_range(self, reader: Any, text: bool, /) -> list[Any] | Incomplete | NotPlain:
        """Read the reply to XRANGE: [(id, fields), ...]."""

    def read_claimed(self, reader: Any, text: bool, /) -> list[Any] | Incomplete | NotPlain:
        """Read the reply to XAUTOCLAIM: [cursor, [(id, fields), ...], [deleted id, ...]]."""


@runtime_checkable
class Pack(Protocol):
    """Returns the msgpack bytes of a value, in the form that an event's body has.

    Args:
        value: a value of a type that docs/bodies.md lists.
        default: called with a value that msgpack has no type for; returns what to write in its place.

    Raises:
        SerializationError: with the path to what can't be written.
    """

    def __call__(self, value: object, default: Default | None = None) -> bytes: ...


class Unpack(Protocol):
    """Returns the value that msgpack bytes (any contiguous bytes-like) hold.

    Raises:
        SerializationError: if they are not msgpack, or hold more or less than one value.
    """

    def __call__(self, data: Any) -> Any: ...


class Implementation(Protocol):
    """The names in the package of an implementation. `name` is ``"c"`` or ``"python"``."""

    @property
    def name(self) -> str: ...
    @property
    def BatchWriter(self) -> type[BatchWriter]: ...  # noqa: N802
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
    def staging(self) -> Staging | None: ...

    @property
    def pack(self) -> Pack: ...
    @property
    def unpack(self) -> Unpack: ...
    def key_slot(self, key: Key) -> int: ...
    def key_hash(self, key: Key) -> int: ...
    def mark_acknowledged(self, events: Iterable[Any]) -> None: ...
    def complete(self, events: Iterable[Any], unfinished: dict[str, Any]) -> list[Any]: ...
    def resumed(self, events: Iterable[Any], unfinished: dict[str, Any]) -> list[Any]: ...
    def entries_in(self, events: Iterable[Any]) -> int: ...
    def entry_begin(self, events: list[Any], at: int, most: int) -> int: ...
    def mark_taken_over(self, events: Iterable[Any]) -> None: ...
    def count_deliveries(self, events: Iterable[Any], counts: Mapping[str, int]) -> None: ...
    def matching(self, events: Iterable[Any], tests: Tests) -> list[Any]: ...
