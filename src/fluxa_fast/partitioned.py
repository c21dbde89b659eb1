"""The consumer of a stream with partitions: the calls of `EventConsumer`, over all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from .consumer import Batches, EventConsumer, Handler, LeftEarly, acknowledge_one
from .flows.consume.claim import auto_claim
from .flows.consume.group_member import GroupMember
from .flows.consume.leases import Leases
from .flows.consume.session import Crew
from .flows.partition_count import PartitionCheck, check_partitions_recovered
from .flows.retry import Recovery
from .flows.steps import Flow, Refresh, Start
from .protocol.generic import BodyT
from .protocol.interface import Event
from .shared.handlers import HandlerFailedError, check_handler, refuse_unfinished
from .shared.session_guard import Sessions
from .shared.validation import Duration, positive_int, seconds
from .transport.blocking.cluster import ClusterPool
from .transport.blocking.driver import drive
from .transport.blocking.link import GRACE, Link
from .transport.blocking.multiplex import FlowTask, run_ready
from .transport.blocking.pool import Pool

__all__ = ["PartitionedBase", "PartitionedConsumer"]


class PartitionedBase:
    """What a consumer of partitions tells about itself."""

    def __init__(
        self,
        pool: Any,
        stream: str,
        name: str,
        members: Sequence[GroupMember],
        check: PartitionCheck | None,
        leases: Leases | None,
        acknowledging: Callable[[GroupMember], Callable[[Any], Any]],
    ) -> None:
        self._pool = pool
        self._stream = stream
        self._name = name
        self._member = members[0]  # what is asked of it is the same for all
        self._crew = Crew(pool, members, leases)
        self._sessions = Sessions(members)
        self._check = check  # of the number of partitions, before the first call reads anything
        self._links: dict[tuple[str, str], Any] = {}
        # Not a method of ours: it would keep a consumer that nobody uses any more, and with it the connections. And the
        # same for all partitions, because one reply may have events of several.
        acknowledge = _by_stream({member.stream: acknowledging(member) for member in members})
        for member in members:
            member.acknowledged_by(acknowledge)

    @property
    def name(self) -> str:
        """The name in the groups of the partitions; of a consumer that owns partitions, its name among the owners."""
        return self._name

    @property
    def stream(self) -> str:
        """The stream that is consumed."""
        return self._stream

    @property
    def partitions(self) -> tuple[str, ...]:
        """The streams in Redis that are read: all partitions, or those that this consumer owns now."""
        return tuple(one.member.stream for one in self._crew.partitions if one.lease is None or one.lease.valid)

    @property
    def deleted(self) -> int:
        """Entries so far that were pending, but no longer in the stream; acknowledged, and never handed over."""
        return sum(one.member.deleted for one in self._crew.partitions)

    def _link_to(self, node: tuple[str, str]) -> Any:
        """The connection of a lane; those to nodes are kept."""
        link = self._links.get(node)
        if link is None:
            link = self._pool.node_link(*node)
            if not node[1]:
                self._links[node] = link
        return link


def _by_stream(acknowledge: Mapping[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """What acknowledges an event as its partition does."""

    def of_any(event: Any) -> Any:
        return acknowledge[event.stream](event)

    return of_any


class PartitionedConsumer(PartitionedBase, EventConsumer[BodyT]):
    """A consumer of all partitions of a stream, or of those that it owns. Made by the broker.

    It has the calls of `EventConsumer`, and their promises, for each partition. A batch may have events of several
    partitions; those of one partition are in their order. It takes one call at a time, too. There is one connection to
    each node that has partitions, kept from call to call.
    """

    def __init__(
        self,
        pool: Pool | ClusterPool,
        stream: str,
        name: str,
        members: Sequence[GroupMember],
        check: PartitionCheck | None,
        leases: Leases | None = None,
    ) -> None:
        super().__init__(
            pool, stream, name, members, check, leases, lambda member: partial(acknowledge_one, pool, member)
        )
        self._loop: Callable[[], Batches[BodyT] | None] = lambda: None
        self._until: float | None = None  # monotonic seconds: whatever is asked of the servers fails from then on

    # ---- reading ----

    def consume(self, count: int, block: Duration | None, handler: Handler[BodyT]) -> int:
        check_handler(handler, awaited=False)
        waiting = 0.0 if block is None else seconds("block", block, infinite=True)
        positive_int(count)
        with self._sessions.begin("consume"):
            self._check_partitions()
            self._handle(self._crew.begin(count, waiting, once=True), handler)
            return self._crew.handled

    def run(self, handler: Handler[BodyT], count: int = 1000) -> None:
        check_handler(handler, awaited=False)
        positive_int(count)
        with self._sessions.begin("run"):
            self._check_partitions()
            self._handle(self._crew.begin(count, math.inf, once=False), handler)

    def batches(self, count: int = 1000, block: Duration | None = math.inf) -> Iterator[Sequence[Event[BodyT]]]:
        idle = 0.0 if block is None else seconds("block", block, infinite=True)
        positive_int(count)
        self._sessions.check()
        return Batches(self, partial(self._steps, count, idle))

    def _steps(self, count: int, idle: float) -> Generator[Sequence[Event[BodyT]], None, None]:
        self._check_partitions()
        yield from self._deliveries(self._crew.begin(count, idle, once=False))
        if self._crew.error is not None:
            raise self._crew.error

    def auto_claim(self, count: int, min_idle: Duration, handler: Handler[BodyT]) -> int:
        check_handler(handler, awaited=False)
        idle = seconds("min_idle", min_idle)
        positive_int(count)
        with self._sessions.begin("auto_claim"):
            self._check_partitions()
            handled = 0
            for one in self._crew.partitions:
                if one.is_mine:
                    handled += self._ask(auto_claim(one.member, count, idle), one.member.stream, handler)
            return handled

    # ---- leaving ----

    def _clean_up(self, recovery: Recovery | None = None) -> int:
        try:
            return sum(self._ask(flow, key) for key, flow in self._crew.farewells(recovery))
        finally:
            while self._links:
                self._links.popitem()[1].release()

    # ---- driving ----

    def _ask(self, flow: Flow[Any], key: str, handler: Callable[[Sequence[Any]], object] | None = None) -> Any:
        link = self._pool.new_link(key)
        link.limit(self._until)
        try:
            return drive(flow, link, handler)
        finally:
            link.release()

    def _check_partitions(self) -> None:
        """Compare the number of partitions with that of other services, unless this broker has done so.

        Raises:
            PartitionsDifferError: if it is another number.
        """
        if self._check is not None and self._check.due:
            self._pool.run(check_partitions_recovered(self._check, self._member), self._check.key)

    def _limit(self, until: float | None) -> None:
        self._until = until

    def _handle(self, begin: Flow[None], handler: Handler[BodyT]) -> None:
        deliveries = self._deliveries(begin)
        try:
            events = next(deliveries)
            while True:
                try:
                    answer: object = handler(events)  # type: ignore[func-returns-value]  # so it says, perhaps wrongly
                    if answer is not None:
                        refuse_unfinished(handler, answer)
                except BaseException as error:
                    events = deliveries.throw(HandlerFailedError(error))
                else:
                    events = next(deliveries)
        except StopIteration:
            pass
        finally:
            deliveries.close()
        if self._crew.error is not None:
            raise self._crew.error

    def _deliveries(self, begin: Flow[None]) -> Generator[Sequence[Any], None, None]:
        """Every batch; it is handled when the next one is asked for, and not if an exception comes instead.

        What ends the call is the crew's error then.
        """
        crew = self._crew
        tasks: list[FlowTask] = []

        def start(step: Any) -> None:
            if isinstance(step, Start):
                tasks.append(FlowTask(step.flow, step.node and self._link_to(step.node), start))
            elif isinstance(step, Refresh):
                self._pool.refresh(step.seen)

        try:
            tasks.append(FlowTask(begin, None, start))
            turn = crew.turn
            driving = run_ready(tasks, crew.fail)
            while True:
                try:
                    task = next(driving)
                except StopIteration:
                    return
                except BaseException as error:  # Ctrl-C, or what another signal handler raises
                    if crew.interrupted:
                        raise
                    crew.interrupt(error)
                    until = self._limit_links(tasks)
                    for one in tasks:
                        one.interrupted(until)
                    driving = run_ready(tasks, crew.fail)
                    continue
                if not crew.may_deliver(task.events):
                    task.handled(False)  # it came too late
                    continue
                try:
                    yield task.events
                except GeneratorExit:
                    if crew.turn == turn:
                        crew.fail(LeftEarly())
                        task.throw(LeftEarly())
                        self._settle_left(tasks)
                    return
                except HandlerFailedError as failure:
                    if not isinstance(failure.error, Exception):
                        crew.interrupt(failure.error)
                        self._limit_links(tasks)
                    task.throw(failure.error)
                except BaseException as error:  # into a loop over batches
                    task.throw(error)
                else:
                    task.handled()
        finally:
            for one in tasks:
                one.abandon()
            self._set_limit(tasks, None)

    def _settle_left(self, tasks: list[FlowTask]) -> None:
        """A loop was left: let the flows settle what is under way."""
        for task in run_ready(tasks, self._crew.fail):
            task.handled(False)

    def _limit_links(self, tasks: Sequence[FlowTask]) -> float:
        """Leave a second to settle what was handled. Returns its end."""
        until = time.monotonic() + GRACE
        self._set_limit(tasks, until)
        return until

    def _set_limit(self, tasks: Sequence[FlowTask], until: float | None) -> None:
        self._until = until
        for link in (*self._links.values(), *(one.link for one in tasks)):
            if link is not None:
                link.limit(until)

    def _link_to(self, node: tuple[str, str]) -> Link:
        link: Link = super()._link_to(node)
        link.limit(self._until)
        return link
