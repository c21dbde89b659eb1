"""redis-py's Sentinels, none of which gets lost.

redis-py moves the Sentinel that answered to the front of its list, in the place of the first one. Where connections are
made at the same time, two of them move the same one: it is in the list twice then, and another one no more. That one
would never be asked again, nor closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis.asyncio.sentinel
import redis.sentinel

__all__ = ["AsyncSentinels", "Sentinels"]


class _Kept:
    if TYPE_CHECKING:  # what redis-py's have
        sentinels: list[Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.known: tuple[Any, ...] = tuple(self.sentinels)  # clients, in the order in which they were named

    def _keep(self) -> None:
        """Each of them is in the list once, those that answered first."""
        self.sentinels = list(dict.fromkeys((*self.sentinels, *self.known)))


class Sentinels(_Kept, redis.sentinel.Sentinel):
    """As redis-py's."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            address: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        finally:
            self._keep()
        return address


class AsyncSentinels(_Kept, redis.asyncio.sentinel.Sentinel):
    """As redis.asyncio's."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            address: tuple[str, int] = await super().discover_master(service_name)
        finally:
            self._keep()
        return address
