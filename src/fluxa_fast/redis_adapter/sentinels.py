"""redis-py's list of Sentinels, out of which none gets lost.

redis-py swaps the Sentinel that answered with the first one of its list. When two threads or tasks do that at the same
time, a Sentinel may be in the list twice, and another one not at all: it would never be asked again, nor closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis.asyncio.sentinel
import redis.sentinel

__all__ = ["AsyncSentinels", "Sentinels"]


class _AllSentinels:
    if TYPE_CHECKING:  # what redis-py's have
        sentinels: list[Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.known: tuple[Any, ...] = tuple(self.sentinels)  # clients, in the order in which they were named

    def _keep(self) -> None:
        """Have each Sentinel in the list once, with those in front that have answered."""
        self.sentinels = list(dict.fromkeys((*self.sentinels, *self.known)))


class Sentinels(_AllSentinels, redis.sentinel.Sentinel):
    """As redis-py's."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            address: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        finally:
            self._keep()
        return address


class AsyncSentinels(_AllSentinels, redis.asyncio.sentinel.Sentinel):
    """As redis.asyncio's."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            address: tuple[str, int] = await super().discover_master(service_name)
        finally:
            self._keep()
        return address
