"""The stream commands of both implementations.

A command is a list of arguments for `CommandBuffer.command`. XADD, the hot command, begins with an `EntryHead`, to
which `CommandBuffer.entry` adds the packed body and the tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import SerializationError
from .entry_ids import checked_id
from .resp import bulk
from .wire import BODY_FIELD_RESP

if TYPE_CHECKING:
    from ..packing import Packing

Argument = str | bytes | int
Command = tuple[Argument, ...]


class EntryHead:
    """The part of an XADD that is the same for all entries of a stream. `entry_head` makes it.

    Attributes:
        stream: the Redis key of the stream, or of its partition.
        partitioned: whether it is a partition.
        prefix: the RESP of the command's name, its Redis key and its ID.
        arguments: how many arguments `prefix` holds.
        before_body: the RESP that stands before the body's length in an entry without tags.
        check: raises for a body that the stream does not accept; None: the stream accepts every body.
        exact: a class whose instances need no check; None: every body is checked.
        packing: how the writer of a flusher packs events; None: each event is an entry.
    """

    __slots__ = ("arguments", "before_body", "check", "exact", "packing", "partitioned", "prefix", "stream")

    def __init__(
        self,
        stream: str,
        partitioned: bool,
        prefix: bytes,
        arguments: int,
        check: Callable[[Any], None] | None = None,
        exact: type | None = None,
        packing: Packing | None = None,
    ) -> None:
        self.stream: str = stream
        self.partitioned: bool = partitioned
        self.prefix: bytes = prefix
        self.arguments: int = arguments
        self.before_body: bytes = b"*%d\r\n%b%b$" % (arguments + 2, prefix, BODY_FIELD_RESP)
        self.check: Callable[[Any], None] | None = check
        self.exact: type | None = exact
        self.packing: Packing | None = packing

    def taking(self, check: Callable[[Any], None], exact: type | None) -> EntryHead:
        """Return the same head with a check of its bodies."""
        return EntryHead(self.stream, self.partitioned, self.prefix, self.arguments, check, exact, self.packing)

    def numbered(self, id: str) -> EntryHead:
        """Return the same head with an ID that the publisher has chosen: ``XADD stream id``.

        Raises:
            TypeError, ValueError: if it can't be the ID of an entry.
        """
        prefix = self.prefix.removesuffix(_ANY_ID) + bulk(checked_id(id).encode())
        return EntryHead(self.stream, self.partitioned, prefix, self.arguments, self.check, self.exact)

    def check_body(self, body: object) -> None:
        """Refuse a body that the stream does not accept.

        Raises:
            SerializationError: tells what is wrong, and where in the body.
        """
        if self.check is not None and type(body) is not self.exact:
            try:
                self.check(body)
            except SerializationError as error:
                error._located("body")
                raise


_ANY_ID = bulk(b"*")


def entry_head(stream: str, partitioned: bool = False, packing: Packing | None = None) -> EntryHead:
    """Return the head of an XADD to a stream, in which the server chooses the ID: ``XADD stream *``.

    `packing` is how a flusher packs the events of the stream.

    Raises:
        TypeError: if the name of the stream is not a str.
    """
    if not isinstance(stream, str):
        raise TypeError(f"a stream's name is a str, not {type(stream).__name__}")
    arguments = (b"XADD", stream.encode(), b"*")
    return EntryHead(stream, partitioned, b"".join(map(bulk, arguments)), len(arguments), packing=packing)


class StreamCommands(Protocol):
    """The stream commands that can be appended to a buffer. A base class of both implementations' `CommandBuffer`."""

    __slots__ = ()

    def command(self, *arguments: object) -> None:
        """Append a command of str, bytes-like, int or float arguments.

        Raises:
            TypeError: for an argument of another type.
            ValueError: if there are no arguments.
        """

    def entry(self, head: EntryHead, body: object = None, tags: Mapping[str, str] | None = None) -> None:
        """Append an XADD: `head`, then the packed body in its field (unless it is None), then the tags.

        Raises:
            SerializationError: if the body or a tag can't be written, or if there is neither. Tells the place.
        """

    def xreadgroup(
        self,
        group: str,
        consumer: str,
        streams: Mapping[str, Argument],
        *,
        count: int | None = None,
        block: int | None = None,
        noack: bool = False,
    ) -> None:
        """``XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key... id...``

        Args:
            group: the consumer group.
            consumer: the name of the consumer.
            streams: by stream the ID to read after. ``>`` reads new entries, any other ID what is pending for the
                consumer.
            count: the most entries to read of each stream.
            block: how many milliseconds to wait for an entry. 0 waits for ever, None does not wait.
            noack: read at most once: nothing becomes pending.
        """
        arguments: list[Argument] = ["XREADGROUP", "GROUP", group, consumer]
        arguments += _reading(count, block)
        if noack:
            arguments.append("NOACK")
        self.command(*arguments, "STREAMS", *streams.keys(), *streams.values())

    def xread(self, streams: Mapping[str, Argument], *, count: int | None = None, block: int | None = None) -> None:
        """``XREAD [COUNT n] [BLOCK ms] STREAMS key... id...``"""
        self.command("XREAD", *_reading(count, block), "STREAMS", *streams.keys(), *streams.values())

    def xack(self, stream: str, group: str, ids: Iterable[Argument]) -> None:
        """``XACK key group id...``"""
        self.command("XACK", stream, group, *ids)

    def xautoclaim(
        self, stream: str, group: str, consumer: str, min_idle: int, cursor: Argument, *, count: int
    ) -> None:
        """``XAUTOCLAIM key group consumer min-idle-ms cursor COUNT n`` (Redis 6.2)"""
        self.command("XAUTOCLAIM", stream, group, consumer, min_idle, cursor, "COUNT", count)

    def xgroup_create(self, stream: str, group: str, id: Argument) -> None:
        """``XGROUP CREATE key group id MKSTREAM``"""
        self.command("XGROUP", "CREATE", stream, group, id, "MKSTREAM")

    def xpending(self, stream: str, group: str) -> None:
        """``XPENDING key group``: how many are pending, the lowest and highest ID, and how many by consumer."""
        self.command("XPENDING", stream, group)

    def xpending_range(
        self, stream: str, group: str, start: Argument, end: Argument, count: int, *, consumer: str
    ) -> None:
        """``XPENDING key group start end count consumer``"""
        self.command("XPENDING", stream, group, start, end, count, consumer)

    def xinfo_groups(self, stream: str) -> None:
        """``XINFO GROUPS key``"""
        self.command("XINFO", "GROUPS", stream)

    def xlen(self, stream: str) -> None:
        """``XLEN key``"""
        self.command("XLEN", stream)


def _reading(count: int | None, block: int | None) -> Command:
    """``[COUNT n] [BLOCK ms]``"""
    counted: Command = () if count is None else ("COUNT", count)
    return (*counted, *(() if block is None else ("BLOCK", block)))
