"""What all services that use a stream must agree on: the first one writes it to Redis, the others compare theirs.

Each broker does that once for each stream. docs/redis.md says what is in Redis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from ..errors import FluxaError
from ..protocol.interface import CommandBuffer, ErrorReply
from .consume.group_member import GroupMember
from .patiently import patiently
from .replies import TEXT
from .retry import log, raise_for_error
from .server_errors import rule_of
from .steps import Flow, ask

__all__ = ["Agreement", "agree", "agree_recovered"]


class Agreement(ABC):
    """Whether one broker has still to compare one thing about one stream.

    Attributes:
        what: the thing, for errors.
        unnoticed: what is not noticed where it can't be compared.
        stream: the name of the stream.
        key: the Redis key that holds it.
        value: what this broker writes, if there is nothing yet; None: it only compares what is there.
        due: whether it is still to be compared.
        attempts: the attempts of the tasks of an event loop; `asyncio.checking` has them.
    """

    __slots__ = ("attempts", "due", "key", "stream", "value")

    what: ClassVar[str]
    unnoticed: ClassVar[str]

    def __init__(self, stream: str, key: str, value: str | int | None) -> None:
        self.stream: str = stream
        self.key: str = key
        self.value: str | int | None = value
        self.due: bool = True
        self.attempts: Any = None

    @abstractmethod
    def check(self, stored: bytes) -> None:
        """Compare this broker's value with the stored one.

        Raises:
            FluxaError: if they differ, or if what is stored can't be right.
        """

    def compare(self, stored: bytes | None) -> None:
        """Compare the value with what is stored in Redis; None: nothing is.

        Raises:
            FluxaError: as `check`.
        """
        if stored is not None:
            self.check(stored)
        self.due = False

    def refused(self, reply: ErrorReply) -> None:
        """Take the error that the server has answered with. If the rights are missing, a warning is logged.

        Raises:
            FluxaError: if the Redis key is of another type.
            ServerNotReadyError, redis.ResponseError: for any other error, as `raise_for_error`.
        """
        if reply.code == "WRONGTYPE":
            raise self.no_value("it is a key of another type")
        if not rule_of(reply).not_allowed:
            raise_for_error(reply)
        self.due = False
        if self.value is not None:
            log.warning(
                "%s of stream %r can't be checked, so %s; give this user the rights +set +get ~%s: %s",
                self.what,
                self.stream,
                self.unnoticed,
                self.key,
                reply.message,
            )

    def no_value(self, why: str) -> FluxaError:
        """Return the error for a Redis key that holds something else."""
        return FluxaError(
            f"key {self.key!r} in Redis is for {self.what} of stream {self.stream!r}, and {why}: delete that key, or "
            "give the stream another name"
        )


def _compared(agreement: Agreement, commands: CommandBuffer) -> Flow[None]:
    """``GET``, and where there is nothing yet ``SET ... NX`` and ``GET``.

    Raises:
        ServerNotReadyError, FluxaError, redis.RedisError: as `Agreement` says.
    """
    commands.command("GET", agreement.key)
    stored = yield from ask(commands, TEXT)
    if stored is None and agreement.value is not None:
        commands.command("SET", agreement.key, agreement.value, "NX")
        written = yield from ask(commands, TEXT)
        if isinstance(written, ErrorReply):
            rule = rule_of(written)
            if rule.not_allowed or rule.about_slot:
                agreement.refused(written)
            return  # OOM, READONLY...: the next command meets that as well, and says it better. It stays due.
        commands.command("GET", agreement.key)
        stored = yield from ask(commands, TEXT)
        if stored is None:
            return
    if isinstance(stored, ErrorReply):
        agreement.refused(stored)
    else:
        agreement.compare(stored)


def agree(agreement: Agreement, pool: Any) -> Flow[None]:
    """Compare it before the first event of a stream is published. The pool runs this for `agreement.key`.

    Raises:
        FluxaError: as `Agreement.compare`.
        redis.RedisError: the error of the server or of the network, as for an event.
    """
    attempt = partial(_attempt, agreement, pool.implementation.CommandBuffer)
    return (yield from patiently(pool, agreement.key, attempt))


def agree_recovered(agreement: Agreement, member: GroupMember) -> Flow[None]:
    """Compare it when a consumer begins a session and the comparison is due. Outages are waited out.

    The pool runs this for `agreement.key`. If the consumer is stopped meanwhile, it stays due.

    Raises:
        FluxaError: as `Agreement.compare`.
        redis.RedisError: the error of the server, or of an outage that lasted longer than the recovery's deadline.
    """
    attempt = partial(_attempt, agreement, member.commands)
    yield from member.recovered(attempt, stopped=member.stopping.is_set)


def _attempt(agreement: Agreement, new_buffer: Callable[[], CommandBuffer]) -> Flow[None]:
    return (yield from _compared(agreement, new_buffer()))
