"""`Event` as `fluxa_fast.asyncio` has it: the same class at run time, whose `ack` is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import interface

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, Protocol

    from ..protocol.generic import BodyT_co

    class Event(interface.Event[BodyT_co], Protocol[BodyT_co]):
        """As `fluxa_fast.Event`; a type checker refuses an `ack` that is not awaited."""

        def ack(self) -> Coroutine[Any, Any, None]:
            """Acknowledge the event and delete it from the stream now (XACK, XDEL); a second call does nothing.

            Raises:
                FluxaError: if the event did not come from a consumer.
            """

else:
    Event = interface.Event

__all__ = ["Event"]
