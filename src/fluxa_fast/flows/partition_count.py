"""The number of partitions of a stream. It stands in Redis once, so that services that differ are told.

Two services that register a stream with different numbers write and read different keys: nothing would arrive, and
nothing would say so. The first service that uses the stream writes its number, all others compare theirs with it. Each
broker does that once for each stream; see docs/cluster.md for what is in Redis.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from ..errors import FluxaError, PartitionsDifferError
from ..partitions import beside
from ..protocol.interface import CommandBuffer, ErrorReply
from .consume.group_member import GroupMember
from .replies import TEXT
from .retry import ServerNotReadyError, log, raise_for_error
from .steps import Disconnect, Flow, Pause, ask
from .topology import Patience

__all__ = ["PartitionCheck", "check_partitions", "check_partitions_recovered", "count_key", "not_checked"]

_NUMBER = re.compile(rb"[1-9]\d{0,4}")

# The user may not do that; or a proxy, or the server's own configuration, does not know the command.
_NOT_ALLOWED = frozenset({"NOPERM", "ERR"})

_ELSEWHERE = frozenset({"ASK", "CLUSTERDOWN", "MOVED", "TRYAGAIN"})


def count_key(stream: str) -> str:
    """The key in Redis that holds the number of partitions of a stream: ``{orders}:partitions``.

    The name of a stream with partitions has no ``{``, so this is the key of no other stream.
    """
    return beside(stream, "partitions")


class PartitionCheck:
    """Whether one broker has still to compare its number of partitions of one stream.

    Args:
        stream: its name.
        number: of partitions, as it is registered here.

    Attributes:
        key: in Redis, which holds the number.
        due: whether the number is still to be compared.
        attempts: of the tasks of an event loop.
    """

    __slots__ = ("attempts", "due", "key", "number", "stream")

    def __init__(self, stream: str, number: int) -> None:
        self.stream: str = stream
        self.number: int = number
        self.key: str = count_key(stream)
        self.due: bool = True
        self.attempts: Any = None

    def compare(self, stored: bytes) -> None:
        """Compare with what stands in Redis.

        Raises:
            PartitionsDifferError: if that is another number.
            FluxaError: if that is no number.
        """
        if not _NUMBER.fullmatch(stored):
            raise self._no_number(f"it holds {stored[:40]!r}")
        if int(stored) != self.number:
            raise PartitionsDifferError(self.stream, self.number, int(stored))
        self.due = False

    def refused(self, reply: ErrorReply) -> None:
        """The server has refused to tell or to take the number.

        Raises:
            FluxaError: if the key is of another type.
            ServerNotReadyError, redis.ResponseError: as `raise_for_error`; not if the rights are missing.
        """
        if reply.code == "WRONGTYPE":
            raise self._no_number("it is a key of another type")
        if reply.code not in _NOT_ALLOWED:
            raise_for_error(reply)
        self.due = False
        log.warning(
            "the number of partitions of stream %r can't be checked, so services that register another number are not "
            "noticed; give this user the rights +set +get ~%s: %s",
            self.stream,
            self.key,
            reply.message,
        )

    def _no_number(self, what: str) -> FluxaError:
        return FluxaError(
            f"key {self.key!r} in Redis is for the number of partitions of stream {self.stream!r}, and {what}: "
            "delete that key, or give the stream another name"
        )


def _compared(check: PartitionCheck, commands: CommandBuffer) -> Flow[None]:
    """``GET``, and where there is no number yet ``SET ... NX`` and ``GET``.

    Raises:
        ServerNotReadyError, FluxaError, redis.RedisError: as `PartitionCheck` says.
    """
    commands.command("GET", check.key)
    stored = yield from ask(commands, TEXT)
    if stored is None:
        commands.command("SET", check.key, check.number, "NX")
        written = yield from ask(commands, TEXT)
        if isinstance(written, ErrorReply):
            if written.code in _NOT_ALLOWED or written.code in _ELSEWHERE:
                check.refused(written)
            return  # OOM, READONLY...: what comes next meets that as well, and tells it better. The check stays due.
        commands.command("GET", check.key)
        stored = yield from ask(commands, TEXT)
    if isinstance(stored, ErrorReply):
        check.refused(stored)
    elif stored is not None:
        check.compare(stored)


def check_partitions(check: PartitionCheck, pool: Any) -> Flow[None]:
    """What a publisher does before its first event of a stream. To be run by the pool, with `check.key` as the key.

    Raises:
        PartitionsDifferError, FluxaError: as `PartitionCheck.compare`.
        redis.RedisError: what the server or the network says, as for an event.
    """
    on_cluster = pool.buffer_of(check.key) == check.key
    patience = Patience()
    while True:
        try:
            return (yield from _compared(check, pool.implementation.CommandBuffer()))
        except ServerNotReadyError as failure:
            error = failure.error
        yield Disconnect(error)  # where the slot is elsewhere, the next attempt goes there
        if not on_cluster or patience.over:
            raise error
        if pause := patience.next_pause():
            yield Pause(pause)


def check_partitions_recovered(check: PartitionCheck, member: GroupMember) -> Flow[None]:
    """What a consumer does at the beginning of a session, if the check is due: outages are waited for.

    To be run by the pool, with `check.key` as the key. If the consumer is stopped meanwhile the check stays due.

    Raises:
        PartitionsDifferError, FluxaError: as `PartitionCheck.compare`.
        redis.RedisError: what the server says, or the outage that lasted longer than the recovery's deadline.
    """
    attempt = partial(_attempt, check, member)
    yield from member.recovered(attempt, stopped=member.stopping.is_set)


def _attempt(check: PartitionCheck, member: GroupMember) -> Flow[None]:
    return (yield from _compared(check, member.commands()))


def not_checked(check: PartitionCheck, error: RedisError) -> RedisError:
    """The error of events that were not sent, because the number could not be compared."""
    text = f"nothing was sent, because the number of partitions of {check.stream!r} could not be checked: {error}"
    kind = next((one for one in (TimeoutError, ConnectionError) if isinstance(error, one)), ResponseError)
    told: RedisError = kind(text)
    told.__cause__ = error
    return told
