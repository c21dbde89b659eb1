"""The type variables of events: what a body is, if a stream says so, and else `Any`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers know them with a default; Python itself from 3.13 on
    from typing_extensions import TypeVar

    BodyT = TypeVar("BodyT", default=Any)
    BodyT_co = TypeVar("BodyT_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    BodyT = TypeVar("BodyT")
    BodyT_co = TypeVar("BodyT_co", covariant=True)

__all__ = ["BodyT", "BodyT_co"]
