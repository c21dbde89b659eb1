"""Reads plain replies for the drop-in, in the form that redis-py gives them.

Nearly every reply is plain: it is made of IDs, integers, and entries of strings. Any other reply (an error, a push, a
deleted entry, text that isn't UTF-8) stays in the reader, and `frame` returns its bytes for redis-py's own parser. So
only redis-py decides what such a reply means.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8

from .buffer cimport FLUXA_FAST_VERSION
from .replies cimport ReplyReader

from ..interface import INCOMPLETE, NOT_PLAIN

cdef extern from "Python.h":
    int PyDict_SetItem(dict, object, object) except -1

built_for = FLUXA_FAST_VERSION.decode()

cdef enum:
    MINUS = 45      # -
    COLON = 58      # :
    DOLLAR = 36     # $
    STAR = 42       # *
    PERCENT = 37    # %
    UNDERSCORE = 95  # _


@cython.final
@cython.internal
cdef class Cursor:
    # Reads a well-formed reply. A method returns False or None if it meets what is not plain.
    cdef const unsigned char *at
    cdef bint text      # strings are decoded

    # Reads a marker and the number behind it. False if there is another marker, or no plain number.
    cdef bint header(self, unsigned char marker, Py_ssize_t *number) noexcept:
        cdef const unsigned char *at = self.at + 1
        cdef Py_ssize_t found = 0
        if self.at[0] != marker or at[0] == 13:
            return False
        while at[0] != 13:
            if at[0] < 48 or at[0] > 57 or at - self.at > 12:
                return False
            found = 10 * found + (at[0] - 48)
            at += 1
        number[0] = found
        self.at = at + 2
        return True

    cdef object string(self):
        # Reads a bulk string. None if it is null or not plain.
        cdef Py_ssize_t size
        cdef const char *start
        if not self.header(DOLLAR, &size):
            return None
        start = <const char *>self.at
        self.at += size + 2
        if not self.text:
            return PyBytes_FromStringAndSize(start, size)
        try:
            return PyUnicode_DecodeUTF8(start, size, NULL)
        except UnicodeDecodeError:
            return None

    cdef object integer(self):
        cdef const unsigned char *at = self.at + 1
        cdef bint negative = at[0] == MINUS
        cdef long long number = 0
        if self.at[0] != COLON:
            return None
        if negative:
            at += 1
        while at[0] != 13:
            if at[0] < 48 or at[0] > 57 or at - self.at > 18:
                return None
            number = 10 * number + (at[0] - 48)
            at += 1
        self.at = at + 2
        return -number if negative else number

    cdef dict fields(self):
        cdef Py_ssize_t count
        cdef dict fields = {}
        if not self.header(STAR, &count) or count & 1:
            return None
        while count:
            name = self.string()
            if name is None:
                return None
            value = self.string()
            if value is None:
                return None
            PyDict_SetItem(fields, name, value)
            count -= 2
        return fields

    cdef object entry(self, Py_ssize_t parts):
        cdef Py_ssize_t count
        if not self.header(STAR, &count) or count != parts:
            return None
        id = self.string()
        if id is None:
            return None
        fields = self.fields()
        if fields is None:
            return None
        if parts == 2:
            return (id, fields)
        idle = self.integer()
        deliveries = self.integer() if idle is not None else None
        return None if deliveries is None else (id, fields, idle, deliveries)

    cdef list entries(self, Py_ssize_t parts):
        cdef Py_ssize_t count
        cdef list entries = []
        if not self.header(STAR, &count):
            return None
        while count:
            entry = self.entry(parts)
            if entry is None:
                return None
            entries.append(entry)
            count -= 1
        return entries

    cdef list strings(self):
        cdef Py_ssize_t count
        cdef list strings = []
        if not self.header(STAR, &count):
            return None
        while count:
            string = self.string()
            if string is None:
                return None
            strings.append(string)
            count -= 1
        return strings

    cdef list streams(self, Py_ssize_t parts, bint paired):
        cdef Py_ssize_t count, pair
        cdef list streams = []
        if not self.header(STAR if paired else PERCENT, &count):
            return None
        while count:
            if paired and not (self.header(STAR, &pair) and pair == 2):
                return None
            name = self.string()
            if name is None:
                return None
            entries = self.entries(parts)
            if entries is None:
                return None
            streams.append([name, entries])
            count -= 1
        return streams

    cdef list claimed(self):
        # [cursor, entries] and, since Redis 7.0, the IDs of deleted entries
        cdef Py_ssize_t count
        if not self.header(STAR, &count) or (count != 2 and count != 3):
            return None
        cursor = self.string()
        if cursor is None:
            return None
        entries = self.entries(2)
        if entries is None:
            return None
        if count == 2:
            return [cursor, entries]
        deleted = self.strings()
        return None if deleted is None else [cursor, entries, deleted]


cdef Cursor cursor_of(ReplyReader reader, bint text):
    cdef Cursor cursor = Cursor.__new__(Cursor)
    cursor.at = reader.start + reader.begin
    cursor.text = text
    return cursor


cdef bint framed(ReplyReader reader) except -1:
    # True when a reply or a push is there in full.
    return reader.begin < reader.end and reader.scan()


cdef void leave(ReplyReader reader) noexcept:
    # Leaves the reply in the reader, where it will be read from its beginning.
    reader.scanned = reader.searched = reader.begin


cdef bint is_null(const unsigned char *at) noexcept:
    return at[0] == UNDERSCORE or ((at[0] == DOLLAR or at[0] == STAR) and at[1] == MINUS)


def frame(ReplyReader reader not None):
    """Return the bytes of the next reply or push, of whatever type, or INCOMPLETE."""
    if not framed(reader):
        return INCOMPLETE
    taken = PyBytes_FromStringAndSize(<const char *>reader.start + reader.begin, reader.scanned - reader.begin)
    reader.finish()
    return taken


def unread(ReplyReader reader not None):
    """Take out the received bytes that have not been read as a reply, and return them."""
    left = PyBytes_FromStringAndSize(<const char *>reader.start + reader.begin, reader.end - reader.begin)
    reader.reset()
    return left


def take_scalars(ReplyReader reader not None, list into not None, Py_ssize_t most, bint text):
    """Append up to `most` replies that are strings, integers or null. True if the next reply is not plain."""
    cdef Cursor cursor = cursor_of(reader, text)
    while most and framed(reader):
        cursor.at = reader.start + reader.begin
        if cursor.at[0] == DOLLAR and cursor.at[1] != MINUS:
            reply = cursor.string()
        elif cursor.at[0] == COLON:
            reply = cursor.integer()
        elif is_null(cursor.at):
            into.append(None)
            reader.finish()
            most -= 1
            continue
        else:
            reply = None
        if reply is None:
            leave(reader)
            return True
        into.append(reply)
        reader.finish()
        most -= 1
    return False


def read_streams(ReplyReader reader not None, bint text, Py_ssize_t parts, bint arrays, bint maps):
    """Read the reply to XREAD or XREADGROUP: [[stream, [(id, fields), ...]], ...], INCOMPLETE or NOT_PLAIN.

    An entry has `parts` elements: 2, or 4 with CLAIM. `arrays` tells whether to read an array, the form of RESP2;
    `maps` whether to read a map, the form of RESP3. Returns (whether it was a map, streams).
    """
    cdef Cursor cursor
    if not framed(reader):
        return INCOMPLETE
    cursor = cursor_of(reader, text)
    found = None
    is_map = cursor.at[0] == PERCENT
    if maps if is_map else arrays:
        found = cursor.streams(parts, not is_map)
    return done(reader, None if found is None else (is_map, found))


def read_range(ReplyReader reader not None, bint text):
    """Read the reply to XRANGE: [(id, fields), ...], INCOMPLETE or NOT_PLAIN."""
    if not framed(reader):
        return INCOMPLETE
    return done(reader, cursor_of(reader, text).entries(2))


def read_claimed(ReplyReader reader not None, bint text):
    """Read the reply to XAUTOCLAIM: [cursor, [(id, fields), ...], [deleted id, ...]], INCOMPLETE or NOT_PLAIN."""
    if not framed(reader):
        return INCOMPLETE
    return done(reader, cursor_of(reader, text).claimed())


cdef object done(ReplyReader reader, found):
    if found is None:
        leave(reader)
        return NOT_PLAIN
    reader.finish()
    return found
