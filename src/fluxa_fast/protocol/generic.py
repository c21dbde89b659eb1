"""The type variables of a body: the type that is registered for a stream, or `Any` if there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Python itself knows type variables with a default from 3.13 on
    from typing_extensions import TypeVar

    BodyT = TypeVar("BodyT", default=Any)
    BodyT_co = TypeVar("BodyT_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    BodyT = TypeVar("BodyT")
    BodyT_co = TypeVar("BodyT_co", covariant=True)

__all__ = ["BodyT", "BodyT_co"]
