"""Reads msgpack from bytes.

`owed` is the number of values that the enclosing containers still need. Each value takes a byte at least, so a
container that announces more values than bytes are left is refused before anything is allocated for it.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetItem
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .buffer cimport FLUXA_FAST_VERSION, owned, pending_exception
from .endian cimport load16, load32, load64
from .limits cimport MAX_DEPTH
from .text cimport KEY_PLACES, key_text, short_text

from .. import conversions, decode_errors

cdef extern from "Python.h":
    object PyLong_FromLong(long)
    object PyFloat_FromDouble(double)

built_for = FLUXA_FAST_VERSION.decode()


@cython.final
@cython.internal
cdef class KeyTable:
    # The keys that `key_text` shares.
    cdef PyObject *places[KEY_PLACES]

    def __dealloc__(self):
        for place in range(KEY_PLACES):
            Py_XDECREF(self.places[place])


cdef KeyTable known_keys = KeyTable()


cdef struct Source:
    const unsigned char *start
    const unsigned char *at
    const unsigned char *end


cdef object read_value(Source *source, Py_ssize_t owed, int depth):
    cdef const unsigned char *begin = source.at
    cdef unsigned char marker = take(source, 1, begin)[0]
    if marker < 0x80:
        return PyLong_FromLong(marker)
    if marker >= 0xE0:
        return PyLong_FromLong(<int8_t>marker)
    if marker >= 0xA0 and marker < 0xC0:
        return read_text(source, marker & 0x1F, begin)
    if marker < 0x90:
        return read_map(source, marker & 0x0F, owed, depth, begin)
    if marker < 0xA0:
        return read_array(source, marker & 0x0F, owed, depth, begin)
    if marker == 0xCC:
        return PyLong_FromLong(take(source, 1, begin)[0])
    if marker == 0xCD:
        return PyLong_FromLong(load16(take(source, 2, begin)))
    if marker == 0xCE:
        return load32(take(source, 4, begin))
    if marker == 0xCF:
        return load64(take(source, 8, begin))
    if marker == 0xCB:
        return read_double(source, begin)
    if marker == 0xC0:
        return None
    if marker == 0xC2:
        return False
    if marker == 0xC3:
        return True
    if marker == 0xD9:
        return read_text(source, take(source, 1, begin)[0], begin)
    if marker == 0xDA:
        return read_text(source, load16(take(source, 2, begin)), begin)
    if marker == 0xDB:
        return read_text(source, take_length(source, begin), begin)
    if marker == 0xD0:
        return PyLong_FromLong(<int8_t>take(source, 1, begin)[0])
    if marker == 0xD1:
        return PyLong_FromLong(<int16_t>load16(take(source, 2, begin)))
    if marker == 0xD2:
        return <int32_t>load32(take(source, 4, begin))
    if marker == 0xD3:
        return <int64_t>load64(take(source, 8, begin))
    if marker == 0xC4:
        return read_binary(source, take(source, 1, begin)[0], begin)
    if marker == 0xC5:
        return read_binary(source, load16(take(source, 2, begin)), begin)
    if marker == 0xC6:
        return read_binary(source, take_length(source, begin), begin)
    if marker == 0xDC:
        return read_array(source, load16(take(source, 2, begin)), owed, depth, begin)
    if marker == 0xDD:
        return read_array(source, take_length(source, begin), owed, depth, begin)
    if marker == 0xDE:
        return read_map(source, load16(take(source, 2, begin)), owed, depth, begin)
    if marker == 0xDF:
        return read_map(source, take_length(source, begin), owed, depth, begin)
    if marker == 0xCA:
        return read_single(source, begin)
    if marker == 0xC7:
        return read_extension(source, take(source, 1, begin)[0], begin)
    if marker == 0xC8:
        return read_extension(source, load16(take(source, 2, begin)), begin)
    if marker == 0xC9:
        return read_extension(source, take_length(source, begin), begin)
    if marker >= 0xD4 and marker <= 0xD8:
        return read_extension(source, 1 << (marker - 0xD4), begin)
    raise decode_errors.never_used(begin - source.start)


cdef inline const unsigned char *take(Source *source, Py_ssize_t needed, const unsigned char *begin) except NULL:
    # Returns the next bytes of the element that began at `begin`.
    cdef const unsigned char *taken = source.at
    if needed > source.end - taken:
        raise decode_errors.truncated(begin - source.start, needed, source.end - taken)
    source.at = taken + needed
    return taken


cdef inline Py_ssize_t take_length(Source *source, const unsigned char *begin) except -1:
    # A length of 32 bits. Where a pointer has no more bits, a length that would become negative is refused here.
    cdef uint32_t length = load32(take(source, 4, begin))
    if sizeof(Py_ssize_t) < 8 and length > 0x3FFFFFFF:
        raise decode_errors.truncated(begin - source.start, length, source.end - source.at)
    return length


cdef object read_double(Source *source, const unsigned char *begin):
    cdef uint64_t bits = load64(take(source, 8, begin))
    cdef double number
    memcpy(&number, &bits, 8)
    return PyFloat_FromDouble(number)


cdef object read_single(Source *source, const unsigned char *begin):
    cdef uint32_t bits = load32(take(source, 4, begin))
    cdef float number
    memcpy(&number, &bits, 4)
    return PyFloat_FromDouble(number)


cdef inline object read_text(Source *source, Py_ssize_t size, const unsigned char *begin):
    cdef PyObject *text = short_text(take(source, size, begin), size)
    if text is NULL:
        text_failed(begin - source.start)
    return owned(text)


cdef int text_failed(Py_ssize_t begin) except -1:
    try:
        pending_exception()
    except UnicodeDecodeError as error:
        raise decode_errors.not_utf8(begin, error) from None
    return 0


cdef object read_binary(Source *source, Py_ssize_t size, const unsigned char *begin):
    return PyBytes_FromStringAndSize(<const char *>take(source, size, begin), size)


cdef object read_extension(Source *source, Py_ssize_t size, const unsigned char *begin):
    cdef const unsigned char *code = take(source, 1 + size, begin)
    return conversions.from_extension(<int8_t>code[0], PyBytes_FromStringAndSize(<const char *>code + 1, size))


cdef object read_array(Source *source, Py_ssize_t count, Py_ssize_t owed, int depth, const unsigned char *begin):
    cdef Py_ssize_t position
    cdef list items
    cdef object item
    owed += count
    check_room(source, owed, depth, begin)
    items = PyList_New(count)
    for position in range(count):
        owed -= 1
        item = read_value(source, owed, depth + 1)
        Py_INCREF(item)
        PyList_SET_ITEM(items, position, item)
    return items


cdef object read_map(Source *source, Py_ssize_t count, Py_ssize_t owed, int depth, const unsigned char *begin):
    cdef dict items
    cdef object key
    owed += 2 * count
    check_room(source, owed, depth, begin)
    items = {}
    while count:
        count -= 1
        owed -= 2
        key = read_key(source, owed + 1, depth + 1)
        PyDict_SetItem(items, key, read_value(source, owed, depth + 1))
    return items


cdef inline int check_room(Source *source, Py_ssize_t owed, int depth, const unsigned char *begin) except -1:
    if depth >= MAX_DEPTH:
        raise decode_errors.nested_too_deep(begin - source.start)
    if owed > source.end - source.at:
        raise decode_errors.truncated(begin - source.start, owed, source.end - source.at)
    return 0


cdef inline object read_key(Source *source, Py_ssize_t owed, int depth):
    cdef const unsigned char *begin = source.at
    cdef Py_ssize_t size
    cdef PyObject *text
    cdef object key
    if begin < source.end and begin[0] >= 0xA0 and begin[0] < 0xC0:
        size = begin[0] & 0x1F
        if size < source.end - begin:
            source.at = begin + 1 + size
            text = key_text(known_keys.places, begin + 1, size)
            if text is NULL:
                text_failed(begin - source.start)
            return owned(text)
    key = read_value(source, owed, depth)
    if type(key) is list or type(key) is dict:
        key = hashable(key, begin - source.start)
    return key


cdef object hashable(object key, Py_ssize_t begin):
    # Makes a tuple of an array that is a key; refuses a map.
    if type(key) is list:
        return tuple([hashable(item, begin) for item in <list>key])
    if type(key) is dict:
        raise decode_errors.unhashable_key(begin, key)
    return key


cdef object unpack_bytes(const unsigned char *start, Py_ssize_t size):
    cdef Source source
    if size == 0:
        raise decode_errors.empty()
    source.start = source.at = start
    source.end = start + size
    value = read_value(&source, 0, 0)
    if source.at != source.end:
        raise decode_errors.trailing(source.at - start, source.end - source.at)
    return value


def unpack(data):
    """Return the value that msgpack bytes (any contiguous bytes-like) hold."""
    cdef Py_buffer view
    if PyBytes_CheckExact(data):
        return unpack_bytes(<const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return unpack_bytes(<const unsigned char *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
