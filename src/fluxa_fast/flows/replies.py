"""Readers of replies, each of which refuses a reply of another kind than its command has."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import Any

from ..protocol import decode_errors
from ..protocol.entry_ids import is_id
from ..protocol.interface import INCOMPLETE, ErrorReply, ReplyReader
from ..redis_adapter.errors import error_of, in_a_cluster, retold
from .steps import Take

__all__ = [
    "ACKNOWLEDGEMENT",
    "ENTRY_ID",
    "IDS",
    "NUMBER",
    "NUMBERS",
    "OK",
    "PENDING_ENTRIES",
    "TEXT",
    "TIDIED",
    "TRIMMED",
    "error_of",
    "id_of",
    "in_a_cluster",
    "named",
    "retold",
]


def id_of(reply: Any) -> str:
    """An event's ID, out of the reply to its XADD (see `ENTRY_ID`).

    Raises:
        redis.ResponseError: if the server refused the event.
    """
    if isinstance(reply, ErrorReply):
        raise error_of(reply)
    id: str = reply
    return id


def named(reply: Any) -> dict[str, Any]:
    """What a reply calls by name: RESP2 answers a flat list of names and values, RESP3 a map."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value for name, value in pairs}


# ---- how to read them -----------------------------------------------------------------------------------


def _reply_that(fits: Callable[[Any], bool], what: str) -> Take:
    """`Take`: one reply that fits, or the server's error.

    Anything else is refused where it is read: the connection is dropped then, as for bytes that are not RESP. What
    comes next on it may be the reply to another command.
    """

    def take(reader: ReplyReader) -> Any:
        reply = reader.read()
        if reply is INCOMPLETE or fits(reply) or isinstance(reply, ErrorReply):
            return reply
        raise decode_errors.unexpected_reply(what, reply)

    return take


def _is_number(reply: Any) -> bool:
    return type(reply) is int


def _are_numbers(reply: Any) -> bool:
    return type(reply) is list and len(reply) > 0 and all(map(_is_number, reply))


def _are_ids(reply: Any) -> bool:
    return type(reply) is list and all(map(is_id, reply))


def _is_acknowledgement(reply: Any) -> bool:
    if type(reply) is not list or len(reply) != 3 or not _is_number(reply[0]):
        return False
    return reply[1:] == [b"", b""] or all(map(is_id, reply[1:]))


def _is_tidied(reply: Any) -> bool:
    return (
        type(reply) is list
        and len(reply) == 5
        and _is_acknowledgement(reply[:3])
        and (reply[3] == b"" or is_id(reply[3]))
        and _is_number(reply[4])
    )


def _is_trimmed(reply: Any) -> bool:
    return type(reply) is list and len(reply) == 2 and all(map(_is_number, reply))


def _are_pending(reply: Any) -> bool:
    return type(reply) is list and all(
        type(entry) is list and len(entry) == 4 and is_id(entry[0]) and _is_number(entry[3]) for entry in reply
    )


NUMBER: Take = methodcaller("read_number")
NUMBERS = _reply_that(_are_numbers, "numbers")  # of ask.lua
IDS = _reply_that(_are_ids, "IDs of entries")  # of refresh.lua
TEXT = _reply_that(lambda reply: reply is None or type(reply) is bytes, "a text")  # or null
OK = _reply_that(lambda reply: type(reply) is bytes, "OK")
ENTRY_ID: Take = methodcaller("read_id")
ACKNOWLEDGEMENT = _reply_that(_is_acknowledgement, "a number of other groups, and two IDs")  # of acknowledge.lua
TIDIED = _reply_that(_is_tidied, "a number of other groups, three IDs, and a number")  # of trim_acknowledged.lua
TRIMMED = _reply_that(_is_trimmed, "a number of other groups, and whether entries are left")  # of trim_delivered.lua
PENDING_ENTRIES = _reply_that(_are_pending, "pending entries")  # of XPENDING with a range
