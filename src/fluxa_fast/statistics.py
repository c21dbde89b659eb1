"""Statistics of streams, with the fields of the original in snake_case."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from .protocol.entry_ids import parse_id

__all__ = [
    "RedisStreamConsumerStatistics",
    "RedisStreamGroupStatistics",
    "RedisStreamStatistics",
    "added_up",
    "for_groups",
]


@dataclass(frozen=True, slots=True)
class RedisStreamConsumerStatistics:
    """A consumer that has pending entries.

    Attributes:
        name: the consumer's name.
        pending: how many entries were delivered to it and not acknowledged.
    """

    name: str
    pending: int


@dataclass(frozen=True, slots=True)
class RedisStreamGroupStatistics:
    """A consumer group of a stream.

    Attributes:
        group: the group's name.
        lag: entries that are still to be delivered; None where the server can't tell (after entries in the middle were
            deleted, and before Redis 7.0).
        pending: entries that were delivered and not acknowledged.
        last_delivered_id: the newest entry that was delivered; ``0-0`` before the first.
        last_delivered_duration: the age of that entry; zero before the first.
        lower_id: the oldest pending entry; empty if none is pending.
        lower_duration: the age of that entry; zero if none is pending.
        consumers: the consumers that have pending entries.
        missed: how many entries were trimmed before this group was delivered them, since the last one that it was
            delivered; None where that can't be told (before Redis 7.0, without the right to XINFO STREAM, and before
            the group was delivered anything).
    """

    group: str
    lag: int | None
    pending: int
    last_delivered_id: str
    last_delivered_duration: timedelta
    lower_id: str
    lower_duration: timedelta
    consumers: tuple[RedisStreamConsumerStatistics, ...]
    missed: int | None = None


@dataclass(frozen=True, slots=True)
class RedisStreamStatistics:
    """A registered stream.

    Attributes:
        stream: the stream's name.
        redis_pool: the name of its Redis pool.
        len: how many entries it holds; 0 for a stream that does not exist. A packed entry has many events, and counts
            once, here and in all numbers of pending entries.
        oldest_event_seconds: the age of the group's oldest pending entry in whole seconds; 0 if none is pending.
        group: its consumer group, or None if it has none yet. If several are declared: the one furthest behind.
        groups: all groups that it has on the server, sorted by name, declared or not.
        partitions: the statistics of each partition, for a stream with partitions. The fields above are then about all
            partitions: sums of numbers, the oldest pending entry, the newest delivered entry.
        error: redis-py's exception, if the server could not tell the state of this stream; else None. With an error,
            the length is 0 and there is no group. A stream with partitions has the first error of its partitions.
        events_per_entry: how many events the oldest and the newest entry have, on average; 1.0 for a stream that is not
            packed. So the stream has about ``len * events_per_entry`` events. Of a stream with partitions, the average
            of those that have entries.
    """

    stream: str
    redis_pool: str
    len: int
    oldest_event_seconds: int
    group: RedisStreamGroupStatistics | None
    partitions: tuple[RedisStreamStatistics, ...] = ()
    error: Exception | None = None
    groups: tuple[RedisStreamGroupStatistics, ...] = ()
    events_per_entry: float = 1.0

    @property
    def furthest_behind(self) -> RedisStreamGroupStatistics | None:
        """The group that holds entries back from being deleted, if there are several: it has had the fewest.

        Its oldest pending entry is the oldest of all groups; or, if none is pending, it was delivered the fewest.
        """
        return furthest_behind(self.groups) if len(self.groups) > 1 else None


def furthest_behind(groups: Sequence[RedisStreamGroupStatistics]) -> RedisStreamGroupStatistics | None:
    """Return the group that has had the fewest entries of a stream; None if there is no group."""
    return min(groups, key=lambda one: parse_id(one.lower_id or one.last_delivered_id), default=None)


def for_groups(one: RedisStreamStatistics, names: Container[str]) -> RedisStreamStatistics:
    """Return the same statistics, about these groups: `group` is the one of them that is furthest behind."""
    group = furthest_behind([group for group in one.groups if group.group in names])
    oldest = timedelta() if group is None else group.lower_duration
    return replace(one, group=group, oldest_event_seconds=int(oldest.total_seconds()))


def added_up(stream: str, partitions: Sequence[RedisStreamStatistics]) -> RedisStreamStatistics:
    """Return the statistics of a stream from those of its partitions.

    If a partition has an error, so has the stream: a sum without this partition would be wrong.
    """
    error = next((one.error for one in partitions if one.error is not None), None)
    if error is not None:
        return RedisStreamStatistics(stream, partitions[0].redis_pool, 0, 0, None, tuple(partitions), error)
    by_name: dict[str, list[RedisStreamGroupStatistics]] = {}
    for one in partitions:
        for group in one.groups:
            by_name.setdefault(group.group, []).append(group)
    groups = tuple(_groups_added_up(by_name[name]) for name in sorted(by_name))
    names = {one.group.group for one in partitions if one.group is not None}
    filled = [one.events_per_entry for one in partitions if one.len]
    found = RedisStreamStatistics(
        stream=stream,
        redis_pool=partitions[0].redis_pool,
        len=sum(one.len for one in partitions),
        oldest_event_seconds=0,
        group=None,
        partitions=tuple(partitions),
        groups=groups,
        events_per_entry=sum(filled) / len(filled) if filled else 1.0,
    )
    return for_groups(found, names)


def _groups_added_up(groups: Sequence[RedisStreamGroupStatistics]) -> RedisStreamGroupStatistics:
    lags = [one.lag for one in groups]
    counts = [one.missed for one in groups if one.missed is not None]
    newest = max(groups, key=lambda one: parse_id(one.last_delivered_id))
    oldest = min((one for one in groups if one.pending), key=lambda one: parse_id(one.lower_id), default=None)
    consumers: dict[str, int] = {}
    for one in groups:
        for consumer in one.consumers:
            consumers[consumer.name] = consumers.get(consumer.name, 0) + consumer.pending
    return RedisStreamGroupStatistics(
        group=groups[0].group,
        lag=None if None in lags else sum(lag for lag in lags if lag is not None),
        pending=sum(one.pending for one in groups),
        last_delivered_id=newest.last_delivered_id,
        last_delivered_duration=newest.last_delivered_duration,
        lower_id=oldest.lower_id if oldest else "",
        lower_duration=oldest.lower_duration if oldest else timedelta(),
        consumers=tuple(RedisStreamConsumerStatistics(*one) for one in sorted(consumers.items())),
        missed=sum(counts) if counts else None,
    )
