"""The hooks of a registry about bodies: how values are written that msgpack has no type for, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgpack import ExtType

from ..errors import SerializationError
from .conversions import Default
from .encode_errors import body_too_large, described, name_of
from .entries import kept
from .interface import CommandBuffer, Implementation
from .limits import MAX_BULK

if TYPE_CHECKING:
    from .typed import Reader
    from .typed.nodes import Types

__all__ = ["BodyCodec", "Decode", "Recode", "encoded"]

Decode = Callable[[Any, Any], Any]
Recode = Callable[[bytes], bytes]


class BodyCodec:
    """What a registry's streams write and read bodies with.

    Args:
        implementation: of the protocol.
        default: makes msgpack values of what msgpack has no type for.
        decode: makes a value of a type of what `default` has made of it.
        encode_body: is given the msgpack bytes of each body; returns the bytes that are stored.
        decode_body: the counterpart of `encode_body`.
    """

    def __init__(
        self,
        implementation: Implementation,
        default: Default | None = None,
        decode: Decode | None = None,
        encode_body: Recode | None = None,
        decode_body: Recode | None = None,
    ) -> None:
        self._implementation = implementation
        self._default = default
        self._decode = decode
        self._encode_body = encode_body
        self._decode_body = decode_body
        self._types: Types | None = None
        self._readers: dict[Any, Reader] = {}

    def event_buffer(self) -> CommandBuffer:
        """Return an empty buffer for events."""
        return self._implementation.CommandBuffer(self._default, self._encode_body)

    def plain_reader(self) -> Reader | None:
        """Return the reader of bodies without a type; None if they are read without hooks."""
        if self._decode is None and self._decode_body is None:
            return None
        from .typed import Reader

        return Reader(None, _as_it_is, self)

    def reader(self, wanted: Any, *, registered: bool = False) -> Reader:
        """Return the reader of a type.

        Args:
            wanted: the type.
            registered: whether it is the type of a stream's bodies, and so must not be ambiguous.

        Raises:
            TypeError: if bodies can't be converted to the type, or if it is ambiguous.
        """
        if registered:
            return self._new_reader(wanted, registered=True)
        return kept(self._readers, wanted, partial(self._new_reader, wanted, registered=False))

    def _new_reader(self, wanted: Any, *, registered: bool) -> Reader:
        from . import typed  # large, and only programs with typed bodies need it

        made = typed.reader(wanted, self._known_types(), registered=registered)
        if self._decode is None and self._decode_body is None:
            return made
        from_bytes = made.from_bytes if self._decode is None else None
        if from_bytes is not None:
            from_bytes = _after(self._decoded, from_bytes)
        return typed.Reader(from_bytes, made.from_value, self)

    def checker(self, wanted: Any) -> tuple[Callable[[Any], None], type | None]:
        """Return the check of a type, as `typed.checker` does."""
        from . import typed

        return typed.checker(wanted, self._known_types())

    def _known_types(self) -> Types | None:
        """Return the types of this registry, if it has a hook for more of them."""
        if self._decode is not None and self._types is None:
            from . import typed

            self._types = typed.with_hook(self._make)
        return self._types

    def plain(self, stored: bytes) -> Any:
        """Return the plain value of a stored body.

        Raises:
            SerializationError: if it is no msgpack, or if a hook raised an exception.
        """
        value = self._implementation.unpack(self._decoded(stored))
        return value if self._decode is None else self._with_extensions(value)

    def _decoded(self, stored: bytes) -> bytes:
        return stored if self._decode_body is None else _recoded("decode_body", self._decode_body, stored)

    def _with_extensions(self, value: Any) -> Any:
        """Return a value in which the hook has replaced extensions of other types than fluxa_fast knows."""
        if isinstance(value, ExtType):
            return self._make(ExtType, value)
        if type(value) is list or type(value) is tuple:
            items = []
            for item in value:  # no comprehension: in Python 3.11 it would take a second frame for each level
                items.append(self._with_extensions(item))
            return items if type(value) is list else tuple(items)
        if type(value) is dict:
            found = {}
            for key, item in value.items():
                found[self._with_extensions(key)] = self._with_extensions(item)
            return found
        return value

    def _make(self, wanted: Any, value: Any) -> Any:
        """Ask the hook for a value of a type."""
        assert self._decode is not None
        try:
            made = self._decode(wanted, value)
        except SerializationError:
            raise
        except Exception as error:
            raise SerializationError(f"the decode hook raised {described(error)} for {name_of(wanted)}") from error
        if made is NotImplemented:
            if wanted is ExtType:
                return value
            raise SerializationError(f"the decode hook does not know {name_of(wanted)}")
        return made


def encoded(encode_body: Recode, packed: bytes) -> bytes:
    """Return what is stored of the msgpack bytes of a body.

    Raises:
        SerializationError: if the hook raised an exception, or returned no bytes or too many.
    """
    stored = _recoded("encode_body", encode_body, packed)
    if len(stored) > MAX_BULK:
        raise body_too_large(len(stored))._located("body")
    return stored


def _recoded(name: str, hook: Recode, data: bytes) -> bytes:
    try:
        made = hook(data)
    except Exception as error:
        raise SerializationError(f"the {name} hook raised {described(error)}", "body") from error
    if isinstance(made, (bytearray, memoryview)):
        return bytes(made)
    if type(made) is not bytes:
        raise SerializationError(f"the {name} hook returned {type(made).__name__}, and not bytes", "body")
    return made


def _as_it_is(value: Any) -> Any:
    return value


def _after(first: Recode, then: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    return lambda data: then(first(data))
