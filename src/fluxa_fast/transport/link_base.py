"""What the links of both transports have in common: their state, and the commands that a link sends of its own accord.

A link sends AUTH when the credentials of its connection were renewed, and ASKING before each command for a slot that is
moving to the node. The replies to these come between those that flows wait for, and flows do not see them.
"""

from __future__ import annotations

from typing import Any

from ..flows.asking import with_asking
from ..flows.steps import Take, any_reply
from ..protocol.interface import INCOMPLETE, CommandBuffer, ReplyReader
from ..redis_adapter.credentials import Renewal, new_token
from .pool_base import PoolBase

__all__ = ["LinkBase"]


class LinkBase:
    """One connection at a time, borrowed from a pool when it is first needed, with the reader of its replies.

    Attributes:
        pool: the pool of the connection.
        reader: reads the replies.
        commands: a buffer for the commands of the owner.
    """

    def __init__(self, pool: PoolBase) -> None:
        self.pool: PoolBase = pool
        self.reader: ReplyReader = pool.implementation.ReplyReader()
        self.commands: CommandBuffer = pool.codec.event_buffer()
        self._connection: Any = None
        self._owed = 0  # replies to commands of flows that are still to come
        self._pushed = 0  # bytes of a pipeline that `push` has sent
        self._renewal: Renewal | None = None  # an AUTH is under way
        self._ask_at: str | None = None  # the node of the connection, if each command needs ASKING there
        self._asked = False  # the reply to ASKING has come, and the reply to its command has not

    @property
    def in_order(self) -> bool:
        """Whether the next command may be sent on this connection."""
        return not self._owed

    @property
    def outdated(self) -> bool:
        """Whether the credentials of the connection were renewed, and its server has not been told."""
        return self._connection is not None and new_token(self._connection) is not None

    def _forget_state(self) -> None:
        """There is no connection any more."""
        self._owed = self._pushed = 0
        self._renewal = None
        self._asked = False

    def _with_own(self, commands: CommandBuffer) -> CommandBuffer:
        """The commands, with those of the link: ASKING before each, and AUTH in front if replies are to come."""
        wire = type(commands)()
        if self._owed and self._renewal is None and self.outdated:
            self._renewal = Renewal(self._connection, self._owed)
            self._renewal.write(wire)
        wire.extend(commands if self._ask_at is None else with_asking(commands))
        return wire

    def _taking(self, take: Take) -> Take:
        """`take`, behind the replies to commands of the link that come before it."""

        def taking(reader: ReplyReader) -> Any:
            renewal = self._renewal
            if renewal is not None and not renewal.before:
                if (reply := any_reply(reader)) is INCOMPLETE:
                    return reply
                self._renewal = None
                renewal.settle(reply)
                renewal = None
            if self._ask_at is not None and not self._asked:
                if any_reply(reader) is INCOMPLETE:  # OK
                    return INCOMPLETE
                self._asked = True
            reply = take(reader)
            if reply is not INCOMPLETE:
                self._asked = False
                if renewal is not None:
                    renewal.before -= 1
            return reply

        return taking
