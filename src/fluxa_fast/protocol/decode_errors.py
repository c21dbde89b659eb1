"""The errors for msgpack and RESP bytes that can't be read. Both implementations raise these."""

from __future__ import annotations

from ..errors import ProtocolError, SerializationError
from .limits import MAX_BULK, MAX_DEPTH, MAX_ITEMS, MAX_REPLY_DEPTH


def truncated(offset: int, needed: int, left: int) -> SerializationError:
    """The value at `offset`, and the values that have to follow it, need at least `needed` bytes after its header."""
    verb = "is" if left == 1 else "are"
    return SerializationError(f"byte {offset}: needs {_bytes(needed)}, only {left} {verb} left")


def empty() -> SerializationError:
    return SerializationError("there are no bytes to read a msgpack value from")


def never_used(offset: int) -> SerializationError:
    return SerializationError(f"byte {offset}: 0xc1 is not msgpack")


def nested_too_deep(offset: int) -> SerializationError:
    return SerializationError(f"byte {offset}: nested deeper than {MAX_DEPTH} levels")


def not_utf8(offset: int, error: UnicodeDecodeError) -> SerializationError:
    return SerializationError(f"byte {offset}: a str that is not UTF-8: {error.reason} at its byte {error.start}")


def unhashable_key(offset: int, key: object) -> SerializationError:
    return SerializationError(f"byte {offset}: a {type(key).__name__} can't be the key of a dict")


def trailing(offset: int, extra: int) -> SerializationError:
    verb = "follows" if extra == 1 else "follow"
    return SerializationError(f"byte {offset}: {_bytes(extra)} {verb} after the value")


def unknown_type(marker: int) -> ProtocolError:
    return ProtocolError(f"not RESP: a reply can't begin with {bytes([marker])!r}")


def bad_number(line: bytes) -> ProtocolError:
    return ProtocolError(f"not RESP: {line[:40]!r} should be a number")


def bad_length(line: bytes) -> ProtocolError:
    return ProtocolError(f"not RESP: {line[:40]!r} can't be a length")


def bulk_too_long(length: int) -> ProtocolError:
    return ProtocolError(f"a bulk string of {length} bytes is announced; Redis holds at most {MAX_BULK}")


def too_many_items(count: int) -> ProtocolError:
    return ProtocolError(f"an aggregate of {count} elements is announced; at most {MAX_ITEMS} are read")


def reply_too_deep() -> ProtocolError:
    return ProtocolError(f"a reply nested deeper than {MAX_REPLY_DEPTH} levels")


def line_too_long() -> ProtocolError:
    return ProtocolError("not RESP: a line without an end")


def no_line_end(after: str) -> ProtocolError:
    return ProtocolError(f"not RESP: {after} is not followed by CR LF")


def bad_value(line: bytes) -> ProtocolError:
    return ProtocolError(f"not RESP: {line[:40]!r} is not a value of its type")


def unhashable_reply_key() -> ProtocolError:
    return ProtocolError("a map in the reply has a key that can't be the key of a dict")


def misplaced_end() -> ProtocolError:
    return ProtocolError("not RESP: the end of a streamed reply stands where none began")


def unexpected_reply(expected: str, got: object) -> ProtocolError:
    return ProtocolError(f"expected {expected}, and the server sent {_shown(got)}")


def not_an_id(text: bytes) -> ProtocolError:
    return ProtocolError(f"{text[:40]!r} is not the ID of a stream entry")


def reader_broken() -> ProtocolError:
    return ProtocolError("the reader met bytes that are not RESP before; reset() it and use a new connection")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"
