"""Splits packed entries into their events. docs/internals/packed.md specifies them.

What is read once for an entry, and is not the usual form, is left to `..packed`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from .buffer cimport FLUXA_FAST_VERSION
from .endian cimport load16, load32
from .events cimport Event, Pack, listed, new_packed_event, next_bulk
from .limits cimport MOST_PACKED
from .wire cimport is_body_field

from ...errors import SerializationError
from .. import packed

built_for = FLUXA_FAST_VERSION.decode()


cdef Py_ssize_t split_entry(Event entry, list events) except -1:
    # Append the events of a packed entry, which `entry` has the fields of. Returns how many. If they can't be read, the
    # entry is appended as it is: an event whose body raises the error.
    cdef Py_ssize_t before = len(events)
    try:
        return split_fields(entry, events)
    except SerializationError:
        del events[before:]
        events.append(entry)
        return 1


cdef Py_ssize_t split_fields(Event entry, list events) except -1:
    cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(entry.fields)
    cdef const unsigned char *end = at + PyBytes_GET_SIZE(entry.fields)
    cdef const unsigned char *name
    cdef const unsigned char *value
    cdef Py_ssize_t name_size, size
    cdef Py_ssize_t count
    cdef Pack pack = Pack.__new__(Pack)
    cdef bytes array
    name = next_bulk(at, &name_size)
    value = next_bulk(name + name_size + 2, &size)
    count = plain_count(value, size)
    at = value + size + 2
    if count and at < end:
        name = next_bulk(at, &name_size)
        value = next_bulk(name + name_size + 2, &size)
        if is_body_field(name, name_size):
            at = value + size + 2
            pack.count = count
            if at < end:
                pack.tags = packed.tags_of(listed(at, end), count)
            return split_array(entry, pack, value, value + size, False, events)
    fields = listed(<const unsigned char *>PyBytes_AS_STRING(entry.fields), end)
    found = packed.layout(fields)
    array = found.array
    pack.count = found.events
    pack.tags = found.tags
    at = <const unsigned char *>PyBytes_AS_STRING(array)
    return split_array(entry, pack, at, at + PyBytes_GET_SIZE(array), found.wrapped, events)


cdef Py_ssize_t plain_count(const unsigned char *value, Py_ssize_t size) noexcept:
    # The number of events, if the entry is of version 1, and written in the usual form; else 0.
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t at
    if size < 3 or size > 7 or value[0] != 49 or value[1] != 32:
        return 0
    for at in range(2, size):
        if value[at] < 48 or value[at] > 57:
            return 0
        count = 10 * count + (value[at] - 48)
    return count if count <= MOST_PACKED else 0


cdef Py_ssize_t split_array(
    Event entry, Pack pack, const unsigned char *at, const unsigned char *end, bint wrapped, list events
) except -1:
    cdef const unsigned char *body
    cdef const unsigned char *behind
    cdef Py_ssize_t place
    cdef Py_ssize_t head
    cdef Py_ssize_t announced = -1
    if end - at >= 1 and (at[0] & 0xF0) == 0x90:
        announced = at[0] & 0x0F
        at += 1
    elif end - at >= 3 and at[0] == 0xDC:
        announced = load16(at + 1)
        at += 3
    elif end - at >= 5 and at[0] == 0xDD:
        announced = load32(at + 1)
        at += 5
    if announced != pack.count:
        raise SerializationError("")  # the body of the entry will tell what is wrong
    for place in range(pack.count):
        body = at
        behind = skip(at, end)
        if behind == NULL:
            raise SerializationError("")
        at = behind
        if behind - body == 1 and body[0] == 0xC0:
            events.append(new_packed_event(entry, pack, place, NULL, -1))
            continue
        if wrapped:
            head = 2 if body[0] == 0xC4 else 3 if body[0] == 0xC5 else 5 if body[0] == 0xC6 else 0
            if not head:
                raise SerializationError("")
            body += head
        events.append(new_packed_event(entry, pack, place, body, behind - body))
    if at != end:
        raise SerializationError("")
    return pack.count


cdef const unsigned char *skip(const unsigned char *at, const unsigned char *end) noexcept:
    # The position behind a msgpack value; NULL if it is not all there. Nothing is decoded.
    cdef Py_ssize_t left = 1    # values that are still to come
    cdef Py_ssize_t size
    cdef unsigned char marker
    while left:
        # Each of them has a byte at least, so what a header announces can't exceed what is there.
        if left > end - at:
            return NULL
        left -= 1
        marker = at[0]
        at += 1
        if marker < 0x80 or marker >= 0xE0:
            continue
        if marker < 0x90:
            left += 2 * (marker & 0x0F)
            continue
        if marker < 0xA0:
            left += marker & 0x0F
            continue
        if marker < 0xC0:
            size = marker & 0x1F
        elif marker < 0xC4:
            if marker == 0xC1:
                return NULL
            continue
        elif marker == 0xC4 or marker == 0xD9 or marker == 0xC7:
            if end - at < 1:
                return NULL
            size = at[0]
            at += 1
            if marker == 0xC7:
                size += 1
        elif marker == 0xC5 or marker == 0xDA or marker == 0xC8 or marker == 0xDC or marker == 0xDE:
            if end - at < 2:
                return NULL
            size = load16(at)
            at += 2
            if marker >= 0xDC:
                left += size if marker == 0xDC else 2 * size
                continue
            if marker == 0xC8:
                size += 1
        elif marker == 0xC6 or marker == 0xDB or marker == 0xC9 or marker == 0xDD or marker == 0xDF:
            if end - at < 4:
                return NULL
            size = load32(at)
            at += 4
            if sizeof(Py_ssize_t) < 8 and load32(at - 4) > 0x3FFFFFFF:
                return NULL
            if marker >= 0xDD:
                left += size if marker == 0xDD else 2 * size
                continue
            if marker == 0xC9:
                size += 1
        elif marker == 0xCC or marker == 0xD0:
            size = 1
        elif marker == 0xCD or marker == 0xD1:
            size = 2
        elif marker == 0xCA or marker == 0xCE or marker == 0xD2:
            size = 4
        elif marker == 0xCB or marker == 0xCF or marker == 0xD3:
            size = 8
        else:  # 0xD4 to 0xD8: a type, and 1 to 16 bytes
            size = 1 + (1 << (marker - 0xD4))
        if size > end - at:
            return NULL
        at += size
    return at
