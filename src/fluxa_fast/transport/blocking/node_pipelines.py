"""A short pipeline to each of several nodes at the same time, by one thread and without a selector.

All of them are sent before the first reply is waited for. The replies of the other nodes gather at their sockets
meanwhile, and are read in large pieces.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError, TimeoutError

from ...flows.publish.cluster_flush import NodePipeline, NotReachedError
from ..pool_base import WINDOW
from .link import Link

__all__ = ["are_short", "send_all"]


def are_short(pipelines: Sequence[NodePipeline]) -> bool:
    """Whether no node has to read its replies before another one gets the rest of its commands."""
    return max([len(one.commands) for one in pipelines]) <= WINDOW


def send_all(pipelines: Sequence[NodePipeline], links: Sequence[Link]) -> list[Any]:
    """Send short pipelines, each over its link. Returns for each None, or the error that ended it."""
    outcomes: list[Any] = []
    for one, link in zip(pipelines, links, strict=True):
        outcomes.append(None)
        try:
            _begin(link, one)
        except Exception as error:
            outcomes[-1] = error
    begun = time.monotonic()
    for place, (one, link) in enumerate(zip(pipelines, links, strict=True)):
        if outcomes[place] is None:
            try:
                _finish(link, one, begun)
            except Exception as error:
                outcomes[place] = error
    return outcomes


def _begin(link: Link, one: NodePipeline) -> None:
    """Send what the socket takes at once.

    Raises:
        NotReachedError: if there is no connection.
        redis.ConnectionError, redis.TimeoutError: if the connection broke.
    """
    try:
        link.connect()
    except (ConnectionError, TimeoutError) as error:
        raise NotReachedError from error
    link.push(one.commands, one.replies)


def _finish(link: Link, one: NodePipeline, begun: float) -> None:
    """Send the rest, and wait for the replies."""
    if link.sending(one.commands):
        link.pipeline(one.commands, one.replies)
    else:
        timeout = link.timeout
        link.gather(one.replies, overdue=timeout is not None and time.monotonic() > begun + timeout)
