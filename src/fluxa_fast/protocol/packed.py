"""The format of packed entries, as far as it is read once for an entry. docs/internals/packed.md specifies it.

A packed entry has the fields, in this order:

- ``_fluxa:packed``: ``<version> <number of events>``, and words that say how the other fields are written
- ``s``: a msgpack array with the body of each event
- the tags that all its events share
- ``_fluxa:tags``, if there are others: a msgpack map from the name of a tag to an array of its values, nil for an event
  without it; the array may end before the last event
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from msgpack import StackError, Unpacker

from ..errors import SerializationError
from .encode_errors import described, short
from .limits import MAX_BULK, MOST_PACKED
from .wire import BODY_FIELD_BYTES, PACKED_FIELD, PACKED_FIELD_BYTES, PACKED_TAGS_FIELD_BYTES, PACKED_VERSION
from .zstd import compressed, decompressed

__all__ = [
    "Layout",
    "PackedTags",
    "bodies",
    "events_in",
    "layout",
    "marker",
    "split",
    "tags_of",
    "unwrapped",
    "written",
]

_MARKER = re.compile(rb"([0-9]{1,9}) ([0-9]{1,9})((?: [a-z:0-9-]+)*)")
_COMPRESSED = re.compile(r"(tags-)?zstd:([0-9]{1,10})")
_WRAPPED = "bin"


class _Marker(NamedTuple):
    """What the first field says.

    Attributes:
        events: how many the entry has.
        wrapped: whether each body is a byte string: what `encode_body` has made of it.
        size: of the decompressed bodies in bytes; None: they are not compressed.
        tags_size: the same of the tags that differ.
    """

    events: int
    wrapped: bool
    size: int | None
    tags_size: int | None


def _read_marker(value: bytes) -> _Marker:
    found = _MARKER.fullmatch(value)
    if found is None:
        raise SerializationError(f"{short(value)} is no marker of a packed entry")
    version, count = int(found[1]), int(found[2])
    if version != PACKED_VERSION:
        raise SerializationError(
            f"a packed entry of version {version}: this version of fluxa_fast reads version {PACKED_VERSION}, "
            "upgrade it"
        )
    if not 1 <= count <= MOST_PACKED:
        raise SerializationError(f"a packed entry of {count} events; it has 1 to {MOST_PACKED}")
    wrapped = False
    sizes: dict[bool, int] = {}
    for word in found[3].decode().split():
        if word == _WRAPPED:
            wrapped = True
        elif (of := _COMPRESSED.fullmatch(word)) is not None:
            sizes[of[1] is not None] = int(of[2])
        else:
            raise SerializationError(f"a packed entry that is written as {word!r}, which this version does not know")
    return _Marker(count, wrapped, sizes.get(False), sizes.get(True))


def marker(count: int, *, wrapped: bool = False, size: int | None = None, tags_size: int | None = None) -> bytes:
    """Return the value of the first field.

    Args:
        count: how many events the entry has.
        wrapped, size, tags_size: as the attributes of the marker.
    """
    words = [f"{PACKED_VERSION} {count}"]
    if wrapped:
        words.append(_WRAPPED)
    if size is not None:
        words.append(f"zstd:{size}")
    if tags_size is not None:
        words.append(f"tags-zstd:{tags_size}")
    return " ".join(words).encode()


def written(count: int, array: bytes, tags: bytes, wrapped: bool, compress: bool) -> tuple[bytes, bytes, bytes]:
    """Return marker, bodies and tags of an entry, compressed where that makes them smaller.

    Args:
        count: how many events it has.
        array: the msgpack array of the bodies.
        tags: the msgpack map of the tags that differ; empty: there are none.
        wrapped: as the attribute of the marker.
        compress: whether to compress.
    """
    size = tags_size = None
    if compress:
        if len(smaller := compressed(array)) < len(array):
            size, array = len(array), smaller
        if tags and len(smaller := compressed(tags)) < len(tags):
            tags_size, tags = len(tags), smaller
    return marker(count, wrapped=wrapped, size=size, tags_size=tags_size), array, tags


class PackedTags:
    """The tags of the events of an entry. They are decoded when one of them is asked for.

    Args:
        shared: names and values in turn, of the tags that all events share.
        differing: the msgpack map of those that differ; None: there are none.
        size: of that map when it is decompressed; None: it is not compressed.
        count: how many events there are.
    """

    __slots__ = ("_count", "_differing", "_shared", "_size", "_tables", "_unreadable")

    def __init__(self, shared: Sequence[bytes], differing: bytes | None, size: int | None, count: int) -> None:
        self._shared = shared
        self._differing = differing
        self._size = size
        self._count = count
        self._tables: tuple[dict[str, str], dict[str, list[str | None]]] | None = None
        self._unreadable = ""  # why they can't be read

    def of(self, place: int) -> dict[str, str]:
        """Return the tags of the event at a place.

        Raises:
            SerializationError: if what differs is no map of names to values.
        """
        if self._tables is None:
            self._tables = self._read()
        shared, columns = self._tables
        tags = shared.copy()
        for name, values in columns.items():
            if place < len(values) and (value := values[place]) is not None:
                tags[name] = value
        return tags

    def _read(self) -> tuple[dict[str, str], dict[str, list[str | None]]]:
        """Read them once, whatever comes of it: an entry may have many events, and a bomb for its tags."""
        if self._unreadable:
            raise SerializationError(self._unreadable)
        texts = [part.decode("utf-8", "surrogateescape") for part in self._shared]
        try:
            return dict(zip(texts[::2], texts[1::2], strict=True)), self._columns()
        except SerializationError as error:
            self._unreadable = str(error)
            raise

    def _columns(self) -> dict[str, list[str | None]]:
        if self._differing is None:
            return {}
        map = self._differing if self._size is None else decompressed(self._differing, self._size)
        try:
            unpacker = Unpacker(max_buffer_size=len(map) + 1, raw=True, strict_map_key=False)
            unpacker.feed(map)
            columns = {}
            for _ in range(unpacker.read_map_header()):
                name, values = unpacker.unpack(), unpacker.unpack()
                if len(values) > self._count:
                    raise ValueError("more values than events")
                columns[_text(name)] = [None if value is None else _text(value) for value in values]
            if unpacker.tell() != len(map):
                raise ValueError("bytes behind the map")
        except Exception as error:  # the library has many for bytes that are no msgpack
            raise SerializationError(f"the tags of a packed entry can't be read: {described(error)}") from None
        return columns


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


class Layout(NamedTuple):
    """What the fields of a packed entry hold.

    Attributes:
        events: how many it has.
        array: the msgpack array of their bodies.
        wrapped: whether each body is a byte string.
        tags: of the events; None: they have none.
    """

    events: int
    array: bytes
    wrapped: bool
    tags: PackedTags | None


def layout(fields: Sequence[bytes]) -> Layout:
    """Return what the fields of a packed entry hold: names and values in turn, of which the first is the marker.

    Raises:
        SerializationError: if they are none.
    """
    count, wrapped, size, tags_size = _read_marker(fields[1])
    rest = list(fields[2:])
    try:
        place = rest[::2].index(BODY_FIELD_BYTES) * 2
    except ValueError:
        raise SerializationError("a packed entry without bodies") from None
    array = rest[place + 1]
    del rest[place : place + 2]
    if size is not None:
        array = decompressed(array, size)
    return Layout(count, array, wrapped, tags_of(rest, count, tags_size))


def events_in(fields: Sequence[bytes]) -> int:
    """Return how many events an entry says it has; 1 if it is no packed entry."""
    if len(fields) < 4 or fields[0] != PACKED_FIELD_BYTES:
        return 1
    try:
        return _read_marker(fields[1]).events
    except SerializationError:
        return 1


def tags_of(fields: Sequence[bytes], count: int, size: int | None = None) -> PackedTags | None:
    """Return the tags of the events, from the fields behind the bodies; None: they have none.

    Raises:
        SerializationError: if there is a second marker.
    """
    differing = None
    shared: list[bytes] = []
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name == PACKED_TAGS_FIELD_BYTES:
            differing = value
        elif name == PACKED_FIELD_BYTES:
            raise SerializationError(f"a packed entry has one field {PACKED_FIELD!r}, and not several")
        else:
            shared += name, value
    return PackedTags(shared, differing, size, count) if shared or differing is not None else None


def split(array: bytes, count: int) -> list[int]:
    """Return where each body begins in the array, and where the last one ends. They are skipped, not decoded.

    Raises:
        SerializationError: if it is no array of so many bodies.
    """
    unpacker = Unpacker(max_buffer_size=MAX_BULK + 1)
    unpacker.feed(array)
    try:
        announced = unpacker.read_array_header()
        if announced != count:
            raise SerializationError(f"a packed entry of {count} events has an array of {announced} bodies")
        ends = [unpacker.tell()]
        skip, tell, add = unpacker.skip, unpacker.tell, ends.append
        try:
            for _ in range(count):
                skip()
                add(tell())
        except (StackError, RecursionError):
            ends = _ends_by_header(array, count)
    except SerializationError:
        raise
    except Exception:  # the library has many for bytes that are no msgpack
        raise SerializationError(f"a packed entry of {count} events has no array of so many bodies") from None
    if ends[-1] != len(array):
        raise SerializationError(f"a packed entry has {len(array) - ends[-1]} bytes behind its bodies")
    return ends


def bodies(array: bytes, ends: Sequence[int], *, wrapped: bool) -> list[bytes | None]:
    """Return the bytes of each body; None for nil: an event without a body. `ends`: what `split` returned.

    Raises:
        SerializationError: if the bodies are said to be wrapped, and are not.
    """
    found: list[bytes | None] = [array[begin:end] for begin, end in pairwise(ends)]
    found = [None if body == b"\xc0" else body for body in found]
    return [None if body is None else unwrapped(body) for body in found] if wrapped else found


def _ends_by_header(array: bytes, count: int) -> list[int]:
    """Return where the bodies begin, and where each of them ends. One may be nested deeper than the library skips."""
    unpacker = Unpacker(max_buffer_size=MAX_BULK + 1)
    unpacker.feed(array)
    unpacker.read_array_header()
    ends = [unpacker.tell()]
    for _ in range(count):
        left = 1  # values that are still to come
        while left:
            left -= 1
            marker = array[unpacker.tell()]
            if 0x90 <= marker < 0xA0 or marker in (0xDC, 0xDD):
                left += unpacker.read_array_header()
            elif 0x80 <= marker < 0x90 or marker in (0xDE, 0xDF):
                left += 2 * unpacker.read_map_header()
            else:
                unpacker.skip()
        ends.append(unpacker.tell())
    return ends


def unwrapped(body: bytes) -> bytes:
    """Return what a msgpack byte string holds.

    Raises:
        SerializationError: if it is none.
    """
    head = {0xC4: 2, 0xC5: 3, 0xC6: 5}.get(body[0])
    if head is None:
        raise SerializationError("a body of a packed entry is no byte string, though the entry says so")
    return body[head:]
