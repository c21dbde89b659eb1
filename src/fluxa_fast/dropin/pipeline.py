"""`pipeline(client)`: redis-py's pipeline, with its stream commands written and their replies read by the protocol."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import redis.asyncio.client
import redis.client
from redis.exceptions import ResponseError

from .. import protocol
from ..errors import FluxaError
from ..redis_adapter.encoding import decodes_plainly
from ..redis_adapter.parser import async_read, hand_back, is_known_parser, read
from .clients import check_client
from .replies import PipelineReplies
from .staged import Staged

__all__ = ["AsyncPipeline", "Pipeline", "pipeline"]

_ANSWERED_PLAINLY = ("XADD", "XACK", "XDEL", "XTRIM")
IN_USE = "the pipeline is in use by another task or thread; make one pipeline for each"


class _Using:
    """A context: a call that uses the connection of a pipeline. It may be a part of `execute`, or of another such call.

    Args:
        pipe: the pipeline.
        user: the task or thread.

    Raises:
        FluxaError: if another task or thread uses the pipeline.
    """

    __slots__ = ("_mine", "_owner", "_state")

    def __init__(self, pipe: _StagedCommands, user: object) -> None:
        self._state = pipe.__dict__
        self._mine = (user,)

    def __enter__(self) -> None:
        self._owner = self._state.setdefault("_user", self._mine)
        if self._owner != self._mine:
            raise FluxaError(IN_USE)

    def __exit__(self, *error: object) -> None:
        if self._owner is self._mine:
            del self._state["_user"]


class _StagedCommands:
    """What both pipelines have: where commands go, and the quick way there for those that are called most."""

    if TYPE_CHECKING:  # what redis-py's pipelines have
        connection_pool: Any
        response_callbacks: Any
        watching: bool
        explicit_transaction: bool
        _staged: Staged
    else:

        def xadd(self, name, fields, id="*", *arguments, **options):
            if (self.watching and not self.explicit_transaction) or arguments:
                return super().xadd(name, fields, id, *arguments, **options)
            if self._staged.entry(name, fields, id, options):
                return self
            return super().xadd(name, fields, id, **options)

        def xack(self, name, groupname, *ids):
            if self._takes(("XACK", name, groupname, *ids)):
                return self
            return super().xack(name, groupname, *ids)

        def xdel(self, name, *ids):
            if self._takes(("XDEL", name, *ids)):
                return self
            return super().xdel(name, *ids)

        def _takes(self, arguments):
            return (not self.watching or self.explicit_transaction) and self._staged.stage(arguments)

        for _method in (xadd, xack, xdel):  # inspect.signature() shows the one of the redis-py that is installed
            _method.__wrapped__ = getattr(redis.client.Pipeline, _method.__name__)
            _method.__doc__ = _method.__wrapped__.__doc__
        del _method

    @property
    def command_stack(self) -> Staged:
        """The commands so far."""
        staged: Staged | None = self.__dict__.get("_staged")
        if staged is None:
            staged = self.__dict__["_staged"] = Staged(self.connection_pool)
        return staged

    @command_stack.setter
    def command_stack(self, commands: list[Any]) -> None:  # redis-py sets it to an empty list, to begin anew
        self.command_stack.clear()
        for command in commands:
            self.command_stack.append(command)

    # ---- one user at a time ----

    # Two tasks or threads that use one connection take each other's replies. What is left of these would be the replies
    # to later commands of the client. redis-py does not prevent that.

    def _begin(self, user: object) -> Staged:
        """Begin a call of `execute`. Until `_end` no command can be added, and nothing else can be done.

        Raises:
            FluxaError: if the pipeline is in use.
        """
        mine = (user,)
        if self.__dict__.setdefault("_user", mine) is not mine:  # setdefault: of two threads one only
            raise FluxaError(IN_USE)
        staged = self.command_stack
        staged.seal(IN_USE)
        return staged

    def _end(self, staged: Staged) -> None:
        staged.unseal()
        del self.__dict__["_user"]

    def _replies_for(self, connection: Any, staged: Staged) -> PipelineReplies | None:
        """What reads the replies of this pipeline; None if redis-py has to do it all."""
        plain = protocol.default.plain_replies
        text = decodes_plainly(connection)
        if plain is None or text is None or not is_known_parser(connection):
            return None
        if any(name in self.response_callbacks for name in _ANSWERED_PLAINLY):
            return None
        return PipelineReplies(staged, plain, text)


def _needs_redis_py(staged: Staged) -> bool:
    """True if the pipeline has commands that redis-py prepares the connection for (HIMPORT, since 8.1)."""
    return any(str(arguments[0]).startswith("HIMPORT") for _, (arguments, _) in staged.later)


class Pipeline(_StagedCommands, redis.client.Pipeline):  # type: ignore[misc]  # of command_stack's type
    """A `redis.client.Pipeline` that writes stream commands and reads their replies in compiled code."""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute all the commands in the current pipeline.

        Raises:
            FluxaError: if another thread uses the pipeline.
        """
        staged = self._begin(threading.get_ident())
        try:
            return super().execute(raise_on_error)
        finally:
            self._end(staged)

    def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        with _Using(self, threading.get_ident()):
            return super().immediate_execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

    def reset(self) -> Any:
        with _Using(self, threading.get_ident()):
            super().reset()

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        staged: Staged = commands
        if _needs_redis_py(staged):
            execute = cast(Callable[..., list[Any]], super()._execute_pipeline)
            return execute(connection, staged.commands(), raise_on_error)
        packed = staged.packed(connection)
        try:
            connection.send_packed_command([packed])
        finally:
            if isinstance(packed, memoryview):
                packed.release()
        replies = self._replies_for(connection, staged)
        found = self._parsed(connection, staged) if replies is None else self._read(connection, replies)
        if raise_on_error:
            self.raise_first_error(staged, found)  # type: ignore[no-untyped-call]
        return found

    def _read(self, connection: Any, replies: PipelineReplies) -> list[Any]:
        while not replies.complete:
            taken = read(connection, replies.reader, replies.take)
            if taken is not None:
                frame, (arguments, options) = taken
                hand_back(connection, frame)
                replies.add(self._one(connection, arguments, options))
        hand_back(connection, replies.left())
        return replies.replies

    def _parsed(self, connection: Any, staged: Staged) -> list[Any]:
        return [self._one(connection, arguments, options) for arguments, options in staged]

    def _one(self, connection: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            return self.parse_response(connection, arguments[0], **options)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            return error


class AsyncPipeline(_StagedCommands, redis.asyncio.client.Pipeline):  # type: ignore[misc]
    """A `redis.asyncio.client.Pipeline` that writes stream commands and reads their replies in compiled code."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute all the commands in the current pipeline.

        Raises:
            FluxaError: if another task uses the pipeline.
        """
        staged = self._begin(asyncio.current_task())
        try:
            return await super().execute(raise_on_error)
        finally:
            self._end(staged)

    async def immediate_execute_command(self, *arguments: Any, **options: Any) -> Any:
        with _Using(self, asyncio.current_task()):
            return await super().immediate_execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

    async def reset(self) -> Any:
        with _Using(self, asyncio.current_task()):
            await super().reset()  # type: ignore[no-untyped-call]

    async def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        staged: Staged = commands
        if _needs_redis_py(staged):
            execute = cast(Callable[..., Any], super()._execute_pipeline)
            return cast(list[Any], await execute(connection, staged.commands(), raise_on_error))
        with memoryview(staged.packed(connection)) as packed:
            written = bytes(packed)  # the transport may keep it for longer than we can wait
        await connection.send_packed_command(written)
        replies = self._replies_for(connection, staged)
        found = await self._parsed(connection, staged) if replies is None else await self._read(connection, replies)
        if raise_on_error:
            self.raise_first_error(cast(Any, staged), found)
        return found

    async def _read(self, connection: Any, replies: PipelineReplies) -> list[Any]:
        while not replies.complete:
            taken = await async_read(connection, replies.reader, replies.take)
            if taken is not None:
                frame, (arguments, options) = taken
                hand_back(connection, frame)
                replies.add(await self._one(connection, arguments, options))
        hand_back(connection, replies.left())
        return replies.replies

    async def _parsed(self, connection: Any, staged: Staged) -> list[Any]:
        return [await self._one(connection, arguments, options) for arguments, options in staged]

    async def _one(self, connection: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            return await self.parse_response(connection, arguments[0], **options)
        except ResponseError as error:
            return error


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
    check_client(client, "fluxa_fast.pipeline()")
    if transaction:
        raise ValueError("fluxa_fast.pipeline() makes no transactions; use client.pipeline() where you need one")
    kind = AsyncPipeline if isinstance(client, redis.asyncio.Redis) else Pipeline
    return kind(client.connection_pool, client.response_callbacks, False, shard_hint)
