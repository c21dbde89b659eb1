"""`pipeline(client)`: redis-py's pipeline, with its stream commands written and their replies read by the protocol."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Literal, overload

import redis.asyncio.client
import redis.client
from redis.exceptions import ResponseError

from .. import protocol
from ..errors import FluxaError
from ..redis_adapter.encoding import decodes_plainly, encodes_plainly
from ..redis_adapter.parser import async_read, hand_back, is_known_parser, read
from .clients import check_client
from .replies import PipelineReplies
from .staged import WRITTEN, Staged, check_ints

__all__ = ["AsyncPipeline", "Pipeline", "pipeline"]

STAGED_FROM = 8  # commands; redis-py is as fast with fewer
_MIXED_FROM = 64  # commands, if not all of them are those of streams
IN_USE = "the pipeline is in use by another task or thread; make one pipeline for each"


class _Using:
    """A context: a call that uses the connection of a pipeline. It may be a part of `execute`, or of another such call.

    Args:
        pipe: the pipeline.
        user: the task or thread.

    Raises:
        FluxaError: if another task or thread uses the pipeline.
    """

    __slots__ = ("_is_part", "_pipe", "_user")

    def __init__(self, pipe: _OneUser, user: object) -> None:
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
    """The commands of a short pipeline while they are executed: no other can be added."""

    def append(self, command: Any) -> None:
        raise FluxaError(IN_USE)


class _OneUser:
    """What all these pipelines have: one task or thread at a time uses the connection.

    Two that use one connection take each other's replies. What is left of these would be the replies to later commands
    of the client. redis-py does not prevent that.
    """

    if TYPE_CHECKING:  # what redis-py's pipelines have
        command_stack: Any
        _in_use: threading.Lock
        _user: object
    else:
        _user = None  # the task or thread that uses the connection

    def _take_for(self, user: object) -> None:
        """Let no other task or thread use the connection until `_let_go`.

        Raises:
            FluxaError: if another one uses it.
        """
        if not self._in_use.acquire(blocking=False):
            raise FluxaError(IN_USE)
        self._user = user

    def _let_go(self) -> None:
        self._user = None
        self._in_use.release()

    def _begin(self, user: object) -> Staged | _Sealed:
        """Begin a call of `execute`. Until `_end` no command can be added, and nothing else can be done.

        Raises:
            FluxaError: if the pipeline is in use.
        """
        self._take_for(user)
        stack = self.command_stack
        if type(stack) is Staged:
            stack.seal(IN_USE)
            return stack
        sealed = self.command_stack = _Sealed(stack)
        return sealed

    def _end(self, stack: Staged | _Sealed) -> None:
        if type(stack) is Staged:
            stack.unseal()
        elif self.command_stack is stack:
            self.command_stack = list(stack)
        self._let_go()


class _Staging(_OneUser):
    """The quick way for the stream commands that are called most.

    A pipeline begins as redis-py's: its `command_stack` is a list. A `Staged` takes the place of the list once there
    are enough commands, and most of them are those of streams. All other pipelines go through redis-py's own code.
    """

    if TYPE_CHECKING:  # what redis-py's pipelines have
        connection_pool: Any
        response_callbacks: Any
        watching: bool
        explicit_transaction: bool
        command_stack: Any
        _look_at: int
        _without_staging: Any
    else:
        _look_at = STAGED_FROM  # the length of the list at which it is decided (again)

        def xadd(self, name, fields, id="*", *arguments, **options):
            stack = self.command_stack
            if type(stack) is Staged:
                may_write = (not self.watching or self.explicit_transaction) and not arguments
                if may_write and stack.entry(name, fields, id, options):
                    return self
                return super().xadd(name, fields, id, *arguments, **options)
            added = super().xadd(name, fields, id, *arguments, **options)
            if len(stack) >= self._look_at:
                self._consider_staging(stack)
            return added

        def xack(self, name, groupname, *ids):
            stack = self.command_stack
            if type(stack) is Staged and self._writes(stack, ("XACK", name, groupname, *ids)):
                return self
            added = super().xack(name, groupname, *ids)
            if len(stack) >= self._look_at:
                self._consider_staging(stack)
            return added

        def xdel(self, name, *ids):
            stack = self.command_stack
            if type(stack) is Staged and self._writes(stack, ("XDEL", name, *ids)):
                return self
            added = super().xdel(name, *ids)
            if len(stack) >= self._look_at:
                self._consider_staging(stack)
            return added

        def _writes(self, staged, arguments):
            return (not self.watching or self.explicit_transaction) and staged.stage(arguments)

        for _method in (xadd, xack, xdel):  # inspect.signature() shows the one of the redis-py that is installed
            _method.__wrapped__ = getattr(redis.client.Pipeline, _method.__name__)
            _method.__doc__ = _method.__wrapped__.__doc__
        del _method

    def _consider_staging(self, stack: list[Any]) -> None:
        """Replace the list by a `Staged`, if that can write stream commands, and most commands are stream commands."""
        staging = protocol.default.staging
        if type(stack) is not list or staging is None:
            return  # `execute` is under way
        ascii_as_ascii, utf8 = encodes_plainly(self.connection_pool)
        if not (ascii_as_ascii and _are_answered_plainly(self.response_callbacks)):
            self.__class__ = self._without_staging  # the methods of redis-py, without a step in between
            return
        streams = sum(arguments[0] in WRITTEN for arguments, _ in stack)
        if 2 * streams < len(stack) or (streams < len(stack) < _MIXED_FROM):
            self._look_at = 2 * len(stack)
            return
        staged = Staged(staging, utf8)
        for command in stack:
            staged.append(command)
        self.command_stack = staged

    def _end(self, stack: Staged | _Sealed) -> None:
        self._look_at = STAGED_FROM  # what is added next is another pipeline
        super()._end(stack)

    def _replies_for(self, connection: Any, staged: Staged) -> PipelineReplies | None:
        """What reads the replies to the first commands; None if redis-py has to read all."""
        plain = protocol.default.plain_replies
        text = decodes_plainly(connection)
        if plain is None or text is None or not is_known_parser(connection):
            return None
        return PipelineReplies(staged, plain, text) if _are_answered_plainly(self.response_callbacks) else None


def _are_answered_plainly(callbacks: Any) -> bool:
    """Whether no function of the user shapes the replies to stream commands."""
    return not any(name in callbacks for name in WRITTEN)


def _needs_redis_py(staged: Staged) -> bool:
    """True if the pipeline has commands that redis-py prepares the connection for (HIMPORT, since 8.1)."""
    return any(str(arguments[0]).startswith("HIMPORT") for _, (arguments, _) in staged.later)


class _Blocking(_OneUser, redis.client.Pipeline):
    """A `redis.client.Pipeline` for one thread at a time."""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute all the commands in the current pipeline.

        Raises:
            FluxaError: if another thread uses the pipeline.
        """
        stack = self._begin(threading.get_ident())
        try:
            return super().execute(raise_on_error)
        finally:
            self._end(stack)

    def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        with _Using(self, threading.get_ident()):
            return super().immediate_execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

    def reset(self) -> Any:
        user = self._user
        if not self.watching if user is None else user == threading.get_ident():
            return super().reset()
        with _Using(self, threading.get_ident()):
            return super().reset()

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        check_ints(commands)
        execute: Any = super()._execute_pipeline
        return execute(connection, commands, raise_on_error)  # type: ignore[no-any-return]


