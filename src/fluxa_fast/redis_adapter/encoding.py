"""How redis-py's connections write text, and what they make of the strings in replies."""

from __future__ import annotations

from typing import Any

from redis._parsers import Encoder

__all__ = ["decodes_plainly", "encodes_plainly"]

_ASCII = bytes(range(128))


def encodes_plainly(pool: Any) -> tuple[bool, bool]:
    """How the connections of a pool write text: (whether ASCII text is ASCII, whether all text is UTF-8).

    (False, False) if a class of the user's does it.
    """
    options = pool.connection_kwargs
    if options.get("encoder_class") not in (None, Encoder) or options.get("command_packer") is not None:
        return False, False
    encoding = pool.get_encoder().encoding
    try:
        if _ASCII.decode("ascii").encode(encoding) != _ASCII:
            return False, False
        return True, _is_utf8(encoding)
    except (LookupError, UnicodeError):
        return True, False


def decodes_plainly(connection: Any) -> bool | None:
    """Whether strings in replies are text (True), bytes (False), or text that only redis-py can decode (None)."""
    encoder = connection.encoder
    if type(encoder) is not Encoder:
        return None
    if not encoder.decode_responses:
        return False
    try:
        return _is_utf8(encoder.encoding) or None
    except (LookupError, UnicodeError):
        return None


def _is_utf8(encoding: str) -> bool:
    return "\xe9\u20ac".encode(encoding) == "\xe9\u20ac".encode()
