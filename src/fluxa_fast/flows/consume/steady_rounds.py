"""Rounds over a stream that always has more events: each of them is one write and one wait.

While the handler has a batch, the next one is on its way. When the handler is done, one write acknowledges its batch,
and reads the batch behind the next one. While the handler works, the consumer has never read more than one batch ahead.
Whatever is out of the ordinary ends these rounds, and is left to `NodeReader`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...protocol.interface import ErrorReply, EventBatch
from ...shared.handlers import HandlerFailedError
from ..steps import Deliver, Exchange, Flow, Receive, ReceiveAll
from .acknowledge import PAGE, Acknowledgements, few_and_alone
from .in_flight import EventsAcknowledged, FewAcknowledged, ReadReply
from .node_writer import NodeWriter
from .partition_state import NEW, Partition, ReadEvents
from .reading import events_reply, write_read

if TYPE_CHECKING:
    from .session import ConsumerSession

__all__ = ["SteadyRounds", "with_early_replies"]


class SteadyRounds(NodeWriter):
    """A node reader's rounds over its only partition, as long as every read of it brings a full batch."""

    def __init__(self, session: ConsumerSession, name: tuple[str, str]) -> None:
        super().__init__(session, name)
        self._ahead = False  # the read in flight was sent before the handler had the batch before it
        self._ahead_at = 0.0  # when it was sent (monotonic seconds)
        self._early: deque[Any] = deque()  # replies that came, and were not looked at, to what is in flight first

    @abstractmethod
    def _deliver(self, batch: Sequence[ReadEvents]) -> Flow[None]:
        """Hand a batch over."""

    def _may_be_steady(self, partition: Partition) -> bool:
        """Whether nothing about the consumer asks for more than these rounds do."""
        session, member = self._session, partition.member
        return (
            session.lone
            and session.leases is None
            and session.filter is None
            and not member.at_most_once
            and member.sizes.plain
            and session.count <= min(PAGE, member.page)
            and isinstance(self._in_flight[-1], ReadReply)
            and (len(self._in_flight) == 1 or (len(self._in_flight) == 2 and self._in_flight[0].is_one))
        )

    def _is_steady(self, partition: Partition) -> bool:
        """Whether a batch was handled, and there is nothing to do but to go on."""
        asking = self._asking
        return (
            len(partition.to_acknowledge) > 0
            and not self._session.ending
            and not (partition.replay_due or partition.takes_over or partition.claim_sent or partition.deleted)
            and (asking is None or not (asking.found or self._read_at >= asking.busy_at))
        )

    def _steady_rounds(self, partition: Partition) -> Flow[None]:
        session, member, in_flight = self._session, partition.member, self._in_flight
        count, read = session.count, (events_reply(member.acknowledge),)
        commands, next_read = member.commands(), member.commands()
        write_read(next_read, member, count, None, NEW)
        told = session.state.hooks is not None or session.in_hand is not None
        acknowledged: Any = in_flight[0] if len(in_flight) > 1 else None
        read_at = self._ahead_at
        while self._is_steady(partition):
            if few_and_alone(member, partition.to_acknowledge):
                next_acknowledged: Any = FewAcknowledged(partition, commands)
            else:
                acknowledgements = Acknowledgements(member, partition.to_acknowledge, at_once=False)
                yield from acknowledgements.write(commands)
                next_acknowledged = EventsAcknowledged(partition, acknowledgements, pending=True)
            commands.extend(next_read)
            in_flight.append(next_acknowledged)
            in_flight.append(ReadReply(partition, count, NEW, more=False))
            self._ahead_at = time.monotonic()
            takes = read if acknowledged is None else (*acknowledged.takes, *read)
            *confirmed, batch = replies = yield Exchange(commands, takes)
            if not _is_full(batch, count) or ErrorReply in map(type, confirmed):
                self._early.extend(replies)
                break
            if acknowledged is not None:
                in_flight.popleft()
                acknowledged.answered(confirmed)
            in_flight.popleft()
            partition.next_read_was_answered()
            partition.deliver(count)
            self._read_at = read_at
            acknowledged, read_at = next_acknowledged, self._ahead_at
            part = ReadEvents(partition, batch.events, pending=True, new=True)
            if told:
                yield from self._deliver((part,))
                continue
            try:
                outcome = yield Deliver(list(part.events), True, None, self._read_at + session.patience, None)
            except BaseException as error:
                raise self._handler_failed((part,), error) from None
            finally:
                partition.delivered(count)
            if outcome is Deliver.TAKEN:
                partition.deliver(count)
                break
            if outcome is not None:
                self._not_handled((part,), outcome)
                break
            session.events_found()
            if session.robbed:
                part = part._replace(events=[event for event in part.events if not event.taken_over])
            session.were_handled((part,), len(part.events))
        self._ahead = True

    def _handler_failed(self, parts: Sequence[ReadEvents], error: BaseException) -> BaseException:
        """The handler has raised, or was never called: the batch is pending. Returns the error that ends the flow."""
        for part in parts:
            part.partition.replay()
        return error if isinstance(error, GeneratorExit) else HandlerFailedError(error)

    def _not_handled(self, parts: Sequence[ReadEvents], outcome: object) -> None:
        """The handler has not handled the batch, or not to its end: it is delivered again later."""
        for part in parts:
            part.requeue()
            if outcome is Deliver.CUT_SHORT:
                part.partition.gave_up(part.events)


def _is_full(batch: Any, count: int) -> bool:
    """Whether a reply is a full batch of plain events."""
    return type(batch) is EventBatch and len(batch.events) == count and not (batch.extra or batch.deleted)


def with_early_replies(flow: Flow[Any], replies: deque[Any]) -> Flow[Any]:
    """Run a flow whose first replies came already, and are taken from `replies`."""
    try:
        step = next(flow)
        while True:
            if replies and type(step) is Receive:
                step = flow.send(replies.popleft())
            elif replies and type(step) is ReceiveAll:
                step = flow.send([replies.popleft() for _ in step.takes])
            else:
                try:
                    outcome = yield step
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
    except StopIteration as end:
        return end.value