class Pipeline(_Staging, _Blocking):
    """A `redis.client.Pipeline` that writes stream commands and reads their replies in compiled code."""

    _without_staging = _Blocking

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        if type(commands) is not Staged or _needs_redis_py(commands):
            theirs = commands.commands() if type(commands) is Staged else commands
            return _Blocking._execute_pipeline(self, connection, theirs, raise_on_error)
        packed = commands.packed(connection)
        try:
            connection.send_packed_command([packed])
        finally:
            if isinstance(packed, memoryview):
                packed.release()
        replies = self._replies_for(connection, commands)
        found: list[Any] = []
        if replies is not None:
            found = read(connection, replies.reader, replies.take)
            hand_back(connection, replies.left())
        for name, options in commands.names_from(len(found), _are_answered_plainly(self.response_callbacks)):
            try:
                found.append(self.parse_response(connection, name, **options))  # type: ignore[no-untyped-call]
            except ResponseError as error:
                found.append(error)
        if raise_on_error:
            self.raise_first_error(commands, found)  # type: ignore[no-untyped-call]
        return found


class _Awaited(_OneUser, redis.asyncio.client.Pipeline):  # type: ignore[misc]  # redis-py's own two command_info
    """A `redis.asyncio.client.Pipeline` for one task at a time."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute all the commands in the current pipeline.

        Raises:
            FluxaError: if another task uses the pipeline.
        """
        stack = self._begin(asyncio.current_task())
        try:
            return await super().execute(raise_on_error)
        finally:
            self._end(stack)

    async def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        with _Using(self, asyncio.current_task()):
            return await super().immediate_execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

    async def reset(self) -> Any:
        user = self._user
        if not self.watching if user is None else user == asyncio.current_task():
            return await super().reset()  # type: ignore[no-untyped-call]
        with _Using(self, asyncio.current_task()):
            return await super().reset()  # type: ignore[no-untyped-call]

    async def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        check_ints(commands)
        execute: Any = super()._execute_pipeline
        return await execute(connection, commands, raise_on_error)  # type: ignore[no-any-return]


