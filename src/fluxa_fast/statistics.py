"""What the broker tells about streams: the original's fields, in snake_case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["RedisStreamConsumerStatistics", "RedisStreamGroupStatistics", "RedisStreamStatistics"]


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
    """The consumer group of a stream.

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
    """

    group: str
    lag: int | None
    pending: int
    last_delivered_id: str
    last_delivered_duration: timedelta
    lower_id: str
    lower_duration: timedelta
    consumers: tuple[RedisStreamConsumerStatistics, ...]


@dataclass(frozen=True, slots=True)
class RedisStreamStatistics:
    """A registered stream.

    Attributes:
        stream: the stream's name.
        redis_pool: the name of its Redis pool.
        len: how many entries it holds; 0 for a stream that does not exist.
        oldest_event_seconds: the age of the oldest pending entry in whole seconds; 0 if none is pending.
        group: its consumer group, or None if it has none yet.
    """

    stream: str
    redis_pool: str
    len: int
    oldest_event_seconds: int
    group: RedisStreamGroupStatistics | None
