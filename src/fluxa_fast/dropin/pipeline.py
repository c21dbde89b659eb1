"""`pipeline(client)`: redis-py's pipeline, with its stream commands written and their replies read by the protocol."""

from __future__ import annotations

import sys
import threading
import weakref
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import redis.asyncio.client
import redis.client
from redis.exceptions import ResponseError

from .. import protocol
from ..protocol.interface import CommandStack
from ..redis_adapter.encoding import decodes_plainly, encodes_plainly
from ..redis_adapter.parser import async_read, hand_back, is_known_parser, read
from .clients import check_client
from .one_user import AsyncPipeline, History, OneUser, Pipeline
from .replies import PipelineReplies
from .staged import STAGED_FROM, WRITTEN, Staged, is_worth_staging

__all__ = ["AsyncPipeline", "Pipeline", "pipeline"]

_HISTORY = "_fluxa_fast_pipelines"  # the attribute of a client that has its `History`


class _Growing(OneUser):
    """A pipeline that is redis-py's as long as it is short, or most of its commands are not stream commands.

    Its list of commands tells when it is longer. Then the pipeline becomes a `_Staging` one.
    """

    _growing = None
    _long: ClassVar[type[_Staging]]

    if TYPE_CHECKING:  # what redis-py's pipelines have
        connection_pool: Any
        response_callbacks: Any
        watching: bool
        explicit_transaction: bool
    else:

        def _set_stack(self, stack):
            if type(stack) is list and not stack:  # redis-py begins another pipeline
                stack = protocol.default.staging.CommandStack(weakref.ref(self), STAGED_FROM)
            self._stack = stack

        command_stack = property(attrgetter("_stack"), _set_stack)

    def _consider_staging(self, stack: CommandStack) -> None:
        """Called by the list as soon as it has `look_at` commands."""
        staging = protocol.default.staging
        stack.look_at *= 2
        if staging is None or not is_worth_staging(stack):
            return
        ascii_as_ascii, utf8 = encodes_plainly(self.connection_pool)
        if not (ascii_as_ascii and _are_answered_plainly(self.response_callbacks)):
            stack.look_at = sys.maxsize
            return
        staged = Staged(staging, utf8)
        for command in stack:
            staged.append(command)
        stack.seal("another thread has changed the pipeline; make one pipeline for each thread")
        self.command_stack = staged
        self.__class__ = self._long


class _Staging(_Growing):
    """A long pipeline, with a `Staged` in place of its list: the quick way for the commands that are called most."""

    _theirs: ClassVar[Any]
    _short: ClassVar[type[_Growing]]  # what it is again when it has been executed

    if not TYPE_CHECKING:

        def xadd(self, name, fields, id="*", *arguments, **options):
            stack = self.command_stack
            if type(stack) is Staged and not arguments and (not self.watching or self.explicit_transaction):
                written = stack.entry(name, fields, id, options)
                if written:
                    return self
            return self._theirs.xadd(self, name, fields, id, *arguments, **options)

        def xack(self, name, groupname, *ids):
            if self._writes(("XACK", name, groupname, *ids)):
                return self
            return self._theirs.xack(self, name, groupname, *ids)

        def xdel(self, name, *ids):
            if self._writes(("XDEL", name, *ids)):
                return self
            return self._theirs.xdel(self, name, *ids)

        def _writes(self, arguments):
            stack = self.command_stack
            return type(stack) is Staged and (not self.watching or self.explicit_transaction) and stack.stage(arguments)

        for _method in (xadd, xack, xdel):  # inspect.signature() shows the one of the redis-py that is installed
            _method.__wrapped__ = getattr(redis.client.Pipeline, _method.__name__)
            _method.__doc__ = _method.__wrapped__.__doc__
        del _method

        def _set_stack(self, stack):
            if type(stack) is list and not stack:
                self.__class__ = self._short
            _Growing._set_stack(self, stack)

        command_stack = property(attrgetter("_stack"), _set_stack)

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


class _ShortPipeline(_Growing, Pipeline):
    """A `redis.client.Pipeline` that may become a `_LongPipeline`."""


class _LongPipeline(_Staging, _ShortPipeline):
    """A `redis.client.Pipeline` that writes stream commands and reads their replies in compiled code."""

    _theirs = redis.client.Pipeline
    _short = _ShortPipeline

    def _execute_pipeline(self, connection: Any, commands: Any, raise_on_error: bool) -> list[Any]:
        if type(commands) is not Staged or _needs_redis_py(commands):
            theirs = commands.commands() if type(commands) is Staged else commands
            return super()._execute_pipeline(connection, theirs, raise_on_error)
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


class _ShortAsyncPipeline(_Growing, AsyncPipeline):  # type: ignore[misc]
    """A `redis.asyncio.client.Pipeline` that may become a `_LongAsyncPipeline`."""


class _LongAsyncPipeline(_Staging, _ShortAsyncPipeline):  # type: ignore[misc]
    """A `redis.asyncio.client.Pipeline` that writes stream commands and reads their replies in compiled code."""

    _theirs = redis.asyncio.client.Pipeline
    _short = _ShortAsyncPipeline

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


Pipeline._growing, _ShortPipeline._long = _ShortPipeline, _LongPipeline
AsyncPipeline._growing, _ShortAsyncPipeline._long = _ShortAsyncPipeline, _LongAsyncPipeline


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
    history = client.__dict__.get(_HISTORY)
    if history is None:
        history = client.__dict__[_HISTORY] = History()
    kind: Any = AsyncPipeline if awaited else Pipeline
    if history.watched > 0 and protocol.default.staging is not None:
        kind = kind._growing
    made = kind(client.connection_pool, client.response_callbacks, False, shard_hint)
    made._in_use = threading.Lock()
    made._history = history
    return made
