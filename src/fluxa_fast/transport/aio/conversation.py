"""A connection of redis.asyncio whose bytes are ours for a while."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from ...protocol.interface import INCOMPLETE, ReplyReader
from ..blocking.wire import poller
from ..pool_base import WINDOW
from .one_loop import process
from .resuming import resume, resumes_at_once

__all__ = ["Conversation"]


_RECEIVE = 128 * 1024  # bytes that are received in one go at most
_UNSENT = 4 * WINDOW  # bytes that a transport may keep; with fewer, sockets run dry between turns of the loop
_SMALL = 16 * 1024  # bytes of replies that are parsed and handled in about a tenth of a millisecond


class Conversation(asyncio.BufferedProtocol):
    """A transport that is taken over from redis-py's streams, until it is handed back.

    What arrives is parsed at once: the task that waits is woken when the reply is complete, not for every piece of it.
    One task at a time waits.

    Attributes:
        error: why nothing more will come; None as long as all is well.
        paused: whether the transport has more to send than it wants to keep.
        on_error: called once with the error, when there is one.
        on_resumed: called when it is no longer paused.
        write: sends commands, which are a copy: the transport may keep it for later. And the traceback of an error
            keeps the frames of all callers: with a view of the buffer in one of them, the buffer could not be written
            to any more.
        answered: a future whose reply `take` has read, and its result; None: there is none. The future has the result
            as soon as `take` has returned, and the task that waits for it may be resumed at once.
    """

    def __init__(self, transport: asyncio.Transport, reader: ReplyReader, timeout: float | None) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.error: Exception | None = None
        self.paused: bool = False
        self.on_error: Callable[[Exception], object] | None = None
        self.on_resumed: Callable[[], object] | None = None
        self.write: Callable[[bytes], None] = transport.write
        self.answered: tuple[asyncio.Future[Any], Any] | None = None
        self._transport = transport
        self._resumes = resumes_at_once(transport)
        self._last = True
        self._streams: Any = transport.get_protocol()
        self._reader = reader
        self._process = process.number
        # Not the reader's own memory: a frame of the event loop holds a view of it, and a traceback may keep it.
        # Memory with a view can't grow. The copy costs a twentieth of what parsing costs.
        self._room = memoryview(bytearray(_RECEIVE))
        self._timeout = math.inf if timeout is None else timeout
        self._take: Callable[[], Any] | None = None
        self._taken: Any = INCOMPLETE
        self._waiter: asyncio.Future[None] | None = None
        self._patience = math.inf  # seconds without a byte from the server
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._readable = poller(transport.get_extra_info("socket"))
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=_UNSENT)

    def is_here(self) -> bool:
        """Whether it was made in the running event loop, and in this process."""
        return self.loop is asyncio.get_running_loop() and self._process == process.number

    @property
    def quiet(self) -> bool:
        """Whether a new command may be sent. What can be read now, no command has asked for.

        False in a forked child, and once the other side has closed.
        """
        return self._process == process.number and not self.arrived

    @property
    def arrived(self) -> bool:
        """Whether something can be read at once, or the other side has closed."""
        return bool(self._reader.unread or self.error or self._readable())

    # ---- sending and waiting ----

    async def writable(self) -> None:
        """Let other tasks run, until the transport wants more."""
        if self.paused:
            self.check()
            waiter = self._waiter = self.loop.create_future()
            self.expect()
            try:
                await waiter
            finally:
                self._waiter = None
                self.expect_nothing()
        else:
            await asyncio.sleep(0)
            self.check()

    def listen(self, take: Callable[[], Any]) -> None:
        """Take what comes by calling `take` for every piece of it, until that returns anything but INCOMPLETE."""
        self.listen_on(take)
        self._advance()
        if self.answered is not None:
            (future, result), self.answered = self.answered, None
            if not future.done():
                future.set_result(result)

    def listen_on(self, take: Callable[[], Any]) -> None:
        """As `listen`, where `take` would read nothing yet."""
        self._taken = INCOMPLETE
        self._take = take

    async def outcome(self, wait: float = 0.0, *, last: bool = True) -> Any:
        """What `take` returned.

        Args:
            wait: seconds that the server may take longer than the connection's timeout.
            last: whether no other reply is under way. Else the next turn of the event loop takes in what has come
                meanwhile.
        """
        self._last = last
        while self._taken is INCOMPLETE:
            self.check()
            waiter = self._waiter = self.loop.create_future()
            self.expect(wait)
            try:
                await waiter
            finally:
                self._waiter = None
                self.expect_nothing()
        taken, self._taken = self._taken, INCOMPLETE
        return taken

    def check(self) -> None:
        """Raise the error, if there is one."""
        if self.error is not None:
            raise self.error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- time ----

    def expect(self, wait: float = 0.0) -> None:
        """From now on, `wait` seconds more than the connection's timeout without a byte are an error."""
        self._patience = self._timeout + wait
        self._deadline = self.loop.time() + self._patience
        if self._deadline < math.inf and (self._timer is None or self._timer.when() > self._deadline):
            self._stop_timer()
            self._timer = self.loop.call_at(self._deadline, self._look_at_the_clock)

    def expect_nothing(self) -> None:
        """The server may be silent."""
        self._patience = self._deadline = math.inf

    def _look_at_the_clock(self) -> None:
        # One timer serves many waits, because to make and cancel one for each would cost more than the waits.
        self._timer = None
        if self.loop.time() >= self._deadline:
            self._fail(TimeoutError())
        elif self._deadline < math.inf:
            self._timer = self.loop.call_at(self._deadline, self._look_at_the_clock)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- the end ----

    def hand_back(self) -> None:
        """Return the transport to redis-py's streams."""
        if self._transport.get_protocol() is not self:
            return
        self._stop_timer()
        self._take = self.on_error = self.on_resumed = None
        self._transport.set_write_buffer_limits()
        if self.paused:  # they will be told when it is over
            self._streams.pause_writing()
        self._transport.set_protocol(self._streams)

    def abort(self) -> None:
        """Close the transport at once, whatever state it is in."""
        if self.error is None:
            self.error = ConnectionAbortedError("the connection was dropped")
        self._wake()
        self.hand_back()
        self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self.error is not None:
            return
        self.error = error
        self._take = None
        self._stop_timer()
        self._wake()
        if self.on_error is not None:
            self.on_error(error)

    # ---- what the transport calls ----

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.feed(self._room[:nbytes])
        self._advance()
        if self.answered is not None:
            (future, result), self.answered = self.answered, None
            if future.done():
                pass
            elif self._resumes and nbytes <= _SMALL:
                resume(future, result)
            else:
                future.set_result(result)

    def _advance(self) -> None:
        if self._take is not None:
            try:
                self._taken = self._take()
            except Exception as error:
                self._fail(error)
                return
        if self._take is None or self._taken is INCOMPLETE:
            self._deadline = self.loop.time() + self._patience
            return
        self._take = None
        if self._waiter is not None and (self._last or self._reader.unread):
            self.answered = self._waiter, None
        else:
            self._wake()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._wake()
        if self.on_resumed is not None:
            self.on_resumed()

    def eof_received(self) -> None:
        self._fail(ConnectionResetError("the server closed the connection"))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("the server closed the connection"))
        self._streams.connection_lost(error)
