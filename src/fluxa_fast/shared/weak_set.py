"""A set that does not keep what is in it, and that threads may share."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["SharedWeakSet"]

T = TypeVar("T")


class SharedWeakSet(Generic[T]):
    """Objects that leave it when they are freed. It can be iterated over while other threads change it.

    (A set of references can be copied meanwhile; a WeakSet can't.)
    """

    def __init__(self) -> None:
        self._references: set[weakref.ref[T]] = set()

    def add(self, one: T) -> None:
        """Add an object."""
        self._references.add(weakref.ref(one, self._references.discard))

    def __iter__(self) -> Iterator[T]:
        for reference in list(self._references):
            if (one := reference()) is not None:
                yield one
