"""A consumer's place in the group of one Redis stream: what it is called, and what it knows of the group."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from redis.exceptions import ResponseError

from ...groups import Groups
from ...hooks import Hooks
from ...keep import Retention
from ...protocol.entries import TypedOrigin
from ...protocol.interface import CommandBuffer, ErrorReply, Implementation
from ..replies import named, retold
from ..retry import Outage, Recovery, raise_for_error, recovered
from ..scripting import Scripting
from ..server_errors import Verdict, codes_with
from ..steps import Flow
from .entry_sizes import EntrySizes
from .held_entries import HeldEntries
from .options import ConsumerOptions

if TYPE_CHECKING:
    from ...packing import Packing
    from ...protocol.typed import Reader

__all__ = ["GROUP_LOST", "Fence", "GroupMember", "StopFlag", "group_in", "is_missing"]

GROUP_LOST = codes_with(Verdict.REJOIN)
"""Codes of errors that say: the group is not there (any more)."""

_KEPT_TRIMMED = 60.0  # seconds between two trims by one idle consumer; publishers trim more often
_MOST_UNFINISHED = 1000  # entries of which it is kept which of their events were handled
_NO_PAGES = 1_000_000_000  # events in one command: no limit that a consumer reaches

T = TypeVar("T")


def is_missing(reply: Any) -> bool:
    """Whether there is no such stream, or no such group."""
    return isinstance(reply, ErrorReply) and (reply.code == "NOGROUP" or "no such key" in reply.message)


def group_in(reply: Any, name: str) -> dict[str, Any] | None:
    """Return what the reply to XINFO GROUPS says about a group; None if there is none."""
    if is_missing(reply):
        return None
    return next((group for group in map(named, raise_for_error(reply)) if group["name"] == name.encode()), None)


class StopFlag:
    """Whether a consumer is to stop, and what becomes of the events that it has read.

    Unlike `threading.Event` it has no lock: a signal handler that sets it may have interrupted a thread that holds it.
    """

    __slots__ = ("_drain_until", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._drain_until = -math.inf

    def is_set(self) -> bool:
        return self._is_set

    def set(self, drain_until: float = -math.inf) -> None:
        """Stop. Until then (monotonic seconds) what was read is handed over."""
        self._drain_until = drain_until
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False
        self._drain_until = -math.inf

    @property
    def ends_delivery(self) -> bool:
        """Whether nothing may be handed over any more."""
        return self._is_set and time.monotonic() >= self._drain_until


class Fence(NamedTuple):
    """What a script compares before it changes anything.

    Attributes:
        lease: the Redis key that holds the name of the partition's owner.
        owner: the name that it must hold.
    """

    lease: str
    owner: str


class GroupMember:
    """A consumer's place in the group of one Redis stream, without a connection.

    Attributes:
        implementation: of the protocol.
        pool: the name of the pool that the stream is on, for errors.
        stream: the Redis key of the stream, or of one of its partitions.
        group: the name of the group.
        groups: that are to be made, if they are not there: first its own.
        retention: how much the stream keeps of what was acknowledged; None: nothing.
        keeps: whether it keeps some.
        name: in the group.
        recovery: how outages are waited for.
        at_most_once: whether events are read without being pending.
        stopping: set by `stop()`; the partitions of one consumer share it.
        reader: makes the bodies of events, if the stream has a type of them.
        hooks: that are told what it does; None: there are none.
        page: how many events one command reads or acknowledges at most, so that no step takes long.
        acknowledge: what `Event.ack` calls.
        group_made: whether the group is known to exist.
        had_group: whether it was known to exist before.
        deleted: how many pending entries were not in the stream any more, so far.
        scripting: what is known of the server and scripts.
        claiming: the same, about the script that takes over what other consumers have.
        alone_until: until then (monotonic seconds) the stream is believed to have no other group.
        shared: whether the stream has other groups too, as the server said last.
        groups_known_until: until then (monotonic seconds) that is believed where the server forbids scripts.
        held: what was acknowledged, and may be in the stream still.
        by_ids_until: until then (monotonic seconds) nothing can be trimmed: other entries lie in front.
        trim_at: at most once only: when (monotonic seconds) to trim again, because entries that were read are left
            behind an older pending entry, or for another group. Infinity: none are left.
        fence: what scripts compare, if only the owner of the partition may acknowledge.
        outage: of the server, as its conversations meet it.
        sizes: of the entries that it has read.
        unfinished: entries of which some events were handled: by the ID of each what its events share.
    """

    def __init__(
        self,
        implementation: Implementation,
        pool: str,
        stream: str,
        groups: Groups,
        retention: Retention | None,
        options: ConsumerOptions,
        stopping: StopFlag,
        reader: Reader | None = None,
        hooks: Hooks | None = None,
        packing: Packing | None = None,
    ) -> None:
        self.implementation = implementation
        self.pool = pool
        self.stream = stream
        self.groups = groups
        self.retention = retention
        self.keeps: bool = retention is not None
        self._kept_trimmed_at: float = -math.inf
        self.group: str = groups[0][0]
        self.name: str = options.group_name
        self.recovery: Recovery = options.recovery
        self.at_most_once: bool = options.at_most_once
        self.stopping = stopping
        self.reader = reader
        self.hooks = hooks
        self.page: int = _NO_PAGES
        self.acknowledge: Callable[[Any], Any] | None = None
        self.group_made: bool = False
        self.deleted: int = 0
        self.had_group: bool = False
        self._handled = ""
        self.scripting: Scripting = Scripting(required=len(groups) > 1)
        self.claiming: Scripting = Scripting()
        self.alone_until: float = -math.inf
        self.shared: bool = False
        self.groups_known_until: float = -math.inf
        self.held: HeldEntries = HeldEntries()
        self.by_ids_until: float = -math.inf
        self.trim_at: float = math.inf
        self.fence: Fence | None = None
        self.outage: Outage = Outage(f"consumer {self.name} of {self.stream}", hooks)
        self.sizes: EntrySizes = EntrySizes(packing)
        self.unfinished: dict[str, Any] = {}

    def acknowledged_by(self, acknowledge: Callable[[Any], Any]) -> None:
        """Say what `Event.ack` calls."""
        self.acknowledge = acknowledge if self.reader is None else TypedOrigin(acknowledge, self.reader)

    def fenced_by(self, fence: Fence) -> None:
        """Say that only the owner of the lease may acknowledge. That needs scripts."""
        self.fence = fence
        self.scripting.required = True

    def completed(self, events: list[Any]) -> list[Any]:
        """These events were handled. Returns what is to be acknowledged: one event for each entry that is complete."""
        if not self.sizes.packed:
            return events
        while len(self.unfinished) > _MOST_UNFINISHED:  # they have gone to other consumers
            self.unfinished.pop(next(iter(self.unfinished)), None)
        return self.implementation.complete(events, self.unfinished)

    def resumed(self, events: list[Any]) -> list[Any]:
        """These events were read again. Returns those that were not handled before."""
        return self.implementation.resumed(events, self.unfinished) if self.unfinished else events

    def handled_up_to(self, events: Sequence[Any]) -> None:
        """All that was read up to these events was handled: if the group gets lost, it goes on behind them."""
        if self.goes_on and events:
            self._handled = events[-1].entry_id

    @property
    def goes_on(self) -> bool:
        """Whether a group that gets lost is made again behind what this consumer has handled, and not where it began.

        The stream has what other groups still need, or keeps events, so the whole of it would be delivered again. A
        group that has begun in the middle of the stream must not be given what lies before. For the one group of a
        stream, whatever is in the stream was not handled: it begins at the start.
        """
        return self.keeps or len(self.groups) > 1 or self.groups[0][1] != "0"

    def position(self) -> str:
        """Return where the group begins, if it is made now."""
        return self._handled if self.had_group and self._handled else self.groups[0][1]

    @property
    def may_trim(self) -> bool:
        """Whether what was acknowledged can be deleted by trimming, as far as is known."""
        return self.fence is None and self.scripting.allowed and time.monotonic() >= self.by_ids_until

    def kept_is_due(self) -> bool:
        """Whether what is too old or too much is to be trimmed, by a consumer that has nothing else to do. Once."""
        now = time.monotonic()
        if self.retention is None or now < self._kept_trimmed_at + _KEPT_TRIMMED:
            return False
        self._kept_trimmed_at = now
        return True

    def nothing_to_trim(self) -> None:
        """What is left in the stream is not for this consumer to trim."""
        self.trim_at = math.inf

    @property
    def keys(self) -> tuple[str | int, ...]:
        """The arguments of a script in front of its own: the number of its Redis keys, these, and the owner's name."""
        if self.fence is None:
            return 1, self.stream
        return 2, self.stream, self.fence.lease, self.fence.owner

    def commands(self) -> CommandBuffer:
        """Return an empty buffer."""
        return self.implementation.CommandBuffer()

    def recovered(
        self,
        attempt: Callable[[], Flow[T]],
        recovery: Recovery | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Flow[T | None]:
        """The result of `attempt`, which is tried again during outages. None if `stopped` during one."""
        return recovered(recovery or self.recovery, self.outage, attempt, stopped, self.located)

    def located(self, error: ResponseError) -> ResponseError:
        """Return the error, with words that say which stream of which pool it is about."""
        place = f" (stream {self.stream!r} on pool {self.pool!r})"
        return error if str(error).endswith(place) else retold(error, behind=place)

    def has_group(self, reply: Any) -> None:
        """Take the reply to XGROUP CREATE. BUSYGROUP says that the group is there already.

        Raises:
            ServerNotReadyError, redis.ResponseError: as `raise_for_error`.
        """
        if not (isinstance(reply, ErrorReply) and reply.code == "BUSYGROUP"):
            raise_for_error(reply)
        self.group_made = self.had_group = True
