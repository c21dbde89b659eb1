"""Writes RESP where speed does not matter, because a command is built once."""

from __future__ import annotations


def bulk(argument: bytes) -> bytes:
    """``$<length>\\r\\n<bytes>\\r\\n``"""
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def argument_bytes(argument: object) -> bytes:
    """Return the bytes of a command's argument.

    Raises:
        TypeError: if the argument is not a str, bytes-like, int or float.
    """
    kind = type(argument)
    if kind is str:
        return argument.encode()  # type: ignore[attr-defined,no-any-return]
    if kind is bytes:
        return argument  # type: ignore[return-value]
    if isinstance(argument, bool):
        raise TypeError("a command's argument can't be a bool; use 0 or 1")
    if isinstance(argument, int):
        return b"%d" % argument
    if isinstance(argument, float):
        return repr(float(argument)).encode()
    if isinstance(argument, str):
        return str(argument).encode()
    if isinstance(argument, (bytearray, memoryview, bytes)):
        return bytes(argument)
    raise TypeError(f"a command's argument is str, bytes, int or float, not {kind.__name__}")
