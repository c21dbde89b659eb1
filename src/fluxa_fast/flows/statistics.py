"""Asking for the state of streams: one round trip for all streams of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from redis.exceptions import AskError, ClusterDownError, ConnectionError, TimeoutError, TryAgainError

from ..protocol import refused_bytes
from ..protocol.interface import CommandBuffer
from ..statistics import RedisStreamConsumerStatistics, RedisStreamGroupStatistics, RedisStreamStatistics
from .membership import GROUP, group_in, is_missing
from .nodes import ClusterMap, Patience
from .recovery import ServerNotReadyError, checked
from .steps import Disconnect, Flow, Pause, Refresh, Together, ask_all

__all__ = ["cluster_statistics", "statistics"]


_PASSING = (AskError, ClusterDownError, ConnectionError, TimeoutError, TryAgainError)


def statistics(commands: CommandBuffer, pool: str, streams: Sequence[str]) -> Flow[list[RedisStreamStatistics]]:
    """``TIME``, and for each stream ``XLEN``, ``XINFO GROUPS`` and ``XPENDING``."""
    commands.command("TIME")
    for stream in streams:
        commands.xlen(stream)
        commands.xinfo_groups(stream)
        commands.xpending(stream, GROUP)
    replies = yield from ask_all(commands)
    try:
        seconds, microseconds = checked(replies[0])
        now = int(seconds) * 1000 + int(microseconds) // 1000
        return [
            _stream(stream, pool, now, *replies[at : at + 3])
            for stream, at in zip(streams, range(1, len(replies), 3), strict=True)
        ]
    except ServerNotReadyError as error:
        raise error.error from None
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        yield Disconnect()
        raise refused_bytes.unexpected_reply("the state of streams", replies) from None


def cluster_statistics(cluster: ClusterMap, streams: Sequence[str]) -> Flow[list[RedisStreamStatistics]]:
    """The same from the nodes of a cluster, from all of them at the same time."""
    patience = Patience()
    found: dict[str, RedisStreamStatistics] = {}
    while True:
        generation = cluster.generation
        missing = [stream for stream in streams if stream not in found]
        by_node: dict[str, list[str]] = {}
        failure: Exception | None = None
        for stream in missing:
            node = cluster.place(stream)
            if node is None:
                failure = ClusterDownError(f"no node of the cluster has the slot of {stream!r}")
            else:
                by_node.setdefault(node, []).append(stream)
        new = cluster.implementation.CommandBuffer
        jobs = [(node, statistics(new(), cluster.name, there)) for node, there in by_node.items()]
        for (node, _), outcome in zip(jobs, (yield Together(jobs)) if jobs else (), strict=True):
            if isinstance(outcome, AskError):
                cluster.redirected(outcome, node)
            elif isinstance(outcome, Exception) and not isinstance(outcome, _PASSING):
                raise outcome
            if isinstance(outcome, Exception):
                failure = outcome
            else:
                found.update((one.stream, one) for one in outcome)
        if failure is None:
            return [found[stream] for stream in streams]
        if patience.over:
            raise failure
        if pause := patience.next_pause():
            yield Pause(pause)
        yield Refresh(generation)


def _stream(stream: str, pool: str, now: int, length: Any, groups: Any, pending: Any) -> RedisStreamStatistics:
    group = None if is_missing(pending) else group_in(groups)
    if group is None:
        return RedisStreamStatistics(stream, pool, checked(length), 0, None)
    statistics = _group(group, now, *checked(pending))
    age = int(statistics.lower_duration.total_seconds())
    return RedisStreamStatistics(stream, pool, checked(length), age, statistics)


def _group(
    group: dict[str, Any], now: int, pending: int, lowest: bytes | None, highest: bytes | None, consumers: Any
) -> RedisStreamGroupStatistics:
    last_delivered = group["last-delivered-id"].decode()
    lower = lowest.decode() if lowest else ""
    return RedisStreamGroupStatistics(
        group=GROUP,
        lag=group.get("lag"),
        pending=pending,
        last_delivered_id=last_delivered,
        last_delivered_duration=_age(last_delivered, now),
        lower_id=lower,
        lower_duration=_age(lower, now),
        consumers=tuple(
            RedisStreamConsumerStatistics(name.decode("utf-8", "replace"), int(count))
            for name, count in consumers or ()
        ),
    )


def _age(id: str, now: int) -> timedelta:
    if id in ("", "0-0"):
        return timedelta()
    milliseconds = max(0, now - int(id.partition("-")[0]))
    return timedelta(milliseconds=milliseconds)
