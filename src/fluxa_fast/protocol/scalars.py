"""Reads the rare scalars of RESP, for both implementations."""

from __future__ import annotations

import re

from . import decode_errors
from .interface import ErrorReply

_DOUBLE = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf|nan)")
_INTEGER = re.compile(rb"[+-]?\d+")


def integer(line: bytes) -> int:
    """``:<digits>``, within 64 bits"""
    if not _INTEGER.fullmatch(line) or len(line) > 20:
        raise decode_errors.bad_number(line)
    number = int(line)
    if not -(2**63) <= number < 2**63:
        raise decode_errors.bad_number(line)
    return number


def double(line: bytes) -> float:
    """``,<floating point>``, ``,inf``, ``,-inf``, ``,nan``"""
    if not _DOUBLE.fullmatch(line):
        raise decode_errors.bad_value(line)
    return float(line)


def big_number(line: bytes) -> int:
    """``(<digits>``"""
    if not _INTEGER.fullmatch(line):
        raise decode_errors.bad_number(line)
    try:
        return int(line)
    except ValueError:  # it has more digits than Python converts
        raise decode_errors.bad_number(line) from None


def boolean(line: bytes) -> bool:
    """``#t`` or ``#f``"""
    if line not in (b"t", b"f"):
        raise decode_errors.bad_value(line)
    return line == b"t"


def null(line: bytes) -> None:
    """``_``"""
    if line:
        raise decode_errors.bad_value(line)


def verbatim(payload: bytes) -> bytes:
    """``=<length>`` CR LF ``txt:<bytes>``"""
    if payload[3:4] != b":":
        raise decode_errors.bad_value(payload)
    return payload[4:]


def error(text: bytes) -> ErrorReply:
    """``-<text>``"""
    return ErrorReply(text.decode("utf-8", "replace"))
