"""`fluxa_fast.asyncio` behind blocking calls, so that the tests of behaviour run over both.

The event loop runs in a thread of its own, and whatever a test calls is awaited there. Handlers of tests run in other
threads, so that they may call back.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import fluxa_fast.asyncio
from fluxa_fast.asyncio import Context, EventBroker, EventConsumer, EventFlusher, EventProducer, TypedStream
from fluxa_fast.asyncio.batches import Batches
from fluxa_fast.asyncio.history import StreamEvents

__all__ = ["Faces", "Loop"]


_TIMEOUT = 60  # seconds for one call


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What `call` returns there, awaited."""

        async def there() -> Any:
            result = call(*arguments, **options)
            return (await result) if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(_TIMEOUT)

    def close(self) -> None:
        async def leave() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            assert not others, f"tasks that are still running: {others}"

        try:
            self.run(leave)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Faces:
    """Stands for the package `fluxa_fast`."""

    name = "asyncio"

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def Registry(self, **options: Any) -> Any:  # noqa: N802 (it is the name of a class)
        return _Blocking(fluxa_fast.asyncio.Registry(**options), self._loop)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns in the event loop, awaited."""
        return self._loop.run(function, *arguments)


class _Blocking:
    """An object of `fluxa_fast.asyncio`."""

    def __init__(self, target: Any, loop: Loop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        name = {"close": "aclose"}.get(name, name)
        value = getattr(self._target, name)
        if not callable(value):
            return value
        if isinstance(self._target, EventFlusher) and name == "publish" and not self._target._buffer._eager:
            return value  # it waits for nothing, and tests call it a hundred thousand times

        def call(*arguments: Any, **options: Any) -> Any:
            if name in ("consume", "run", "auto_claim"):
                arguments = tuple(self._handler(one) if callable(one) else one for one in arguments)
                options = {key: self._handler(one) if callable(one) else one for key, one in options.items()}
            return self._wrapped(self._loop.run(value, *arguments, **options))

        return call

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, Batches):
            return self._iterate(value)
        if isinstance(value, StreamEvents):
            return self._each(value)
        ours = (
            Context,
            EventBroker,
            EventConsumer,
            EventFlusher,
            EventProducer,
            TypedStream,
            fluxa_fast.asyncio.Engine,
        )
        return _Blocking(value, self._loop) if isinstance(value, ours) else value

    def _iterate(self, batches: Batches) -> Iterator[Sequence[Any]]:
        while True:
            try:
                events = self._loop.run(batches.__anext__)
            except StopAsyncIteration:
                return
            yield [_BlockingEvent(event, self._loop) for event in events]

    def _each(self, events: StreamEvents) -> Iterator[Any]:
        while True:
            try:
                event = self._loop.run(events.__anext__)
            except StopAsyncIteration:
                return
            yield _BlockingEvent(event, self._loop)

    def _handler(
        self, handler: Callable[[Sequence[Any]], object]
    ) -> Callable[[Sequence[Any]], Coroutine[Any, Any, None]]:
        async def handle(events: Sequence[Any]) -> None:
            await asyncio.to_thread(handler, [_BlockingEvent(event, self._loop) for event in events])

        return handle

    def __len__(self) -> int:
        return len(self._target)

    def __bool__(self) -> bool:
        return bool(self._target)

    def __enter__(self) -> _Blocking:
        self._loop.run(self._target.__aenter__)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.run(self._target.__aexit__, *error)


class _BlockingEvent:
    __slots__ = ("_event", "_loop")

    def __init__(self, event: Any, loop: Loop) -> None:
        self._event = event
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)

    def ack(self) -> None:
        self._loop.run(self._event.ack)
