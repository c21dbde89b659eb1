"""redis-py's pipelines for one task or thread at a time, with redis-py's own way to execute them.

Two that use one connection take each other's replies. What is left of these would be the replies to later commands of
the client. redis-py does not prevent that.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import redis.asyncio.client
import redis.client

from .. import protocol
from ..errors import FluxaError
from ..protocol.interface import CommandStack
from .staged import Staged, check_ints, is_worth_staging

# Their methods are called by these names: `super()` looks through the classes of all of redis-py's commands.
_Theirs = redis.client.Pipeline
_AsyncTheirs = redis.asyncio.client.Pipeline

__all__ = ["AsyncPipeline", "History", "OneUser", "Pipeline"]

WATCHED = 100  # pipelines in a row that were not worth staging; after more of them, no others are expected
_IN_USE = "the pipeline is in use by another task or thread; make one pipeline for each"


class History:
    """What is known of the pipelines of a client."""

    __slots__ = ("watched",)

    def __init__(self) -> None:
        self.watched: int = WATCHED  # the next pipelines whose growth is watched, which costs a short one some percent


class _Using:
    """A context: a call that uses the connection of a pipeline. It may be a part of `execute`, or of another such call.

    Args:
        pipe: the pipeline.
        user: the task or thread.

    Raises:
        FluxaError: if another task or thread uses the pipeline.
    """

    __slots__ = ("_is_part", "_pipe", "_user")

    def __init__(self, pipe: OneUser, user: object) -> None:
        self._pipe = pipe
        self._user = user

    def __enter__(self) -> None:
        self._is_part = self._pipe._user == self._user
        if not self._is_part:
            self._pipe._take_for(self._user)

    def __exit__(self, *error: object) -> None:
        if not self._is_part:
            self._pipe._let_go()


class _Sealed(list[Any]):
    """The commands in redis-py's list while they are executed: no other can be added."""

    __slots__ = ()

    def append(self, command: Any) -> None:
        raise FluxaError(_IN_USE)


class OneUser:
    """What all these pipelines have: one task or thread at a time uses the connection."""

    _user: object = None  # the task or thread that uses the connection
    _in_use: Any = None  # the lock of the user; None: the pipeline is still being made
    _history: History
    _growing: ClassVar[type[OneUser] | None] = None  # what it becomes if the client has long pipelines

    if TYPE_CHECKING:  # what redis-py's pipelines have
        command_stack: Any

    def _grow(self) -> None:
        """Become a pipeline whose growth is watched, if this is none yet."""
        if self._growing is not None and protocol.default.staging is not None:
            self.__class__ = self._growing
            self.command_stack = []

    def _take_for(self, user: object) -> None:
        """Let no other task or thread use the connection until `_let_go`.

        Raises:
            FluxaError: if another one uses it.
        """
        if not self._in_use.acquire(blocking=False):
            raise FluxaError(_IN_USE)
        self._user = user

    def _let_go(self) -> None:
        self._user = None
        self._in_use.release()

    def _begin(self, user: object) -> Staged | CommandStack | _Sealed:
        """Begin a call of `execute`. Until `_end` no command can be added, and nothing else can be done.

        Raises:
            FluxaError: if the pipeline is in use.
        """
        if not self._in_use.acquire(False):
            raise FluxaError(_IN_USE)
        self._user = user
        stack = self.command_stack
        history = self._history
        if type(stack) is Staged or (type(stack) is list and is_worth_staging(stack)):
            history.watched = WATCHED
        else:
            history.watched -= 1
        if type(stack) is list:
            stack = self.command_stack = _Sealed(stack)
        else:
            stack.seal(_IN_USE)
        return stack  # type: ignore[no-any-return]

    def _end(self, stack: Staged | CommandStack | _Sealed) -> None:
        if self.command_stack is stack:  # nothing was executed
            if isinstance(stack, _Sealed):
                self.command_stack = list(stack)
            else:
                stack.unseal()
        elif self._history.watched == WATCHED and not self.command_stack:
            self._grow()
        self._user = None
        self._in_use.release()


class Pipeline(OneUser, redis.client.Pipeline):
    """A `redis.client.Pipeline` for one thread at a time."""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute all the commands in the current pipeline.

        Raises:
            FluxaError: if another thread uses the pipeline.
        """
        stack = self._begin(threading.get_ident())
        try:
            return _Theirs.execute(self, raise_on_error)
        finally:
            self._end(stack)

    def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        with _Using(self, threading.get_ident()):
            return _Theirs.immediate_execute_command(self, *arguments, **options)  # type: ignore[no-untyped-call]

    def reset(self) -> Any:
        user = self._user
        if user is None and not self.watching:
            is_made = self._in_use is not None  # redis-py 5.0 calls this while it makes the pipeline
            if not is_made or self.connection or self.command_stack or self.scripts or self.explicit_transaction:
                _Theirs.reset(self)  # else it has been reset; `__del__` does it once more
        elif user == threading.get_ident():
            _Theirs.reset(self)
        else:
            with _Using(self, threading.get_ident()):
                _Theirs.reset(self)

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        check_ints(commands)
        execute: Any = _Theirs._execute_pipeline
        return execute(self, connection, commands, raise_on_error)  # type: ignore[no-any-return]


class AsyncPipeline(OneUser, redis.asyncio.client.Pipeline):  # type: ignore[misc]  # redis-py's own two command_info
    """A `redis.asyncio.client.Pipeline` for one task at a time."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute all the commands in the current pipeline.

        Raises:
            FluxaError: if another task uses the pipeline.
        """
        stack = self._begin(asyncio.current_task())
        try:
            return await _AsyncTheirs.execute(self, raise_on_error)
        finally:
            self._end(stack)

    async def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        with _Using(self, asyncio.current_task()):
            return await _AsyncTheirs.immediate_execute_command(self, *arguments, **options)  # type: ignore[no-untyped-call]

    async def reset(self) -> Any:
        user = self._user
        if not self.watching if user is None else user == asyncio.current_task():
            return await _AsyncTheirs.reset(self)  # type: ignore[no-untyped-call]
        with _Using(self, asyncio.current_task()):
            return await _AsyncTheirs.reset(self)  # type: ignore[no-untyped-call]

    async def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        check_ints(commands)
        execute: Any = _AsyncTheirs._execute_pipeline
        return await execute(self, connection, commands, raise_on_error)  # type: ignore[no-any-return]
