"""Compares the number of partitions of a stream with the one in Redis, so that services notice when theirs differ.

Two services that register a stream with different numbers write and read different keys: events would not arrive, and
no error would say so. The first service that uses the stream writes its number to Redis. All other services compare
theirs with it. Each broker does that once for each stream; docs/cluster.md says what is in Redis.
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
from .patiently import patiently
from .replies import TEXT
from .retry import log, raise_for_error
from .server_errors import rule_of
from .steps import Flow, ask

__all__ = ["PartitionCheck", "check_partitions", "check_partitions_recovered", "count_key", "not_checked"]

_NUMBER = re.compile(rb"[1-9]\d{0,4}")


def count_key(stream: str) -> str:
    """Return the Redis key that holds the number of partitions of a stream: ``{orders}:partitions``.

    The name of a stream with partitions has no ``{``, so no other stream has this Redis key.

    Args:
        stream: the registered name, behind the registry's prefix.
    """
    return beside(stream, "partitions")


class PartitionCheck:
    """Whether one broker has still to compare its number of partitions of one stream.

    Attributes:
        stream: the name of the stream.
        number: how many partitions it is registered with here.
        key: the Redis key that holds the number.
        due: whether the number is still to be compared.
        attempts: the attempts of the tasks of an event loop; `asyncio.checking` has them.
    """

    __slots__ = ("attempts", "due", "key", "number", "stream")

    def __init__(self, stream: str, number: int, key: str) -> None:
        self.stream: str = stream
        self.number: int = number
        self.key: str = key
        self.due: bool = True
        self.attempts: Any = None

    def compare(self, stored: bytes) -> None:
        """Compare the number with the one that is stored in Redis.

        Raises:
            PartitionsDifferError: if the stored number is another one.
            FluxaError: if no number is stored.
        """
        if not _NUMBER.fullmatch(stored):
            raise self._no_number(f"it holds {stored[:40]!r}")
        if int(stored) != self.number:
            raise PartitionsDifferError(self.stream, self.number, int(stored))
        self.due = False

    def refused(self, reply: ErrorReply) -> None:
        """Take the error that the server has answered with. If the rights are missing, a warning is logged.

        Raises:
            FluxaError: if the Redis key is of another type.
            ServerNotReadyError, redis.ResponseError: for any other error, as `raise_for_error`.
        """
        if reply.code == "WRONGTYPE":
            raise self._no_number("it is a key of another type")
        if not rule_of(reply).not_allowed:
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
            rule = rule_of(written)
            if rule.not_allowed or rule.about_slot:
                check.refused(written)
            return  # OOM, READONLY...: the next command meets that as well, and says it better. The check stays due.
        commands.command("GET", check.key)
        stored = yield from ask(commands, TEXT)
    if isinstance(stored, ErrorReply):
        check.refused(stored)
    elif stored is not None:
        check.compare(stored)


def check_partitions(check: PartitionCheck, pool: Any) -> Flow[None]:
    """Compare the number before the first event of a stream is published. The pool runs this for `check.key`.

    Raises:
        PartitionsDifferError, FluxaError: as `PartitionCheck.compare`.
        redis.RedisError: the error of the server or of the network, as for an event.
    """
    return (yield from patiently(pool, check.key, lambda: _compared(check, pool.implementation.CommandBuffer())))


def check_partitions_recovered(check: PartitionCheck, member: GroupMember) -> Flow[None]:
    """Compare the number when a consumer begins a session and the check is due. Outages are waited out.

    The pool runs this for `check.key`. If the consumer is stopped meanwhile, the check stays due.

    Raises:
        PartitionsDifferError, FluxaError: as `PartitionCheck.compare`.
        redis.RedisError: the error of the server, or of an outage that lasted longer than the recovery's deadline.
    """
    attempt = partial(_attempt, check, member)
    yield from member.recovered(attempt, stopped=member.stopping.is_set)


def _attempt(check: PartitionCheck, member: GroupMember) -> Flow[None]:
    return (yield from _compared(check, member.commands()))


def not_checked(check: PartitionCheck, error: RedisError) -> RedisError:
    """Return the error for events that were not sent because the number could not be compared."""
    text = f"nothing was sent, because the number of partitions of {check.stream!r} could not be checked: {error}"
    kind = next((kind for kind in (TimeoutError, ConnectionError) if isinstance(error, kind)), ResponseError)
    told: RedisError = kind(text)
    told.__cause__ = error
    return told
