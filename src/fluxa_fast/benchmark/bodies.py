"""The bodies of the published events. Each body is a new object, as in an application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

__all__ = ["BODIES", "packed", "plain"]

_TEXT_1K = "x" * 960
_TEXT_64K = "x" * 65_450


def _small(number: int) -> Any:
    return {"UserID": number, "ProductID": 42, "Quantity": 3}


def _kilobyte(number: int) -> Any:
    return {"UserID": number, "ProductID": 42, "Quantity": 3, "Price": 9.99, "Text": _TEXT_1K}


def _large(number: int) -> Any:
    return {"UserID": number, "ProductID": 42, "Quantity": 3, "Price": 9.99, "Text": _TEXT_64K}


@dataclass(slots=True)
class Order:
    UserID: int
    ProductID: int
    Quantity: int


def _dataclass(number: int) -> Any:
    return Order(number, 42, 3)


def _nested(number: int) -> Any:
    return {
        "UserID": number,
        "Address": {"City": "Utrecht", "Zip": "3511 AA", "Geo": [52.09, 5.12]},
        "Items": [{"ProductID": 42, "Quantity": 3, "Price": 9.99}, {"ProductID": 7, "Quantity": 1, "Price": 120.0}],
        "Paid": True,
        "Note": None,
    }


BODIES: dict[str, Callable[[int], Any]] = {
    "dict 32 B": _small,
    "dict 1 KiB": _kilobyte,
    "dict 64 KiB": _large,
    "dataclass": _dataclass,
    "nested": _nested,
}


def plain(value: Any) -> Any:
    """Return the fields of a dataclass: the peers' `default` hook of msgpack-python, in the fastest way for slots."""
    return {"UserID": value.UserID, "ProductID": value.ProductID, "Quantity": value.Quantity}


def packed(value: Any) -> bytes:
    """Return the value as msgpack-python writes it, which is what the peers send."""
    return msgpack.packb(value, default=plain)  # type: ignore[no-any-return]
