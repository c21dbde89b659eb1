"""Seeing to it that a consumer is used by one task at a time."""

from __future__ import annotations

from ..errors import FluxaError

__all__ = ["Turn"]


class Turn:
    """A context that only one task can be in."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise FluxaError(
                "the consumer is in use, by another task or by the call whose handler this is; "
                "make one consumer for each task (consumer_many), or use run(handler, concurrency=...)"
            )
        self._taken = True

    def __exit__(self, *error: object) -> None:
        self._taken = False
