"""Closing: all of what is to be closed, and the error of a call that comes later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from ..errors import FluxaError

__all__ = ["CLOSED", "async_close_all", "close_all", "closed_error"]

CLOSED = "the engine is closed; validate the registry again for a new one"


def closed_error() -> FluxaError:
    """For a call of a closed engine. Nothing was sent."""
    return FluxaError(CLOSED)


def close_all(closing: Iterable[Callable[[], object]]) -> None:
    """Call all of them, even if some fail. The first error is raised at the end."""
    first: BaseException | None = None
    for close in closing:
        try:
            close()
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first


async def async_close_all(closing: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """As `close_all`. A task that is cancelled meanwhile closes the rest as well."""
    first: BaseException | None = None
    for close in closing:
        try:
            await close()
        except BaseException as error:
            first = first or error
    if first is not None:
        raise first
