"""The events that are packed into one entry of a stream, until the entry is written.

Bodies stand one behind the other, as they will in the array of the entry. Each tag has a column: as long as all events
have the same value, that value and the number of events; then the msgpack of every value.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.string cimport memmove

from .buffer cimport FLUXA_FAST_VERSION, ByteBuffer
from .endian cimport store_decimal
from .limits cimport MAX_BULK
from .packing cimport Packer, array_header, body_failed, map_header, pack_bin, pack_str, pack_value
from .wire cimport (
    BODY_FIELD,
    BODY_FIELD_SIZE,
    PACKED_FIELD,
    PACKED_FIELD_SIZE,
    PACKED_TAGS_FIELD,
    PACKED_TAGS_FIELD_SIZE,
    is_body_field,
    is_reserved,
)

from .. import body_codec, encode_errors, packed
from .packing import pack

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    int PyUnicode_Compare(object, object) except? -1

built_for = FLUXA_FAST_VERSION.decode()

ctypedef int (*attempt_value)(Packer, object, int) noexcept

cdef enum:
    TAG_HEADS = 10  # bytes of the lengths that stand before a name and a value, about
    PACKED_VERSION = 1

cdef int[3] BIN_HEADS = [2, 3, 5]  # bytes in front of a byte string, by its marker


@cython.final
@cython.internal
cdef class Column(Packer):
    # The values that the events have for one tag.
    cdef object name
    cdef object first       # the value of all events, if `uniform`
    cdef bint uniform
    cdef Py_ssize_t filled  # values

    cdef bint goes_on(self, Py_ssize_t place, object value) except -1:
        # Whether the event at that place has the value that all events before it have.
        if not self.uniform or self.filled != place:
            return False
        return value is self.first or PyUnicode_Compare(value, self.first) == 0

    cdef int put(self, Py_ssize_t place, object value) except -1:
        if self.goes_on(place, value):
            self.filled += 1
            return 0
        self.spread(place)
        pack_str(self, value)
        self.filled += 1
        return 0

    cdef int spread(self, Py_ssize_t places) except -1:
        # Write one value for each event, and nil where an event has none.
        cdef Py_ssize_t _
        cdef unsigned char *at
        if self.uniform:
            self.uniform = False
            for _ in range(self.filled):
                pack_str(self, self.first)
        while self.filled < places:
            at = self.room(1)
            at[0] = 0xC0
            self.length += 1
            self.filled += 1
        return 0


cdef Column new_column(object name, object value):
    cdef Column column = Column.__new__(Column)
    column.name = name
    column.first = value
    column.uniform = True
    return column


cdef int check_new(object name, object value) except -1:
    # Checks a tag whose name is new: all but the bytes of its value.
    cdef Py_ssize_t size
    cdef const char *text
    if not isinstance(name, str) or not isinstance(value, str):
        raise encode_errors.refused_tag(name, value)
    try:
        text = PyUnicode_AsUTF8AndSize(name, &size)
    except UnicodeEncodeError as error:
        raise encode_errors.refused_tag(name, value, error) from None
    if is_body_field(text, size) or is_reserved(text, size):
        raise encode_errors.refused_tag(name, value)
    return 0


cdef Py_ssize_t size_of(object name, object value) except -1:
    # Checks the value of a tag. Returns how many bytes it has.
    cdef Py_ssize_t size
    if not isinstance(value, str):
        raise encode_errors.refused_tag(name, value)
    try:
        PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError as error:
        raise encode_errors.refused_tag(name, value, error) from None
    if size > MAX_BULK:
        raise encode_errors.refused_tag(name, value)
    return size


cdef class OpenEntry(Packer):
    """Packs events until the entry is written with `write_to`."""

    def __init__(self, default, encode_body, packing):
        self.default = default
        self.encode_body = encode_body
        self.max_events = packing.max_events
        self.max_bytes = packing.max_bytes
        self.compress = packing.compression is not None

    cdef int write_body(self, object body) except -1:
        # Appends a body. The caller sets the length back if this fails.
        cdef Py_ssize_t before = self.length
        cdef unsigned char *at
        if body is None:
            at = self.room(1)
            at[0] = 0xC0
            self.length += 1
        elif self.encode_body is not None:
            stored = body_codec.encoded(self.encode_body, pack(body, self.default))
            pack_bin(self, PyBytes_AS_STRING(stored), PyBytes_GET_SIZE(stored))
        elif (<attempt_value>pack_value)(self, body, 0):
            body_failed()
        if self.length - before > MAX_BULK:
            raise encode_errors.body_too_large(self.length - before)._located("body")
        return 0

    cdef Py_ssize_t cost_of(self, dict tags) except -1:
        # Checks tags. Returns how many bytes they add, about. Notes the columns of the first few for `put_tags`.
        cdef Py_ssize_t size
        cdef Py_ssize_t first_size
        cdef Py_ssize_t cost = 0
        cdef Py_ssize_t index = 0
        cdef Column column
        cdef bint same
        for name, value in tags.items():
            found = None if self.columns is None else self.columns.get(name)
            same = False
            if found is None:
                check_new(name, value)
                size = size_of(name, value)
                cost += size + len(<str>name) + TAG_HEADS + self.count
            else:
                column = <Column>found
                same = column.uniform and value is column.first and column.filled == self.count
                if not same:
                    size = size_of(name, value)
                    if not column.uniform:
                        cost += size + 1
                    elif column.goes_on(self.count, value):
                        same = True
                    else:
                        PyUnicode_AsUTF8AndSize(column.first, &first_size)
                        cost += size + 1 + column.filled * (first_size + 1)
            if index < NOTED:
                self.noted[index] = NULL if found is None else <PyObject *>found  # `columns` has it
                self.goes_on[index] = same
            index += 1
        return cost

    cdef int put_tags(self, dict tags) except -1:
        # Add tags that `cost_of` has checked just now.
        cdef Py_ssize_t index = 0
        cdef Column column
        if self.columns is None:
            self.columns = {}
        for name, value in tags.items():
            if index < NOTED:
                column = None if self.noted[index] == NULL else <Column>self.noted[index]
                if column is not None and self.goes_on[index]:
                    column.filled += 1
                    index += 1
                    continue
            else:
                column = self.columns.get(name)
            if column is None:
                column = new_column(name, value)
                if self.count:  # the events before it do not have the tag
                    column.uniform = False
                self.columns[name] = column
            column.put(self.count, value)
            index += 1
        return 0

    cdef bint has_room_for(self, Py_ssize_t bytes) noexcept:
        # Whether the entry may have an event more, whose body was appended, and whose tags add so many bytes.
        if not self.count:
            return True
        return self.count < self.max_events and self.length + self.tag_bytes + bytes <= self.max_bytes

    cdef int start_over(self, Py_ssize_t kept) except -1:
        # The events were written. What stands behind `kept` bytes of bodies is the first body of the next entry.
        if self.length > kept:  # without a byte so far, `start` is NULL, which memmove must not be given
            memmove(self.start, self.start + kept, self.length - kept)
        self.length -= kept
        self.count = 0
        self.tag_bytes = 0
        self.columns = None
        return 0

    cdef bint take_over(self, OpenEntry other, dict tags) except -1:
        # Append the events of another entry, all of which have these tags, to those that are here. Returns whether
        # there is room for them.
        cdef Py_ssize_t _
        cdef Py_ssize_t cost = 0
        if self.count + other.count > self.max_events:
            return False
        if tags is not None:
            cost = self.cost_of(tags)
            if cost:  # it is about one event
                cost *= other.count
        if self.length + other.length + self.tag_bytes + cost > self.max_bytes:
            return False
        self.write(other.start, other.length)
        for _ in range(other.count):
            if tags is not None:
                self.cost_of(tags)
                self.put_tags(tags)
            self.count += 1
        self.tag_bytes += cost
        other.start_over(other.length)
        return True

    cdef int write_to(self, ByteBuffer out, bytes prefix, Py_ssize_t arguments, Py_ssize_t size) except -1:
        # Append the XADD of the entry, whose bodies are the first `size` bytes. On an exception `out` is as it was.
        cdef Py_ssize_t before = out.length
        try:
            if self.count == 1:
                self.write_alone(out, prefix, arguments, size)
            else:
                self.write_packed(out, prefix, arguments, size)
        except BaseException:
            out.length = before
            raise
        return 0

    cdef int write_alone(self, ByteBuffer out, bytes prefix, Py_ssize_t arguments, Py_ssize_t size) except -1:
        # *<arguments> <prefix> [s <body>] [<name> <value>]...
        cdef unsigned char *body = self.start
        cdef bint has_body = not (size == 1 and body[0] == 0xC0) or self.columns is None
        cdef Column column
        if self.encode_body is not None and body[0] != 0xC0:  # it is wrapped
            size -= BIN_HEADS[body[0] - 0xC4]
            body += BIN_HEADS[body[0] - 0xC4]
        arguments += 2 * has_body + 2 * (0 if self.columns is None else len(self.columns))
        out.write_header(42, arguments)
        out.write(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
        if has_body:
            out.write_bulk(BODY_FIELD, BODY_FIELD_SIZE)
            out.write_bulk(body, size)
        if self.columns is not None:
            for name, column in self.columns.items():
                write_text(out, name)
                write_text(out, column.first)
        return 0

    cdef int write_packed(self, ByteBuffer out, bytes prefix, Py_ssize_t arguments, Py_ssize_t size) except -1:
        # *<arguments> <prefix> _fluxa:packed <marker> s <array> [<name> <value>]... [_fluxa:tags <map>]
        cdef Packer differing = None
        cdef list shared = []
        cdef list others = []
        cdef Column column
        cdef unsigned char text[24]
        cdef int digits
        if self.columns is not None:
            for column in self.columns.values():
                if column.uniform and column.filled == self.count:
                    shared.append(column)
                else:
                    others.append(column)
        if others:
            differing = Packer.__new__(Packer)
            map_header(differing, len(others))
            for column in others:
                column.spread(column.filled)
                pack_str(differing, column.name)
                array_header(differing, column.filled)
                differing.write(column.start, column.length)
        arguments += 4 + 2 * len(shared) + (2 if others else 0)
        out.write_header(42, arguments)
        out.write(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
        out.write_bulk(PACKED_FIELD, PACKED_FIELD_SIZE)
        if self.compress or self.encode_body is not None:
            self.write_other_form(out, size, differing)
        else:
            text[0] = 48 + PACKED_VERSION
            text[1] = 32
            digits = store_decimal(text + 2, self.count)
            out.write_bulk(text, 2 + digits)
            out.write_bulk(BODY_FIELD, BODY_FIELD_SIZE)
            self.write_array(out, size)
        for column in shared:
            write_text(out, column.name)
            write_text(out, column.first)
        if differing is not None:
            out.write_bulk(PACKED_TAGS_FIELD, PACKED_TAGS_FIELD_SIZE)
            out.write_bulk(differing.start, differing.length)
        return 0

    cdef int write_array(self, ByteBuffer out, Py_ssize_t size) except -1:
        # The bulk string of the array: its header, and the bodies.
        cdef Packer head = Packer.__new__(Packer)
        array_header(head, self.count)
        if head.length + size > MAX_BULK:
            raise encode_errors.body_too_large(head.length + size)
        out.write_header(36, head.length + size)
        out.write(head.start, head.length)
        out.write(self.start, size)
        out.write("\r\n", 2)
        return 0

    cdef int write_other_form(self, ByteBuffer out, Py_ssize_t size, Packer differing) except -1:
        # The marker and the bodies of an entry that is compressed, or whose bodies are wrapped.
        cdef Packer array = Packer.__new__(Packer)
        cdef bytes tags = b"" if differing is None else differing.start[:differing.length]
        cdef bytes marker
        cdef bytes bodies
        array_header(array, self.count)
        array.write(self.start, size)
        bodies = array.start[:array.length]
        marker, bodies, tags = packed.written(
            self.count, bodies, tags, self.encode_body is not None, self.compress)
        out.write_bulk(PyBytes_AS_STRING(marker), PyBytes_GET_SIZE(marker))
        out.write_bulk(BODY_FIELD, BODY_FIELD_SIZE)
        out.write_bulk(PyBytes_AS_STRING(bodies), PyBytes_GET_SIZE(bodies))
        if differing is not None:
            differing.length = 0
            differing.write(PyBytes_AS_STRING(tags), PyBytes_GET_SIZE(tags))
        return 0


cdef int write_text(ByteBuffer out, object text) except -1:
    cdef Py_ssize_t size
    cdef const char *utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    return out.write_bulk(utf8, size)
