"""Asks for the state of streams: one round trip for all streams of a server.

An error of the network is raised. What the server answers about one stream is kept with that stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from redis.exceptions import ClusterDownError, ConnectionError, TimeoutError

from ..groups import GROUP
from ..protocol import decode_errors
from ..protocol.entry_ids import parse_id
from ..protocol.interface import CommandBuffer, ErrorReply
from ..statistics import (
    RedisStreamConsumerStatistics,
    RedisStreamGroupStatistics,
    RedisStreamStatistics,
    for_groups,
)
from .consume.group_member import is_missing
from .missed import About, missed
from .replies import error_of, in_a_cluster, named, retold
from .retry import Patience
from .server_errors import rule_of, unwrapped
from .steps import Concurrently, Disconnect, Flow, Pause, Refresh, ask_all
from .topology import ClusterMap, next_node

__all__ = ["cluster_statistics", "statistics"]


def statistics(commands: CommandBuffer, pool: str, streams: Sequence[str]) -> Flow[list[RedisStreamStatistics]]:
    """Return the state of the streams of a single server.

    Raises:
        redis.ConnectionError, redis.TimeoutError: if the server does not answer.
    """
    found = yield from _asked(commands, pool, streams)
    return [one if one.error is None else _named(replace(one, error=in_a_cluster(one.error, pool))) for one in found]


def cluster_statistics(cluster: ClusterMap, streams: Sequence[str]) -> Flow[list[RedisStreamStatistics]]:
    """Return the state of the streams of a cluster. All nodes are asked at the same time.

    Raises:
        redis.ConnectionError, redis.TimeoutError: if a node does not answer.
    """
    patience = Patience()
    found: dict[str, RedisStreamStatistics] = {}
    missing = list(streams)
    while True:
        generation = cluster.generation
        by_node: dict[str, list[str]] = {}
        unknown: list[str] = []
        failure: Exception | None = None
        for stream in missing:
            node = cluster.place(stream)
            if node is None:
                error = ClusterDownError("no node of the cluster has its slot")
                found[stream] = _unknown(stream, cluster.name, error)
                unknown.append(stream)
            else:
                by_node.setdefault(node, []).append(stream)
        new = cluster.implementation.CommandBuffer
        jobs = [(node, _asked(new(), cluster.name, there)) for node, there in by_node.items()]
        for (node, _), outcome in zip(jobs, (yield Concurrently(jobs)) if jobs else (), strict=True):
            if isinstance(outcome, (ConnectionError, TimeoutError)):
                failure = outcome
                unknown += by_node[node]
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                for one in outcome:
                    found[one.stream] = one
                    if one.error is not None and rule_of(one.error).resent:
                        next_node(cluster, one.error, node)  # if the slot has moved, the cluster notes where it is
                        unknown.append(one.stream)
        if unknown and not patience.over:
            missing = unknown
            if pause := patience.next_pause():
                yield Pause(pause)
            yield Refresh(generation)
            continue
        if failure is not None:
            raise failure
        return [_named(found[stream]) for stream in streams]


def _asked(commands: CommandBuffer, pool: str, streams: Sequence[str]) -> Flow[list[RedisStreamStatistics]]:
    """``TIME``, and for each stream ``XLEN``, ``XINFO GROUPS``, ``XINFO STREAM`` and ``XPENDING``.

    ``XPENDING`` also for each other group.
    """
    commands.command("TIME")
    for stream in streams:
        commands.xlen(stream)
        commands.xinfo_groups(stream)
        commands.command("XINFO", "STREAM", stream)
        commands.xpending(stream, GROUP)
    replies = yield from ask_all(commands)
    try:
        refused = _error_in(replies[:1])
        now = 0
        if refused is None:
            seconds, microseconds = replies[0]
            now = int(seconds) * 1000 + int(microseconds) // 1000
        if refused is not None:
            return [_unknown(stream, pool, refused) for stream in streams]
        states = [
            _State(stream, *replies[at : at + 4]) for stream, at in zip(streams, range(1, len(replies), 4), strict=True)
        ]
        for state in states:
            for name in state.others:
                commands.xpending(state.stream, name)
        others = iter((yield from ask_all(commands)) if commands.command_count else ())
        return [_stream(state, pool, now, others) for state in states]
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        yield Disconnect()
        raise decode_errors.unexpected_reply("the state of streams", replies) from None


def _named(one: RedisStreamStatistics) -> RedisStreamStatistics:
    """Return the same statistics, whose error names the stream and the pool."""
    if one.error is None:
        return one
    return replace(one, error=retold(one.error, f"stream {one.stream!r} on pool {one.redis_pool!r}: "))


def _error_in(replies: Sequence[Any]) -> Exception | None:
    """The first error among the replies, as redis-py's exception."""
    return next((error_of(unwrapped(reply)) for reply in replies if isinstance(reply, ErrorReply)), None)


def _unknown(stream: str, pool: str, error: Exception) -> RedisStreamStatistics:
    """The statistics of a stream whose state is not known, because of that error."""
    return RedisStreamStatistics(stream, pool, 0, 0, None, error=error)


class _State:
    """What the server has answered about one stream.

    Attributes:
        about: the stream.
        groups: what it says about each group, by the name; empty if the stream is not there.
        others: the names of the groups besides the default one, whose pending entries are still to be asked for.
        error: of the answers, if there is one.
    """

    def __init__(self, stream: str, length: Any, groups: Any, about: Any, pending: Any) -> None:
        self.stream = stream
        self.length = length
        self.pending = pending
        self.about = About(about)
        self.error = _error_in([length, *(one for one in (groups, pending) if not is_missing(one))])
        self.groups: dict[str, dict[str, Any]] = {}
        if self.error is None and not is_missing(groups):
            for group in map(named, groups):
                self.groups[group["name"].decode("utf-8", "surrogateescape")] = group
        self.others = [name for name in self.groups if name != GROUP]


def _stream(state: _State, pool: str, now: int, others: Iterator[Any]) -> RedisStreamStatistics:
    pending = {GROUP: state.pending, **{name: next(others) for name in state.others}}
    error = state.error or _error_in([pending[name] for name in state.others if not is_missing(pending[name])])
    if error is not None:
        return _unknown(state.stream, pool, error)
    groups = tuple(
        _group(name, state, now, *pending[name])
        for name in sorted(state.groups)
        if not is_missing(pending[name])  # it was removed meanwhile
    )
    found = RedisStreamStatistics(
        state.stream, pool, state.length, 0, None, groups=groups, events_per_entry=state.about.events_per_entry
    )
    return for_groups(found, (GROUP,))


def _group(
    name: str,
    state: _State,
    now: int,
    pending: int,
    lowest: bytes | None,
    highest: bytes | None,
    consumers: Any,
) -> RedisStreamGroupStatistics:
    group = state.groups[name]
    last_delivered = group["last-delivered-id"].decode()
    lower = lowest.decode() if lowest else ""
    return RedisStreamGroupStatistics(
        group=name,
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
        missed=missed(group, state.about),
    )


def _age(id: str, now: int) -> timedelta:
    """How long ago the entry with that ID was added, if its ID is a time. `now`: milliseconds since 1970."""
    if id in ("", "0-0"):
        return timedelta()
    milliseconds = max(0, now - parse_id(id)[0])
    return timedelta(milliseconds=milliseconds)
