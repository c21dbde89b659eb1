"""Comparing the number of partitions once, however many tasks publish their first event at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

from ..flows.agreement import agree
from ..flows.partition_count import PartitionCheck
from ..transport.failures import told_again

__all__ = ["checked_together"]


class _Attempts:
    """The attempts to make one check in one event loop.

    Attributes:
        loop: the event loop.
        turn: is held by the task that makes the attempt.
        failed: how many attempts have failed.
        error: of the last one that has failed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.turn = asyncio.Lock()
        self.failed = 0
        self.error: Exception | None = None


async def checked_together(check: PartitionCheck, pool: Any) -> None:
    """Run `agree`. Tasks that wait for the same check share its outcome, also an error.

    Raises:
        PartitionsDifferError, FluxaError, redis.RedisError: as `agree`.
    """
    loop = asyncio.get_running_loop()
    if check.attempts is None or check.attempts.loop is not loop:
        check.attempts = _Attempts(loop)
    attempts: _Attempts = check.attempts
    failed = attempts.failed
    async with attempts.turn:
        if not check.due:
            return
        if attempts.error is not None and attempts.failed != failed:
            raise told_again(attempts.error)
        try:
            await pool.run(agree(check, pool), check.key)
        except Exception as error:
            attempts.failed += 1
            attempts.error = told_again(error)
            attempts.error.__cause__ = None  # it would keep the frames of this task
            raise
    check.attempts = None
