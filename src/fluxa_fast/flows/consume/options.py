"""What a caller asks of a consumer: checked once, and carried as one value from the broker to the engine."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from ...filters import Filter, Where, checked_where
from ...groups import GROUP, Groups, checked_group
from ...positions import Start, position_before
from ...shared.validation import Duration, seconds
from ..retry import Recovery

__all__ = ["ORDERED", "SINGLE", "ConsumerOptions", "Delivery", "Order"]

Delivery = Literal["at-least-once", "at-most-once"]

Order = Literal["fair", "strict"]
"""In which order a consumer of several streams reads them: in turn, or the first one that has events."""

SINGLE = "consumer-single"
"""The name of the one consumer of `consumer_single`."""

ORDERED = "consumer-ordered"
"""The name in the groups of every consumer of `consumer_ordered`: the lease says which consumer reads."""

_SHORTEST_LEASE = 0.5  # seconds
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What a caller asks of a consumer.

    Attributes:
        name: what `EventConsumer.name` says.
        group_name: the name in the group.
        at_most_once: whether events are read without being pending.
        recovery: how outages are waited for.
        lease: seconds that a lease on a partition lasts; None: the consumer needs no leases.
        group: as the caller has given it; None: the stream's only one, or the default.
        position: where the group begins if it has to be made, as XGROUP CREATE takes it; None: as it is declared.
        filter: which events it is given; None: all.
        strict: whether a stream is read only if those before it have no events.
    """

    name: str
    group_name: str
    at_most_once: bool
    recovery: Recovery
    lease: float | None = None
    group: str | None = None
    position: str | None = None
    filter: Filter | None = None
    strict: bool = False

    @property
    def hands_back(self) -> bool:
        """Whether other consumers may have what this one has read and not handled when it stops.

        No other consumer has the name in the group that this one has. What was read at most once is not pending.
        """
        return self.group_name not in (SINGLE, ORDERED) and not self.at_most_once

    @staticmethod
    def checked(
        name: str | None,
        delivery: Delivery,
        recovery: Recovery | None,
        lease: Duration | None = None,
        group: str | None = None,
        start: Start | None = None,
        where: Where | None = None,
        order: Order = "fair",
    ) -> ConsumerOptions:
        """Check what the caller has given. `name`: None for a new one.

        Raises:
            TypeError, ValueError: for an argument that can't be right; the error names it.
        """
        lasting = None if lease is None else seconds("lease", lease)
        if lasting is not None and lasting < _SHORTEST_LEASE:
            raise ValueError(f"a lease lasts {_SHORTEST_LEASE} s at least, not {lasting:g}")
        if delivery not in get_args(Delivery):
            raise ValueError(f"delivery is {' or '.join(map(repr, get_args(Delivery)))}, not {delivery!r}")
        if order not in get_args(Order):
            raise ValueError(f"order is {' or '.join(map(repr, get_args(Order)))}, not {order!r}")
        if recovery is not None and not isinstance(recovery, Recovery):
            raise TypeError(f"recovery is a Recovery (its deadline is in seconds), not {recovery!r}")
        name = _new_name() if name is None else _checked_name(name)
        group_name = name if lease is None else ORDERED
        return ConsumerOptions(
            name,
            group_name,
            delivery == "at-most-once",
            recovery or Recovery(),
            lasting,
            None if group is None else checked_group(group),
            None if start is None else position_before(start),
            None if where is None else checked_where(where),
            order == "strict",
        )

    def groups_of(self, stream: str, declared: Groups) -> Groups:
        """Return the groups that are to be made of a stream: first the one that this consumer is in.

        Raises:
            ValueError: if its group is not declared, or if it has to be named.
        """
        names = [name for name, _ in declared]
        told = ", ".join(map(repr, names))
        group = self.group
        if group is None:
            if len(names) > 1 and GROUP not in names:
                raise ValueError(f"stream {stream!r} has the groups {told}: say which one: group=...")
            group = GROUP if GROUP in names else names[0]
        if group not in names:
            raise ValueError(
                f"group {group!r} is not declared for stream {stream!r}, which has {told}: add it to groups= of"
                " register_redis_stream(), in all services"
            )
        own = (group, self.position or dict(declared)[group])
        return (own, *(one for one in declared if one[0] != group))


def _checked_name(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name is a str or None, not {type(name).__name__}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"name {name!r} has a lone surrogate, which UTF-8 can't hold") from None
    if not name:
        raise ValueError("name is a str of at least one character, or None for a new one")
    return name


def _new_name() -> str:
    """Return a name for one of many consumers: ``consumer-<UTC time>-<random number>``."""
    now = datetime.now(UTC).strftime("%Y_%m_%d_%H_%M_%S")
    return f"consumer-{now}-{_random.getrandbits(64)}"
