"""A complete msgpack writer in Python. It has its own stack instead of recursion."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from ...errors import SerializationError
from .. import conversions, encode_errors
from ..limits import MAX_DEPTH
from .reading import read

# The next value of a container, and for an error the function and the argument that name the step to this value.
Child = tuple[Any, Callable[[Any], str], Any]
Opened = tuple[object, int, Iterator[Child]]  # a container, its depth, and its children


def write(value: object, default: conversions.Default | None) -> bytes:
    """Return the msgpack bytes of `value`.

    Raises:
        SerializationError: with the path to the value that can't be written.
    """
    written = bytearray()
    owners: list[object] = []
    depths: list[int] = [0]  # of the next value, and of those that contain it
    open_containers: list[Iterator[Child]] = []
    steps: list[tuple[Callable[[Any], str], Any]] = []
    try:
        while True:
            opened = _write_one(value, written, default, depths[-1])
            if opened is not None:
                owner, depth, children = opened
                owners.append(owner)
                depths.append(depth + 1)
                open_containers.append(children)
                steps.append((str, ""))
            while open_containers:
                try:
                    value, *step = next(open_containers[-1])
                except StopIteration:
                    pass
                except SerializationError:
                    steps.pop()
                    owners.pop()
                    raise
                else:
                    steps[-1] = (step[0], step[1])
                    break
                owners.pop()
                depths.pop()
                open_containers.pop()
                steps.pop()
            else:
                return bytes(written)
    except SerializationError as error:
        for owner, (name_step, argument) in zip(reversed(owners), reversed(steps), strict=True):
            error._inside(owner, name_step(argument))
        error._located("body")
        raise


def _write_one(value: Any, out: bytearray, default: conversions.Default | None, depth: int) -> Opened | None:
    """Write a scalar, or write the header of a container and return its children.

    Raises:
        SerializationError: if the value can't be written, also if it raised an exception itself.
    """
    try:
        return _write_any(value, out, default, depth)
    except (SerializationError, MemoryError):
        raise
    except Exception as error:
        raise encode_errors.value_failed(value, error) from error


def _write_any(value: Any, out: bytearray, default: conversions.Default | None, depth: int) -> Opened | None:
    if value is None:
        out.append(0xC0)
    elif value is True:
        out.append(0xC3)
    elif value is False:
        out.append(0xC2)
    elif isinstance(value, str):
        _write_str(value, out)
    elif isinstance(value, int):
        _write_int(value, out)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xCB, value)
    elif isinstance(value, dict):
        return value, depth, _dict(value, out, depth)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        _write_bin(bytes(value), out)
    elif (extension := conversions.extension_of(value)) is not None:
        _write_extension(*extension, out)
    elif isinstance(value, (list, tuple)):
        return value, depth, _array(value, out, depth)
    elif (fields := conversions.fields_of(type(value))) is not None:
        return value, depth, _fields(value, fields, out, depth)
    else:
        replaced, levels = conversions.replacement_for(value, default)
        return _write_any(replaced, out, default, depth + levels)
    return None


def _dict(value: dict[Any, Any], out: bytearray, depth: int) -> Iterator[Child]:
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    items: Any = value.items() if type(value) is dict else list(value.items())
    size = len(items)
    _write_header(size, 0x80, 0xDE, out)
    return _dict_children(value, items, size, out)


def _dict_children(owner: dict[Any, Any], items: Any, size: int, out: bytearray) -> Iterator[Child]:
    read_back: set[Any] | None = None
    try:
        for key, item in items:
            begin = len(out)
            yield key, encode_errors.in_key_step, key
            if not isinstance(key, conversions.PLAIN_KEYS):
                if read_back is None:
                    read_back = conversions.plain_keys(owner)
                _check_key(owner, out[begin:], key, read_back)
            yield item, encode_errors.key_step, key
    except RuntimeError:
        raise encode_errors.changed() from None
    if len(items) != size:
        raise encode_errors.changed()


def _check_key(owner: dict[Any, Any], written: bytearray, key: object, read_back: set[Any]) -> None:
    try:
        conversions.note_key(read(bytes(written)), key, read_back)
    except SerializationError as error:
        error._inside(owner, encode_errors.in_key_step(key))
        raise


def _array(value: list[Any] | tuple[Any, ...], out: bytearray, depth: int) -> Iterator[Child]:
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    items = value if type(value) in (list, tuple) else list(value)
    size = len(items)
    _write_header(size, 0x90, 0xDC, out)
    return _array_children(items, size)


def _array_children(items: Any, size: int) -> Iterator[Child]:
    for position in range(size):
        try:
            item = items[position]
        except IndexError:  # another thread has changed the list
            raise encode_errors.changed() from None
        yield item, "[{}]".format, position
        if len(items) != size:
            raise encode_errors.changed()


def _fields(value: object, fields: tuple[tuple[str, str], ...], out: bytearray, depth: int) -> Iterator[Child]:
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    _write_header(len(fields), 0x80, 0xDE, out)
    return _field_children(value, fields, out)


def _field_children(value: object, fields: tuple[tuple[str, str], ...], out: bytearray) -> Iterator[Child]:
    for attribute, wire_name in fields:
        _write_str(wire_name, out)
        try:
            item = getattr(value, attribute)
        except Exception as error:
            refusal = encode_errors.missing_field(value, attribute, error)
            refusal._inside(value, f".{attribute}")
            raise refusal from error
        yield item, ".{}".format, attribute


def _write_header(size: int, short_form: int, form16: int, out: bytearray) -> None:
    """Write the header of an array or a map."""
    if size < 16:
        out.append(short_form | size)
    elif size < 1 << 16:
        out += struct.pack(">BH", form16, size)
    else:
        out += struct.pack(">BI", form16 + 1, size)


def _write_int(value: int, out: bytearray) -> None:
    if value >= 0:
        if value < 1 << 7:
            out.append(value)
        elif value < 1 << 8:
            out += struct.pack(">BB", 0xCC, value)
        elif value < 1 << 16:
            out += struct.pack(">BH", 0xCD, value)
        elif value < 1 << 32:
            out += struct.pack(">BI", 0xCE, value)
        elif value < 1 << 64:
            out += struct.pack(">BQ", 0xCF, value)
        else:
            raise encode_errors.int_too_large(value)
    elif value >= -32:
        out += struct.pack(">b", value)
    elif value >= -(1 << 7):
        out += struct.pack(">Bb", 0xD0, value)
    elif value >= -(1 << 15):
        out += struct.pack(">Bh", 0xD1, value)
    elif value >= -(1 << 31):
        out += struct.pack(">Bi", 0xD2, value)
    elif value >= -(1 << 63):
        out += struct.pack(">Bq", 0xD3, value)
    else:
        raise encode_errors.int_too_large(value)


def _write_str(value: str, out: bytearray) -> None:
    try:
        text = str.encode(value)
    except UnicodeEncodeError as error:
        raise encode_errors.surrogates(error) from None
    size = len(text)
    if size < 32:
        out.append(0xA0 | size)
    else:
        _write_sized(0xD9, size, out)
    out += text


def _write_bin(value: bytes, out: bytearray) -> None:
    _write_sized(0xC4, len(value), out)
    out += value


def _write_extension(code: int, payload: bytes, out: bytearray) -> None:
    size = len(payload)
    if size in (1, 2, 4, 8, 16):
        out.append(0xD4 + size.bit_length() - 1)
    else:
        _write_sized(0xC7, size, out)
    out += struct.pack(">b", code)
    out += payload


def _write_sized(form8: int, size: int, out: bytearray) -> None:
    """Write the header of a str, bin or ext, in its form of 8, 16 or 32 bits."""
    if size < 1 << 8:
        out += struct.pack(">BB", form8, size)
    elif size < 1 << 16:
        out += struct.pack(">BH", form8 + 1, size)
    elif size < 1 << 32:
        out += struct.pack(">BI", form8 + 2, size)
    else:
        raise encode_errors.body_too_large(size)
