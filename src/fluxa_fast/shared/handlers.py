"""Checks of handlers: before anything is read, whether they can handle events; after a call, what they returned."""

from __future__ import annotations

import inspect
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["HandlerFailedError", "call_awaiting", "check_handler", "refuse_unfinished"]

_PLAIN = "a handler is a plain function that takes a list of events and returns None"
_EITHER = "a handler is a function that takes a list of events and returns None, or an async function"

_NOT_PLAIN = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE


class HandlerFailedError(Exception):
    """Carries the exception of a handler through code that would mistake it for an exception of its own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error: BaseException = error


def check_handler(handler: object, *, awaited: bool) -> None:
    """Refuse a handler that can't handle events.

    Args:
        handler: a function, a method, a `functools.partial` or an object with ``__call__``.
        awaited: whether async functions are awaited, as `fluxa_fast.asyncio` does.

    Raises:
        TypeError: if it can't be called, if it is a generator function, or if it is an async function and `awaited` is
            false. A call of the latter two would run nothing.
    """
    function = handler.__func__ if type(handler) is types.MethodType else handler
    if type(function) is types.FunctionType and not function.__code__.co_flags & _NOT_PLAIN and not function.__dict__:
        return  # the short way: a function of no other kind, without attributes that could mark it as one
    wanted = _EITHER if awaited else _PLAIN
    if not callable(handler):
        raise TypeError(f"handler is {handler!r}, which can't be called: {wanted}")
    for function in _functions_of(handler):
        if inspect.isasyncgenfunction(function):
            raise TypeError(
                f"handler {_name_of(handler)} is an async generator function, so a call runs none of it: {wanted}"
            )
        if _is_generator_function(function):
            raise TypeError(f"handler {_name_of(handler)} is a generator function, so a call runs none of it: {wanted}")
        if not awaited and inspect.iscoroutinefunction(function):
            raise TypeError(
                f"handler {_name_of(handler)} is an async function, and a blocking consumer awaits nothing: "
                "use a plain function, or the consumer of fluxa_fast.asyncio"
            )


def _functions_of(handler: Any) -> list[Any]:
    """Return what a call of the handler may run: itself, the function of a partial, the ``__call__`` of an object."""
    found: list[Any] = []
    while handler is not None and not any(handler is one for one in found):
        found.append(handler)
        if isinstance(handler, partial):
            handler = handler.func
        elif isinstance(handler, (types.MethodType, staticmethod)):
            handler = handler.__func__
        elif not inspect.isroutine(handler) and not inspect.isclass(handler):
            handler = getattr(type(handler), "__call__", None)  # noqa: B004 (what the type defines is what is called)
        else:
            break
    return found


def _is_generator_function(function: Any) -> bool:
    if not inspect.isgeneratorfunction(function):
        return False
    code = getattr(function, "__code__", None)  # a generator function that types.coroutine has marked can be awaited
    return not (code and code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _name_of(handler: Any) -> str:
    return str(getattr(handler, "__qualname__", None) or repr(handler))


_UNFINISHED: tuple[tuple[tuple[type, ...], str], ...] = (
    (
        (Awaitable,),
        "an awaitable that nothing awaits: await it in an async handler of fluxa_fast.asyncio, or return None",
    ),
    (
        (Generator, AsyncGenerator, map, filter, zip),
        "an iterator that nothing iterates over: do the work within the handler, and return None",
    ),
    ((Future,), "a future: wait for its result() within the handler, and return None"),
)


def refuse_unfinished(handler: Callable[..., object], answer: object) -> None:
    """Refuse what a handler returned, if its work may still be to be done: then no event may be acknowledged.

    Args:
        handler: that was called.
        answer: what it returned; on asyncio, what was awaited has returned. Not None.

    Raises:
        TypeError: for an awaitable, a generator, a ``map`` and its like, a future, or a list that begins with one of
            these. It is closed or cancelled before that. Every other value is ignored.
    """
    parts: Sequence[object] = answer if isinstance(answer, (list, tuple)) else (answer,)
    for kinds, what in _UNFINISHED:
        if parts and isinstance(parts[0], kinds):
            error = TypeError(
                f"handler {_name_of(handler)} returned {_shown(answer)}, {what}; nothing was acknowledged"
            )
            for part in parts:
                _close(part)
            raise error


def _shown(answer: object) -> str:
    name = type(answer).__name__
    return f"{name} of {type(answer[0]).__name__}" if isinstance(answer, (list, tuple)) else name


async def call_awaiting(handler: Callable[[Any], Any], events: Any) -> None:
    """Call a handler, and await what it returns if that can be awaited.

    Raises:
        TypeError: as `refuse_unfinished`.
    """
    answer = handler(events)
    if answer is not None:
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is not None:
            refuse_unfinished(handler, answer)


def _close(answer: Any) -> None:
    """End what a handler has begun, so that Python does not warn of it as well."""
    for name in ("close", "cancel"):
        end = getattr(answer, name, None)
        if callable(end):
            with suppress(Exception):  # it is not what the caller is to be told
                end()
            return
