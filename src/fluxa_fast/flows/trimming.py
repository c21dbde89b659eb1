"""Trims a stream that keeps events for some time, or up to a number or a size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from ..errors import FluxaError
from ..keep import Retention
from ..protocol.interface import ErrorReply, Implementation
from ..shared.validation import seconds
from .missed import About, missed
from .patiently import patiently
from .replies import named
from .retry import log, raise_for_error
from .steps import Flow, ask_all

__all__ = ["trim_kept", "trim_now", "trimming"]


def trim_kept(pool: Any, key: str, retention: Retention) -> Flow[None]:
    """``XTRIM key MAXLEN ~ n`` and ``XTRIM key MINID ~ id``, with what ``TIME``, ``XLEN`` and ``MEMORY USAGE`` say.

    Of a packed stream ``XINFO STREAM`` tells how many events an entry has.

    Raises:
        redis.RedisError: as `patiently`.
    """
    return (yield from patiently(pool, key, lambda: trim_now(pool.implementation, key, retention)))


def trim_now(implementation: Implementation, key: str, retention: Retention) -> Flow[None]:
    """As `trim_kept`, over a connection to the node that has the stream. Logs which groups have missed entries by it.

    Raises:
        redis.RedisError: what the server or the network says.
    """
    keep = retention.keep
    commands = implementation.CommandBuffer()
    if keep.age is not None:
        commands.command("TIME")
    if keep.bytes is not None:
        commands.xlen(key)
        commands.command("MEMORY", "USAGE", key)
    counts_entries = retention.packed and keep.events is not None
    if counts_entries:
        commands.command("XINFO", "STREAM", key)
    replies = list((yield from ask_all(commands)) if commands.command_count else ())
    most = keep.events
    if counts_entries and most is not None:
        most = max(1, round(most / About(replies.pop()).events_per_entry))
    known = [raise_for_error(reply) for reply in replies]
    commands = implementation.CommandBuffer()
    if keep.bytes is not None:
        length, used = known[-2:]
        if used is not None and used > keep.bytes:
            fitting = max(1, length * keep.bytes // used)
            most = fitting if most is None else min(most, fitting)
    if most is not None:
        commands.command("XTRIM", key, "MAXLEN", "~", most)
    if keep.age is not None:
        now = int(known[0][0]) * 1000 + int(known[0][1]) // 1000
        oldest = now - round(seconds("age", keep.age) * 1000)
        commands.command("XTRIM", key, "MINID", "~", max(0, oldest))
    if not commands.command_count:
        return
    if sum([raise_for_error(reply) for reply in (yield from ask_all(commands))]):
        yield from _tell_missed(implementation, key, retention)


def _tell_missed(implementation: Implementation, key: str, retention: Retention) -> Flow[None]:
    """Log, once for each group, that entries were trimmed which it was not delivered, as far as the user may ask."""
    commands = implementation.CommandBuffer()
    commands.xinfo_groups(key)
    commands.command("XINFO", "STREAM", key)
    groups, about = yield from ask_all(commands)
    if isinstance(groups, ErrorReply):
        return
    stream = About(about)
    for group in map(named, groups):
        name = group["name"].decode("utf-8", "replace")
        count = missed(group, stream)
        if count and name not in retention.told:
            retention.told.add(name)
            log.warning(
                "%d entries of stream %r were trimmed before group %r was delivered them: it is further behind than "
                "keep= lets it be",
                count,
                key,
                name,
            )


@contextmanager
def trimming(retention: Retention, key: str) -> Iterator[None]:
    """A context for running `trim_kept`. What goes wrong is logged, once: what was published stays published."""
    try:
        yield
    except (RedisError, FluxaError) as error:
        if not retention.warned:
            retention.warned = True
            log.warning("stream %r could not be trimmed, so it keeps more than it was registered with: %s", key, error)