class AsyncPipeline(_Staging, _Awaited):  # type: ignore[misc]
    """A `redis.asyncio.client.Pipeline` that writes stream commands and reads their replies in compiled code."""

    _without_staging = _Awaited

    async def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        if type(commands) is not Staged or _needs_redis_py(commands):
            theirs = commands.commands() if type(commands) is Staged else commands
            return await super()._execute_pipeline(connection, theirs, raise_on_error)
        with memoryview(commands.packed(connection)) as packed:
            written = bytes(packed)  # the transport may keep it for longer than we can wait
        await connection.send_packed_command(written)
        replies = self._replies_for(connection, commands)
        found: list[Any] = []
        if replies is not None:
            found = await async_read(connection, replies.reader, replies.take)
            hand_back(connection, replies.left())
        for name, options in commands.names_from(len(found), _are_answered_plainly(self.response_callbacks)):
            try:
                found.append(await self.parse_response(connection, name, **options))
            except ResponseError as error:
                found.append(error)
        if raise_on_error:
            self.raise_first_error(commands, found)  # type: ignore[arg-type]
        return found


@overload
def pipeline(client: redis.Redis, transaction: Literal[False] = False, shard_hint: str | None = None) -> Pipeline: ...
@overload
def pipeline(
    client: redis.asyncio.Redis, transaction: Literal[False] = False, shard_hint: str | None = None
) -> AsyncPipeline: ...
def pipeline(client: Any, transaction: bool = False, shard_hint: str | None = None) -> Any:
    """A pipeline like ``client.pipeline(transaction=False)``, whose stream commands are many times faster.

    It is a `redis.client.Pipeline` (or redis.asyncio's), with all of its methods, results and errors. XADD, XACK, XDEL
    and XTRIM are written into one buffer when they are called, and their replies are read in compiled code;
    every other command is redis-py's, in its place.

    Args:
        client: a `redis.Redis` or a `redis.asyncio.Redis`, with whatever pool, protocol and encoding it has.
        transaction: False. For MULTI and EXEC around the commands use the client's own pipeline.
        shard_hint: as redis-py's.

    Raises:
        TypeError: for a cluster client, a client with a client-side cache, or anything else.
        ValueError: for transaction=True.
    """
    awaited = check_client(client, "pipeline")
    if transaction:
        raise ValueError("fluxa_fast.pipeline() makes no transactions; use client.pipeline() where you need one")
    faster, plain = (AsyncPipeline, _Awaited) if awaited else (Pipeline, _Blocking)
    pool, callbacks = client.connection_pool, client.response_callbacks
    made = (plain if protocol.default.staging is None else faster)(pool, callbacks, False, shard_hint)
    made._in_use = threading.Lock()
    return made
