"""RESP, written: how one command is spelled. Used where a command is built once, not a million times."""

from __future__ import annotations


def bulk(argument: bytes) -> bytes:
    """``$<length>\\r\\n<bytes>\\r\\n``"""
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def argument_bytes(argument: object) -> bytes:
    """The bytes of one command argument.

    Raises:
        TypeError: if it is not a str, bytes-like, int or float.
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
