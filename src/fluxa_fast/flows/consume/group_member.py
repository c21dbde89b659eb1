"""One consumer's place in a stream's group: what it is called, and what it knows so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from redis.exceptions import ResponseError

from ...protocol.entries import TypedOrigin
from ...protocol.interface import CommandBuffer, ErrorReply, Implementation
from ..replies import OK, named, retold
from ..retry import Outage, Recovery, raise_for_error, recovered
from ..scripting import Scripting
from ..steps import Flow, ask
from .deferred_deletes import DeferredDeletes

if TYPE_CHECKING:
    from ...protocol.typed import Reader

__all__ = ["GROUP", "GROUP_LOST", "Fence", "GroupMember", "StopFlag", "group_in", "is_missing"]

GROUP = "consumer_group"
"""The group that all consumers of a stream share; the original uses the same."""

GROUP_LOST = frozenset({"NOGROUP", "UNBLOCKED"})
_ATTEMPTS = 5  # to make a group that somebody else keeps destroying

T = TypeVar("T")


def is_missing(reply: Any) -> bool:
    """Whether there is no such stream, or no such group."""
    return isinstance(reply, ErrorReply) and (reply.code == "NOGROUP" or "no such key" in reply.message)


def group_in(reply: Any) -> dict[str, Any] | None:
    """What the reply to XINFO GROUPS says about the group; None if there is none."""
    if is_missing(reply):
        return None
    return next((group for group in map(named, raise_for_error(reply)) if group["name"] == GROUP.encode()), None)


class StopFlag:
    """Whether a consumer is to stop.

    Unlike `threading.Event` it has no lock: a signal handler that sets it may have interrupted one that was about to.
    """

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False


class Fence(NamedTuple):
    """What the scripts check before they do anything.

    Attributes:
        lease: the key in Redis that holds the owner of the partition.
        owner: who it must be.
    """

    lease: str
    owner: str


@dataclass(slots=True, eq=False)
class GroupMember:
    """A consumer, without its connection.

    Attributes:
        pool: the name of the pool that the stream is on, for errors.
        acknowledge: what `Event.ack` calls.
        group_made: whether the group is known to exist.
        replaying: whether entries may be pending for this consumer that it has not handled.
        deleted: pending entries so far that were no longer in the stream.
        stopping: set by `stop()`; partitions of one consumer share it.
        at_most_once: read without leaving entries pending.
        reader: makes the bodies of events, if the stream has a type of them.
        page: events that are read or acknowledged by one command at most, so that no step takes long.
        in_hand: at most once only: events that were read, and that a handler has yet to be given.
        scripting: what is known of the server and scripts.
        alone_until: until then (monotonic seconds) it is believed that no other group is on the stream.
        shared: whether the stream has other groups too, as the server told last.
        groups_known_until: until then (monotonic seconds) that is believed where the server forbids scripts.
        kept: what is acknowledged and was left in the stream for other groups.
        trim_at: at most once only: when (monotonic seconds) to trim again. Entries that were read are left in the
            stream, because an older entry is pending, or another group has not had them; never, if none are left.
        fence: of a partition that only its owner may acknowledge in.
        outage: that its conversations have met.
    """

    implementation: Implementation
    pool: str
    stream: str
    name: str
    recovery: Recovery
    at_most_once: bool = False
    page: int = 1_000_000_000
    acknowledge: Callable[[Any], Any] | None = None
    reader: Reader | None = None
    group_made: bool = False
    replaying: bool = True
    deleted: int = 0
    stopping: StopFlag = field(default_factory=StopFlag)
    in_hand: list[Any] = field(default_factory=list)
    scripting: Scripting = field(default_factory=Scripting)
    alone_until: float = -math.inf
    shared: bool = False
    groups_known_until: float = -math.inf
    trim_at: float = math.inf
    kept: DeferredDeletes = field(default_factory=DeferredDeletes)
    fence: Fence | None = None
    outage: Outage = field(init=False)

    def __post_init__(self) -> None:
        self.outage = Outage(f"consumer {self.name} of {self.stream}")

    def acknowledged_by(self, acknowledge: Callable[[Any], Any]) -> None:
        """Say what `Event.ack` calls."""
        self.acknowledge = acknowledge if self.reader is None else TypedOrigin(acknowledge, self.reader)

    def take_in_hand(self) -> list[Any]:
        """What is in hand; it is not any more then."""
        events, self.in_hand = self.in_hand, []
        return events

    @property
    def keys(self) -> tuple[str | int, ...]:
        """The keys of a script, and their number in front; behind them, who asks, if that is checked."""
        if self.fence is None:
            return 1, self.stream
        return 2, self.stream, self.fence.lease, self.fence.owner

    def commands(self) -> CommandBuffer:
        """An empty buffer."""
        return self.implementation.CommandBuffer()

    def in_group(self, attempt: Callable[[], Flow[Any]]) -> Flow[Any]:
        """The reply that `attempt` brings, once the group exists and the server is ready. None if stopped meanwhile.

        What an attempt may have read or claimed when it failed is pending for this consumer: it is replayed.
        """

        def with_group() -> Flow[Any]:
            reply: Any = None
            for _ in range(_ATTEMPTS):
                if not self.group_made:
                    yield from self._make_group()
                try:
                    reply = yield from attempt()
                except BaseException:
                    self.replaying = True
                    raise
                if not (isinstance(reply, ErrorReply) and reply.code in GROUP_LOST):
                    break
                self.group_made = False
            return raise_for_error(reply)

        return (yield from self.recovered(with_group, stopped=self.stopping.is_set))

    def recovered(
        self,
        attempt: Callable[[], Flow[T]],
        recovery: Recovery | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Flow[T | None]:
        """The result of `attempt`, once no outage meets it. None if `stopped` during one."""
        return recovered(recovery or self.recovery, self.outage, attempt, stopped, self.located)

    def located(self, error: ResponseError) -> ResponseError:
        """The error, with words that say which stream of which pool it is about."""
        place = f" (stream {self.stream!r} on pool {self.pool!r})"
        return error if str(error).endswith(place) else retold(error, behind=place)

    def _make_group(self) -> Flow[None]:
        """``XGROUP CREATE stream consumer_group 0 MKSTREAM``; one that is there already is as good."""
        commands = self.commands()
        commands.xgroup_create(self.stream, GROUP, "0")
        self.has_group((yield from ask(commands, OK)))

    def has_group(self, reply: Any) -> None:
        """Take the reply to XGROUP CREATE.

        Raises:
            ServerNotReadyError, redis.ResponseError: as `raise_for_error`.
        """
        if not (isinstance(reply, ErrorReply) and reply.code == "BUSYGROUP"):
            raise_for_error(reply)
        self.group_made = True
