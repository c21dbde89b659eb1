"""RESP commands in a bytearray, and the writer of events."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import SerializationError, UnregisteredStreamError
from .. import checks, encode_errors
from ..body_codec import encoded
from ..commands import StreamCommands
from ..hashing import Key, without_partitions
from ..interface import Default, EntryHead
from ..packed_log import PackedLog
from ..resp import argument_bytes, bulk
from ..wire import BODY_FIELD_RESP
from .events import Event
from .hashing import key_hash
from .msgpack import BodyPacker
from .open_entries import OpenEntry


class CommandBuffer(StreamCommands):
    """`..interface.CommandBuffer`, in pure Python."""

    __slots__ = ("_body_packer", "_busy", "_bytes", "_encode_body", "command_count", "default", "full_at", "packed")

    def __init__(self, default: Default | None = None, encode_body: Callable[[bytes], bytes] | None = None) -> None:
        self.default: Default | None = default
        self._encode_body = encode_body
        self.full_at: int = sys.maxsize
        self.command_count: int = 0
        self.packed: PackedLog | None = None
        self._bytes = bytearray()
        self._body_packer: BodyPacker | None = None
        self._busy = False

    def __len__(self) -> int:
        return len(self._bytes)

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)

    def view(self) -> memoryview:
        self._check_idle()
        return memoryview(self._bytes).toreadonly()

    def _append(self, written: bytes | bytearray, commands: int) -> None:
        try:
            self._bytes += written
        except BufferError:
            raise _viewed() from None
        self.command_count += commands

    def command(self, *arguments: object) -> None:
        self._check_idle()
        if not arguments:
            raise ValueError("a command has a name at least")
        self._append(b"*%d\r\n%b" % (len(arguments), _arguments(arguments)), 1)

    def entry(self, head: EntryHead, body: object = None, tags: Mapping[str, str] | None = None) -> None:
        # *<arguments>\r\n <prefix> [$1\r\ns\r\n $<size>\r\n<msgpack>\r\n] [<name> <value>]...
        self._check_idle()
        if tags is not None and type(tags) is not dict:
            tags = checks.tags_as_dict(tags)
        self._busy = True
        try:
            written = self._written(head, body, tags)
        finally:
            self._busy = False
        self._append(written, 1)

    def entries(self, head: EntryHead, bodies: Iterable[object], tags: Mapping[str, str] | None, first: int) -> int:
        """Append an entry for each body, or nothing if a body can't be written. Returns how many."""
        self._check_idle()
        if tags is not None and type(tags) is not dict:
            tags = checks.tags_as_dict(tags)
        before = len(self._bytes)
        count = 0
        self._busy = True
        try:
            for body in bodies:
                head.check_body(body)
                self._append(self._written(head, body, tags), 0)
                count += 1
        except BaseException as error:
            del self._bytes[before:]
            if isinstance(error, SerializationError):
                encode_errors.locate_in_many(error, first + count)
            raise
        finally:
            self._busy = False
        self.command_count += count
        return count

    def _written(self, head: EntryHead, body: object, tags: Mapping[str, str] | None) -> bytes:
        if body is None and not tags:
            raise encode_errors.empty_event()
        if not tags:
            packed = self._packed(body)
            return b"%b%d\r\n%b\r\n" % (head.before_body, len(packed), packed)
        arguments = head.arguments + 2 * len(tags)
        parts = [head.prefix]
        if body is not None:
            arguments += 2
            parts += BODY_FIELD_RESP, bulk(self._packed(body))
        parts += map(_tag, tags.items())
        return b"*%d\r\n%b" % (arguments, b"".join(parts))

    def _packed(self, body: object) -> bytes:
        packed = (self._body_packer or self._packer).pack(body)
        return packed if self._encode_body is None else encoded(self._encode_body, packed)

    @property
    def _packer(self) -> BodyPacker:
        """Packs the bodies of this buffer. It has much memory, so a buffer without bodies has none."""
        if self._body_packer is None:
            self._body_packer = BodyPacker(self.default)
        return self._body_packer

    def with_ids(self, arguments: Sequence[str | bytes | int], events: Iterable[Event]) -> int:
        ids = [event._id for event in events if not event._acknowledged]
        if ids:
            self._append(b"*%d\r\n%b%b" % (len(arguments) + len(ids), _arguments(arguments), _bulks(ids)), 1)
        return len(ids)

    def keys(self, positions: Iterable[int]) -> list[str]:
        walk = enumerate(self._spans())
        found = []
        current, span = -1, (0, 0)
        for wanted in positions:
            if wanted < current or not 0 <= wanted < self.command_count:
                raise IndexError("positions are ascending, and below the number of commands")
            while current < wanted:
                current, span = next(walk)
            _, after_name = self._bulk_at(self._line_end(span[0]) + 2)
            key, _ = self._bulk_at(after_name)
            found.append(key.decode("utf-8", "surrogateescape"))
        return found

    def keep(self, positions: Iterable[int]) -> None:
        wanted = positions if isinstance(positions, range) else set(positions)
        if wanted and not 0 <= min(wanted) <= max(wanted) < self.command_count:
            raise IndexError("positions are below the number of commands")
        packed = None if self.packed is None else self.packed.kept(sorted(wanted))
        kept = bytearray()
        for position, (begin, end) in enumerate(self._spans()):
            if position in wanted:
                kept += self._bytes[begin:end]
        self.clear()
        self._append(kept, len(wanted))
        self.packed = packed

    def truncate(self, commands: int, size: int) -> None:
        if not (0 <= commands <= self.command_count and 0 <= size <= len(self._bytes)):
            raise ValueError("the buffer holds less than that")
        self._check_idle()
        try:
            del self._bytes[size:]
        except BufferError:
            raise _viewed() from None
        self.command_count = commands
        if self.packed is not None:
            self.packed.truncate(commands)

    def swap(self, other: CommandBuffer) -> None:
        for one in (self, other):
            one._check_idle()
            one._check_unseen()
        self._bytes, other._bytes = other._bytes, self._bytes
        self.command_count, other.command_count = other.command_count, self.command_count
        self.packed, other.packed = other.packed, self.packed

    def extend(self, other: CommandBuffer) -> None:
        self._check_idle()
        other._check_idle()
        begin = self.command_count
        self._append(bytes(other._bytes), other.command_count)
        if other.packed is not None:
            self.packed = self.packed or PackedLog()
            self.packed.extend(other.packed, begin)

    def _check_idle(self) -> None:
        if self._busy:
            raise encode_errors.in_use()

    def _check_unseen(self) -> None:
        """Raise BufferError if a view of the buffer is held."""
        try:
            self._bytes.append(0)
        except BufferError:
            raise _viewed() from None
        self._bytes.pop()

    def give_back(self, most: int) -> bool:
        self._check_idle()
        try:
            del self._bytes[max(0, len(self._bytes) - most) :]
        except BufferError:
            raise _viewed() from None
        self.command_count = 0
        self.packed = None
        return not self._bytes

    def clear(self) -> None:
        self._check_idle()
        try:
            self._bytes.clear()
        except BufferError:
            raise _viewed() from None
        self.command_count = 0
        self.packed = None

    def _note_packed(self, lane: int, events: int) -> None:
        """The last command is an entry of a packed stream."""
        if self.packed is None:
            self.packed = PackedLog()
        self.packed.add(self.command_count - 1, lane, events)

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Yield the beginning and the end of each command."""
        at = 0
        for _ in range(self.command_count):
            begin = at
            end = self._line_end(at)
            arguments = int(self._bytes[at + 1 : end])
            at = end + 2
            for _ in range(arguments):
                end = self._line_end(at)
                at = end + 4 + int(self._bytes[at + 1 : end])
            yield begin, at

    def _line_end(self, at: int) -> int:
        return self._bytes.index(b"\r\n", at)

    def _bulk_at(self, at: int) -> tuple[bytes, int]:
        """Return the bulk string at `at`, and the position behind it."""
        begin = self._line_end(at) + 2
        end = begin + int(self._bytes[at + 1 : begin - 2])
        return bytes(self._bytes[begin:end]), end + 2


def _viewed() -> BufferError:
    return BufferError("the buffer can't be written to while a view of it is held")


class _Headers(dict[int, str]):
    """What stands in front of a bulk string, by its length."""

    def __missing__(self, length: int) -> str:
        header = self[length] = f"\r\n${length}\r\n"
        return header


_HEADERS = _Headers()


def _bulks(ids: list[str]) -> bytes:
    """Return IDs as bulk strings."""
    parts = [""] * (2 * len(ids))
    parts[0::2] = map(_HEADERS.__getitem__, map(len, ids))
    parts[1::2] = ids
    parts.append("\r\n")
    return "".join(parts).encode()[2:]


def _arguments(arguments: Sequence[object]) -> bytes:
    """Return arguments as bulk strings. Most are str, and those take no call of their own."""
    encoded = [one.encode() if type(one) is str else argument_bytes(one) for one in arguments]
    return b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in encoded])


def _tag(item: tuple[Any, Any]) -> bytes:
    name, value = checks.tag_as_bytes(*item)
    return bulk(name) + bulk(value)


_NO_STREAM = object()


class Route(NamedTuple):
    """Where the events of a stream, or of one of its partitions, go."""

    head: EntryHead
    lane: int
    target: int
    buffer: CommandBuffer
    open: OpenEntry | None
    checks: bool


class EventWriter:
    """`..interface.EventWriter`, in pure Python."""

    __slots__ = (
        "_buffers",
        "_heads",
        "_last",
        "_last_stream",
        "_next",
        "_on_full",
        "_open_target",
        "_packed",
        "_routes",
        "_run_index",
        "_run_length",
        "_runs",
        "count",
    )

    def __init__(
        self,
        heads: Mapping[str, Sequence[EntryHead]],
        open_target: Callable[[str, int], tuple[int, int, CommandBuffer]],
        on_full: Callable[[int], object] | None = None,
    ) -> None:
        self._runs: list[tuple[int, int]]
        self._run_index: int
        self._run_length: int
        self._last: Route
        self._last_stream: object
        self._heads = dict(heads)
        self._open_target = open_target
        self._on_full = on_full
        self._next = {stream: random.randrange(len(of_stream)) for stream, of_stream in heads.items()}
        self._routes: dict[str, dict[int, Route]] = {stream: {} for stream in heads}
        self._packed: list[Route] = []
        self.count: int = 0
        self._buffers: dict[int, CommandBuffer] = {}
        self.restart(())

    def publish(
        self,
        stream: str,
        body: object = None,
        tags: Mapping[str, str] | None = None,
        key: Key | None = None,
        id: str | None = None,
    ) -> None:
        # The same object is often named again.
        route = self._last if key is None and stream is self._last_stream else self.route_of(stream, key)
        try:
            if route.checks:
                route.head.check_body(body)
            if route.open is not None and id is None:
                written = route.open.publish(body, tags)
                if not written and route.lane == self._run_index:
                    self._run_length += 1
                    self.count += 1
                    return
            else:
                self._publish_alone(route, body, tags, id)
        except SerializationError as error:
            error.stream = stream
            raise
        self._written(route, 1)

    def _publish_alone(self, route: Route, body: object, tags: Mapping[str, str] | None, id: str | None) -> None:
        """Publish an event that is an entry."""
        head = route.head if id is None else route.head.numbered(id)
        if route.open is None:
            route.buffer.entry(head, body, tags)
            return
        route.open.close()
        route.buffer.entry(head, body, tags)
        route.buffer._note_packed(route.lane, 1)

    def publish_many(
        self,
        stream: str,
        bodies: Iterable[object],
        tags: Mapping[str, str] | None = None,
        first: int = 0,
        key: Key | None = None,
    ) -> int:
        route = self.route_of(stream, key)
        if type(bodies) not in (list, tuple):
            checks.check_bodies(bodies)
        try:
            if route.open is not None:
                count = route.open.publish_many(bodies, tags, first)
            else:
                count = route.buffer.entries(route.head, bodies, tags, first)
        except SerializationError as error:
            error.stream = stream
            raise
        self._written(route, count)
        return count

    def route_of(self, stream: str, key: Key | None) -> Route:
        try:
            routes = self._routes[stream]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None
        partition = self._next[stream] if key is None else _partition_of(self._heads[stream], stream, key)
        if (route := routes.get(partition)) is not None:
            if key is None:
                self._last, self._last_stream = route, stream
            return route
        head = self._heads[stream][partition]
        lane, index, buffer = self._open_target(stream, partition)
        self._buffers[index] = buffer
        opened = None if head.packing is None else OpenEntry(buffer, head, head.packing, lane)
        route = routes.setdefault(partition, Route(head, lane, index, buffer, opened, head.check is not None))
        if opened is not None and route.open is opened:
            self._packed.append(route)
        return route

    def index(self, stream: str, key: Key | None = None) -> int:
        return self.route_of(stream, key).target

    def close_entries(self) -> None:
        for route in self._packed:
            if route.open is not None:
                route.open.close()

    def close_entry(self, stream: str, key: Key | None = None) -> None:
        opened = self.route_of(stream, key).open
        if opened is not None:
            opened.close()

    @property
    def open_size(self) -> int:
        return sum([route.open.size for route in self._packed if route.open is not None])

    def _written(self, route: Route, count: int) -> None:
        if count and route.lane != self._run_index:
            self._close_run()
            self._run_index = route.lane
        self._run_length += count
        self.count += count
        if self._on_full is not None and len(route.buffer) >= route.buffer.full_at:
            self._on_full(route.target)

    def _close_run(self) -> None:
        if self._run_length:
            self._runs.append((self._run_index, self._run_length))
        self._run_length = 0

    @property
    def filled(self) -> list[int]:
        return [index for index, buffer in self._buffers.items() if buffer.command_count]

    def take_buffers(self) -> Iterator[tuple[int, CommandBuffer]]:
        """Move all commands out, into buffers of their own. Yields the index of each target, and its commands."""
        for index in self.filled:
            own = CommandBuffer()
            own.swap(self._buffers[index])
            yield index, own

    def check_idle(self) -> None:
        for buffer in self._buffers.values():
            buffer._check_idle()
        for route in self._packed:
            if route.open is not None:
                route.open.check_idle()

    @property
    def order(self) -> list[tuple[int, int]]:
        self._close_run()
        self._run_index = -1
        return list(self._runs)

    def restart(self, order: Iterable[tuple[int, int]]) -> None:
        self._runs = list(order)
        self._run_index = -1
        self._run_length = 0
        self.count = sum([length for _, length in self._runs])
        self._last_stream = _NO_STREAM
        for stream, heads in self._heads.items():
            self._next[stream] = (self._next[stream] + 1) % len(heads)


def _partition_of(heads: Sequence[EntryHead], stream: str, key: Key) -> int:
    if not heads[0].partitioned:
        raise without_partitions(stream)
    try:
        return key_hash(key) % len(heads)
    except SerializationError as error:
        error.stream = stream
        raise
