"""Compression of packed entries, by Python 3.14's own module or by `backports.zstd`."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from ..errors import SerializationError
from .limits import MAX_UNPACKED

_WINDOW = (MAX_UNPACKED - 1).bit_length()  # a frame may ask for memory of two to this power, whatever its size is

__all__ = ["compressed", "decompressed", "zstd"]


@cache
def zstd() -> Any:
    """Return the module.

    Raises:
        ImportError: if it is not there; the error says what to install.
    """
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd as module
        else:
            from backports import zstd as module
    except ImportError as error:
        raise ImportError("zstd is not there: install fluxa-fast[zstd], or use Python 3.14 or newer") from error
    return module


def compressed(data: bytes) -> bytes:
    """Return the zstd frame of some bytes."""
    made: bytes = zstd().compress(data)
    return made


def decompressed(data: bytes, size: int) -> bytes:
    """Return what a zstd frame holds. Never more than `size` bytes are made of it.

    Raises:
        SerializationError: if it is no frame of so many bytes, or if zstd is not there.
    """
    if size > MAX_UNPACKED:
        raise SerializationError(f"a zstd frame of {size} bytes; {MAX_UNPACKED} are allowed")
    try:
        module = zstd()
    except ImportError as error:
        raise SerializationError(f"the entry is compressed, and {error}") from error
    decompressor = module.ZstdDecompressor(options={module.DecompressionParameter.window_log_max: _WINDOW})
    try:
        made: bytes = decompressor.decompress(data, max_length=size + 1)
    except (module.ZstdError, EOFError) as error:
        raise SerializationError(f"no zstd frame: {error}") from None
    if len(made) != size or not decompressor.eof or decompressor.unused_data:
        raise SerializationError(f"a zstd frame of other than the {size} bytes that the entry says")
    return made
