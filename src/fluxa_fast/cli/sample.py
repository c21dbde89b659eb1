"""The demo's events, with shapes and sizes of real services. The number of an event tells the whole event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["STREAMS", "Sample", "sample"]

STREAMS = ("order-events", "user-events", "telemetry", "documents")

_START = datetime(2026, 1, 1, tzinfo=UTC)
_TEXT = "The quick brown fox jumps over the lazy dog; zażółć gęślą jaźń. " * 64
_ACTIONS = ("created", "paid", "packed", "sent", "returned")


@dataclass(slots=True)
class Sample:
    """An event: its stream, body and tags, and the body that is expected when it comes back."""

    stream: str
    body: object
    tags: dict[str, str] | None
    expected: object


@dataclass(slots=True)
class Login:
    number: int
    user: str
    at: datetime
    success: bool


def sample(number: int) -> Sample:
    """Return the event of a number. Half of the events are orders; the others are logins, measurements, and texts."""
    kind = number % 10
    if kind < 5:
        order = {"UserID": number, "ProductID": 42 + kind, "Quantity": 3}
        return Sample("order-events", order, {"action": _ACTIONS[kind]}, order)
    if kind < 7:
        at = _START + timedelta(seconds=number)
        login = Login(number, f"user-{number % 5000}", at, kind == 5)
        expected = {"number": number, "user": login.user, "at": at, "success": login.success}
        return Sample("user-events", login, {"action": "login", "priority": "high"}, expected)
    if kind < 9:
        reading = {
            "sensor": [number % 97, number % 7],
            "values": [number / 3, -number, number << 20, None, kind == 8],
            "place": {"name": f"hall {number % 12}", "raw": number.to_bytes(8, "big")},
        }
        return Sample("telemetry", reading, None, reading)
    size = 256 << number // 10 % 5  # 256 B to 4 KiB
    text = {"id": number, "text": _TEXT[:size], "words": ["fox", "dog"]}
    return Sample("documents", text, {"language": "en"}, text)


def number_of(stream: str, body: object) -> int:
    """Return the number of an event."""
    assert isinstance(body, dict)
    if stream == "telemetry":
        return int.from_bytes(body["place"]["raw"], "big")
    return int(body[{"order-events": "UserID", "user-events": "number", "documents": "id"}[stream]])
