"""Acknowledging from many tasks: what they ask for at the same time goes out together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...flows.consume.acknowledge import acknowledge
from ...flows.consume.group_member import GroupMember
from ...protocol.entry_ids import by_id
from ..base import AsyncPool
from ..failures import told_again
from .one_loop import OneLoopLock

__all__ = ["Acknowledging"]


class _Round:
    """Events that are acknowledged together."""

    __slots__ = ("error", "events", "over")

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.over = False
        self.error: Exception | None = None


class Acknowledging:
    """Acknowledges for the tasks of one consumer, on another connection than the consumer's own.

    One round is under way at a time; meanwhile the next one collects. If the task that does a round is cancelled,
    the next one does it again.

    Args:
        pending: false for events that were read at most once, which only have to go.
    """

    def __init__(self, pool: AsyncPool, member: GroupMember, *, pending: bool = True) -> None:
        self._pool = pool
        self._member = member
        self._pending = pending
        self._lock = OneLoopLock(f"the consumer {member.name} of {member.stream!r}")
        self._next = _Round()

    async def one(self, event: Any) -> None:
        """`Event.ack`"""
        if not event.acknowledged:
            await self.all([event])

    async def all(self, events: Sequence[Any]) -> None:
        """Returns when the server has confirmed it."""
        self._lock.check()
        own = self._next
        own.events += events
        async with self._lock:
            if not own.over:
                if self._next is own:
                    self._next = _Round()
                await self._do(own)
        if own.error is not None:
            raise told_again(own.error)

    async def _do(self, own: _Round) -> None:
        own.events.sort(key=by_id)
        try:
            await self._pool.run(acknowledge(self._member, own.events, pending=self._pending), self._member.stream)
        except Exception as error:
            own.error = error
        own.over = True
