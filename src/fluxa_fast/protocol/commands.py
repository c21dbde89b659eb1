"""The stream commands, each once, for both implementations.

A command is a tuple of arguments for `CommandBuffer.command`; XADD, the hot one, is an `EntryHead` that
`CommandBuffer.entry` completes with the packed body and the tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

from ..errors import SerializationError
from .resp import argument_bytes, bulk
from .wire import BODY_FIELD_RESP

References = Literal["KEEPREF", "DELREF", "ACKED"]
Argument = str | bytes | int
Command = tuple[Argument, ...]


class EntryHead:
    """The part of an XADD that is the same for all entries of one stream, built once by `entry_head`.

    Attributes:
        stream: the name of the stream.
        prefix: the RESP of the command's name, key, options and ID.
        arguments: how many arguments `prefix` holds.
        before_body: what stands before the body's length in an entry without tags.
        check: raises for a body that the stream does not take; None: it takes any.
        exact: a class whose instances need no check.
    """

    __slots__ = ("arguments", "before_body", "check", "exact", "prefix", "stream")

    def __init__(self, stream: str, prefix: bytes, arguments: int) -> None:
        self.stream: str = stream
        self.prefix: bytes = prefix
        self.arguments: int = arguments
        self.before_body: bytes = b"*%d\r\n%b%b$" % (arguments + 2, prefix, BODY_FIELD_RESP)
        self.check: Callable[[Any], None] | None = None
        self.exact: type | None = None

    def taking(self, check: Callable[[Any], None], exact: type | None) -> EntryHead:
        """The same head, for bodies that pass the check."""
        head = EntryHead(self.stream, self.prefix, self.arguments)
        head.check = check
        head.exact = exact
        return head

    def check_body(self, body: object) -> None:
        """Refuse a body that the stream does not take.

        Raises:
            SerializationError: says what is wrong, and where in the body.
        """
        if self.check is not None and type(body) is not self.exact:
            try:
                self.check(body)
            except SerializationError as error:
                error._located("body")
                raise


def entry_head(
    stream: str,
    *,
    id: Argument = "*",
    nomkstream: bool = False,
    maxlen: int | None = None,
    minid: Argument | None = None,
    approximate: bool = False,
    limit: int | None = None,
    references: References | None = None,
    idmp: tuple[str | bytes, str | bytes] | None = None,
    idmpauto: str | bytes | None = None,
) -> EntryHead:
    """The head of an XADD: everything before the fields.

    ``XADD stream [NOMKSTREAM] [KEEPREF|DELREF|ACKED] [IDMP producer iid | IDMPAUTO producer]
    [MAXLEN|MINID [=|~] threshold [LIMIT count]] <*|id>`` (LIMIT: Redis 6.2; references: 8.2; IDMP: 8.6)

    Args:
        stream: the key.
        id: the entry's ID; ``*`` lets the server choose.
        nomkstream: don't make the stream if it doesn't exist.
        maxlen: trim the stream to that many entries.
        minid: trim the entries below that ID.
        approximate: let the server trim whole nodes only (``~``), which is much cheaper.
        limit: look at that many entries at most while trimming; needs `approximate`.
        references: what trimming does with entries that groups still refer to.
        idmp: (producer, idempotent ID): the server publishes it once, however often it is sent.
        idmpauto: producer; the server makes the idempotent ID from the entry's content.

    Raises:
        ValueError: for options that exclude each other.
    """
    if maxlen is not None and minid is not None:
        raise ValueError("XADD trims by maxlen or by minid, not by both")
    if limit is not None and not approximate:
        raise ValueError("XADD takes limit only together with approximate=True")
    if approximate and maxlen is None and minid is None:
        raise ValueError("XADD takes approximate only together with maxlen or minid")
    if idmp is not None and idmpauto is not None:
        raise ValueError("XADD takes idmp or idmpauto, not both")
    if not isinstance(stream, str):
        raise TypeError(f"a stream's name is a str, not {type(stream).__name__}")
    arguments: list[Argument] = ["XADD", stream]
    if nomkstream:
        arguments.append("NOMKSTREAM")
    if references is not None:
        arguments.append(_references(references))
    if idmp is not None:
        arguments += ["IDMP", *idmp]
    if idmpauto is not None:
        arguments += ["IDMPAUTO", idmpauto]
    arguments += _trimming(maxlen, minid, approximate, limit)
    arguments.append(id)
    return EntryHead(stream, b"".join(bulk(argument_bytes(argument)) for argument in arguments), len(arguments))


def _references(references: str) -> str:
    if references not in ("KEEPREF", "DELREF", "ACKED"):
        raise ValueError(f"references is KEEPREF, DELREF or ACKED, not {references!r}")
    return references


def _trimming(maxlen: int | None, minid: Argument | None, approximate: bool, limit: int | None) -> list[Argument]:
    """``[MAXLEN|MINID [~] threshold [LIMIT count]]``"""
    threshold: Argument | None = maxlen if minid is None else minid
    if threshold is None:
        return []
    arguments: list[Argument] = ["MAXLEN" if minid is None else "MINID"]
    if approximate:
        arguments.append("~")
    arguments.append(threshold)
    if limit is not None:
        arguments += ["LIMIT", limit]
    return arguments


class StreamCommands(Protocol):
    """Appends the stream commands to a buffer. Mixed into the `CommandBuffer` of both implementations."""

    __slots__ = ()

    def command(self, *arguments: object) -> None:
        """Append any command: str, bytes-like, int or float arguments.

        Raises:
            TypeError: for an argument of another type.
            ValueError: if there are no arguments.
        """

    def entry(self, head: EntryHead, body: object = None, tags: Mapping[str, str] | None = None) -> None:
        """Append an XADD: `head`, then the body packed as field ``s`` (unless it is None), then the tags.

        Raises:
            SerializationError: if the body or a tag can't be written, or if there is neither; names the place.
        """

    def xadd(self, stream: str, body: object = None, tags: Mapping[str, str] | None = None, **options: Any) -> None:
        """Append an XADD with the options of `entry_head`."""
        head = entry_head(stream, **options)
        try:
            self.entry(head, body, tags)
        except SerializationError as error:
            error.stream = stream
            raise

    def xreadgroup(
        self,
        group: str,
        consumer: str,
        streams: Mapping[str, Argument],
        *,
        count: int | None = None,
        block: int | None = None,
        claim: int | None = None,
        noack: bool = False,
    ) -> None:
        """``XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [CLAIM ms] [NOACK] STREAMS key... id...``

        Args:
            streams: the ID to read after, for each stream: ``>`` for new entries, else the consumer's own pending.
            count: entries at most, for each stream.
            block: milliseconds; 0 waits for ever, None does not wait.
            claim: milliseconds; take over what was pending that long as well (Redis 8.4).
        """
        arguments: list[Argument] = ["XREADGROUP", "GROUP", group, consumer]
        arguments += _reading(count, block)
        if claim is not None:
            arguments += ["CLAIM", claim]
        if noack:
            arguments.append("NOACK")
        self.command(*arguments, "STREAMS", *streams.keys(), *streams.values())

    def xread(self, streams: Mapping[str, Argument], *, count: int | None = None, block: int | None = None) -> None:
        """``XREAD [COUNT n] [BLOCK ms] STREAMS key... id...``"""
        self.command("XREAD", *_reading(count, block), "STREAMS", *streams.keys(), *streams.values())

    def xrange(self, stream: str, start: Argument = "-", end: Argument = "+", *, count: int | None = None) -> None:
        """``XRANGE key start end [COUNT n]``"""
        self.command("XRANGE", stream, start, end, *_count(count))

    def xack(self, stream: str, group: str, ids: Iterable[Argument]) -> None:
        """``XACK key group id...``"""
        self.command("XACK", stream, group, *ids)

    def xdel(self, stream: str, ids: Iterable[Argument]) -> None:
        """``XDEL key id...``"""
        self.command("XDEL", stream, *ids)

    def xautoclaim(
        self,
        stream: str,
        group: str,
        consumer: str,
        min_idle: int,
        cursor: Argument = "0-0",
        *,
        count: int | None = None,
    ) -> None:
        """``XAUTOCLAIM key group consumer min-idle-ms cursor [COUNT n]`` (Redis 6.2)"""
        self.command("XAUTOCLAIM", stream, group, consumer, min_idle, cursor, *_count(count))

    def xgroup_create(self, stream: str, group: str, id: Argument = "0", *, mkstream: bool = True) -> None:
        """``XGROUP CREATE key group id [MKSTREAM]``"""
        self.command("XGROUP", "CREATE", stream, group, id, *(("MKSTREAM",) if mkstream else ()))

    def xgroup_setid(self, stream: str, group: str, id: Argument) -> None:
        """``XGROUP SETID key group id``"""
        self.command("XGROUP", "SETID", stream, group, id)

    def xgroup_destroy(self, stream: str, group: str) -> None:
        """``XGROUP DESTROY key group``"""
        self.command("XGROUP", "DESTROY", stream, group)

    def xgroup_createconsumer(self, stream: str, group: str, consumer: str) -> None:
        """``XGROUP CREATECONSUMER key group consumer`` (Redis 6.2)"""
        self.command("XGROUP", "CREATECONSUMER", stream, group, consumer)

    def xgroup_delconsumer(self, stream: str, group: str, consumer: str) -> None:
        """``XGROUP DELCONSUMER key group consumer``: drops what is pending for it as well."""
        self.command("XGROUP", "DELCONSUMER", stream, group, consumer)

    def xpending(self, stream: str, group: str) -> None:
        """``XPENDING key group``: number, smallest and largest ID, and number by consumer."""
        self.command("XPENDING", stream, group)

    def xpending_range(
        self,
        stream: str,
        group: str,
        start: Argument = "-",
        end: Argument = "+",
        count: int = 10,
        *,
        consumer: str | None = None,
        min_idle: int | None = None,
    ) -> None:
        """``XPENDING key group [IDLE ms] start end count [consumer]``"""
        idle: Command = () if min_idle is None else ("IDLE", min_idle)
        self.command("XPENDING", stream, group, *idle, start, end, count, *(() if consumer is None else (consumer,)))

    def xinfo_stream(self, stream: str) -> None:
        """``XINFO STREAM key``"""
        self.command("XINFO", "STREAM", stream)

    def xinfo_groups(self, stream: str) -> None:
        """``XINFO GROUPS key``"""
        self.command("XINFO", "GROUPS", stream)

    def xinfo_consumers(self, stream: str, group: str) -> None:
        """``XINFO CONSUMERS key group``"""
        self.command("XINFO", "CONSUMERS", stream, group)

    def xlen(self, stream: str) -> None:
        """``XLEN key``"""
        self.command("XLEN", stream)

    def xtrim(
        self,
        stream: str,
        *,
        maxlen: int | None = None,
        minid: Argument | None = None,
        approximate: bool = False,
        limit: int | None = None,
        references: References | None = None,
    ) -> None:
        """``XTRIM key MAXLEN|MINID [~] threshold [LIMIT count] [KEEPREF|DELREF|ACKED]``"""
        if (maxlen is None) == (minid is None):
            raise ValueError("XTRIM needs either maxlen or minid")
        if limit is not None and not approximate:
            raise ValueError("XTRIM takes limit only together with approximate=True")
        kept: Command = () if references is None else (_references(references),)
        self.command("XTRIM", stream, *_trimming(maxlen, minid, approximate, limit), *kept)

    def evalsha(self, sha: str, keys: Iterable[Argument], arguments: Iterable[Argument] = ()) -> None:
        """``EVALSHA sha numkeys key... argument...``"""
        keys = tuple(keys)
        self.command("EVALSHA", sha, len(keys), *keys, *arguments)

    def eval(self, script: str, keys: Iterable[Argument], arguments: Iterable[Argument] = ()) -> None:
        """``EVAL script numkeys key... argument...``"""
        keys = tuple(keys)
        self.command("EVAL", script, len(keys), *keys, *arguments)


def _count(count: int | None) -> Command:
    """``[COUNT n]``"""
    return () if count is None else ("COUNT", count)


def _reading(count: int | None, block: int | None) -> Command:
    """``[COUNT n] [BLOCK ms]``"""
    return (*_count(count), *(() if block is None else ("BLOCK", block)))
