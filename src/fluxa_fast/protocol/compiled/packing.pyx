"""Writes msgpack into a buffer.

Values of the exact built-in types take the short way, which takes no reference and saves no exception state. All other
values (subclasses, enums, dataclasses, datetimes, what the default hook returns) go through `..conversions`, which both
implementations share.

A call through `attempt` below does not check for an exception. The caller checks the result, and adds the place to the
exception. A try statement would cost every value a few nanoseconds; this costs only values that fail.

The file is long because all types are packed by functions that call each other, which the C compiler inlines.
"""

cimport cython
from cpython.buffer cimport PyBUF_FULL_RO, PyBuffer_Release, PyBuffer_ToContiguous, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_CheckExact, PyDict_GetItem, PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int8_t, int16_t, int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .buffer cimport FLUXA_FAST_VERSION, owned, pending_exception
from .endian cimport store16, store32, store64
from .limits cimport MAX_BULK, MAX_DEPTH
from .unpacking cimport unpack_bytes
from .values cimport fluxa_ascii, fluxa_short_int

from ...errors import SerializationError
from .. import conversions, encode_errors

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object) except? 0xFFFFFFFFFFFFFFFF
    bint PyLong_CheckExact(object)
    PyObject *get_attribute "PyObject_GetAttr"(object, object) noexcept
    Py_ssize_t PyDict_GET_SIZE(object)
    PyObject *Py_True
    PyObject *Py_False

built_for = FLUXA_FAST_VERSION.decode()

cdef object fields_of = conversions.fields_of
cdef object extension_of = conversions.extension_of
cdef object note_key = conversions.note_key
cdef tuple PLAIN_KEYS = conversions.PLAIN_KEYS
cdef dict known_fields = {}  # by type its `written_fields`; only types that `pack_other` would not write in another way

cdef enum:
    KNOWN_TYPES = 1024  # a limit, because a program may go on making classes

cdef enum:  # the place in a container that failed
    IN_KEY
    AT_KEY
    AT_PLACE
    AT_FIELD

ctypedef int (*attempt)(Packer, object, int) noexcept
ctypedef int (*attempt_key)(Packer, object, set, int) noexcept


cdef class Packer(ByteBuffer):
    """A buffer that msgpack is appended to."""


cdef int pack_body(Packer out, object value) except -1:
    # Packs a value. On an exception the buffer is as it was.
    cdef Py_ssize_t before = out.length
    if out.busy:
        raise encode_errors.in_use()
    out.busy = True
    cdef int failed = (<attempt>pack_value)(out, value, 0)
    out.busy = False
    if failed:
        out.length = before
        return body_failed()
    if out.length - before > MAX_BULK:
        size = out.length - before
        out.length = before
        raise encode_errors.body_too_large(size)._located("body")
    return 0


cdef int body_failed() except -1:
    try:
        pending_exception()
    except SerializationError as error:
        error._located("body")
        raise
    return 0


# Writes a value that can be written in the short way. 0 for other values.
cdef inline int pack_short(Packer out, PyObject *value) except -1:
    cdef Py_ssize_t size
    cdef long long number
    cdef const char *text
    cdef unsigned char *at
    if PyUnicode_CheckExact(<object>value):
        text = fluxa_ascii(value, &size)
        if text is NULL or size >= 256:
            return 0
        at = out.room(size + 2)
        if size < 32:
            at[0] = <unsigned char>(0xA0 | size)
            at += 1
        else:
            at[0] = 0xD9
            at[1] = <unsigned char>size
            at += 2
        memcpy(at, text, size)
        out.length = at - out.start + size
        return 1
    if PyLong_CheckExact(<object>value):
        if not fluxa_short_int(value, &number):
            return 0
        at = out.room(5)
        if number >= 0:
            out.length += store_positive(at, number)
        else:
            out.length += store_negative(at, number)
        return 1
    if PyFloat_CheckExact(<object>value):
        pack_float(out, PyFloat_AS_DOUBLE(<object>value))
        return 1
    if value == <PyObject *>None or value == Py_True or value == Py_False:
        at = out.room(1)
        at[0] = 0xC0 if value == <PyObject *>None else 0xC3 if value == Py_True else 0xC2
        out.length += 1
        return 1
    return 0


cdef int pack_value(Packer out, object value, int depth) except -1:
    if pack_short(out, <PyObject *>value):
        return 0
    if PyDict_CheckExact(value):
        return pack_dict(out, <dict>value, depth)
    if PyList_CheckExact(value):
        return pack_list(out, <list>value, depth)
    if PyUnicode_CheckExact(value):
        return pack_str(out, value)
    if PyLong_CheckExact(value):
        return pack_int(out, value)
    if PyBytes_CheckExact(value):
        return pack_bin(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    if PyTuple_CheckExact(value):
        return pack_tuple(out, <tuple>value, depth)
    return pack_other(out, value, depth)


cdef int pack_other(Packer out, object value, int depth) except -1:
    cdef PyObject *known = PyDict_GetItem(known_fields, type(value))
    if known is not NULL:
        return pack_fields(out, value, <tuple>known, depth)
    if (<attempt>pack_rare)(out, value, depth):
        return value_failed(out, value)
    return 0


cdef int value_failed(Packer out, object value) except -1:
    # Makes a SerializationError of an exception that the value itself has raised.
    try:
        pending_exception()
    except (SerializationError, MemoryError):
        raise
    except Exception as error:
        if out.views:
            raise  # the buffer can't be written to
        raise encode_errors.value_failed(value, error) from error
    return 0


cdef int pack_rare(Packer out, object value, int depth) except -1:
    if isinstance(value, str):
        return pack_str(out, value)
    if isinstance(value, int):
        return pack_int(out, value)
    if isinstance(value, float):
        return pack_float(out, PyFloat_AS_DOUBLE(value))
    if isinstance(value, dict):
        return pack_mapping(out, value, depth)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return pack_view(out, value)
    extension = extension_of(value)
    if extension is not None:
        return pack_extension(out, extension[0], extension[1])
    if isinstance(value, (list, tuple)):
        return pack_array_of(out, value, list(value), depth)
    fields = fields_of(type(value))
    if fields is not None:
        fields = written_fields(fields)
        if len(known_fields) < KNOWN_TYPES:
            known_fields.setdefault(type(value), fields)  # setdefault: others hold borrowed references to what is in it
        return pack_fields(out, value, <tuple>fields, depth)
    replaced, levels = conversions.replacement_for(value, out.default)
    return pack_value(out, replaced, depth + <int>levels)


# ---- scalars ------------------------------------------------------------------------------------------

cdef inline int store_positive(unsigned char *at, unsigned long long number) noexcept:
    # Writes 1 to 9 bytes and returns how many.
    if number < 128:
        at[0] = <unsigned char>number
        return 1
    if number < 256:
        at[0] = 0xCC
        at[1] = <unsigned char>number
        return 2
    if number < 65536:
        at[0] = 0xCD
        store16(at + 1, <uint16_t>number)
        return 3
    if number < 4294967296ULL:
        at[0] = 0xCE
        store32(at + 1, <uint32_t>number)
        return 5
    at[0] = 0xCF
    store64(at + 1, number)
    return 9


cdef inline int store_negative(unsigned char *at, long long number) noexcept:
    # Writes 1 to 9 bytes and returns how many.
    if number >= -32:
        at[0] = <unsigned char>number
        return 1
    if number >= -128:
        at[0] = 0xD0
        at[1] = <unsigned char>number
        return 2
    if number >= -32768:
        at[0] = 0xD1
        store16(at + 1, <int16_t>number)
        return 3
    if number >= -2147483648LL:
        at[0] = 0xD2
        store32(at + 1, <int32_t>number)
        return 5
    at[0] = 0xD3
    store64(at + 1, number)
    return 9


cdef int pack_int(Packer out, object value) except -1:
    cdef int overflow
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    cdef unsigned long long positive
    if overflow < 0:
        raise encode_errors.int_too_large(value)
    if overflow == 0 and number < 0:
        out.length += store_negative(out.room(9), number)
        return 0
    positive = number
    if overflow:
        try:
            positive = PyLong_AsUnsignedLongLong(value)
        except OverflowError:
            raise encode_errors.int_too_large(value) from None
    out.length += store_positive(out.room(9), positive)
    return 0


cdef inline int pack_float(Packer out, double value) except -1:
    cdef uint64_t bits
    cdef unsigned char *at = out.room(9)
    memcpy(&bits, &value, 8)
    at[0] = 0xCB
    store64(at + 1, bits)
    out.length += 9
    return 0


cdef int pack_str(Packer out, object value) except -1:
    cdef Py_ssize_t size
    cdef const char *text
    cdef unsigned char *at
    try:
        text = PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError as error:
        raise encode_errors.surrogates(error) from None
    if size > MAX_BULK:
        raise encode_errors.body_too_large(size)
    at = out.room(size + 5)
    if size < 32:
        at[0] = <unsigned char>(0xA0 | size)
        at += 1
    elif size < 256:
        at[0] = 0xD9
        at[1] = <unsigned char>size
        at += 2
    elif size < 65536:
        at[0] = 0xDA
        store16(at + 1, <uint16_t>size)
        at += 3
    else:
        at[0] = 0xDB
        store32(at + 1, <uint32_t>size)
        at += 5
    memcpy(at, text, size)
    out.length = at - out.start + size
    return 0


cdef int pack_bin(Packer out, const void *source, Py_ssize_t size) except -1:
    cdef unsigned char *at
    if size > MAX_BULK:
        raise encode_errors.body_too_large(size)
    at = out.room(size + 5)
    if size < 256:
        at[0] = 0xC4
        at[1] = <unsigned char>size
        at += 2
    elif size < 65536:
        at[0] = 0xC5
        store16(at + 1, size)
        at += 3
    else:
        at[0] = 0xC6
        store32(at + 1, <uint32_t>size)
        at += 5
    memcpy(at, source, size)
    out.length = at - out.start + size
    return 0


cdef int pack_view(Packer out, object value) except -1:
    cdef Py_buffer view
    PyObject_GetBuffer(value, &view, PyBUF_FULL_RO)
    try:
        if view.ndim <= 1 and (view.strides is NULL or view.strides[0] == view.itemsize):
            pack_bin(out, view.buf, view.len)
        else:
            contiguous = PyBytes_FromStringAndSize(NULL, view.len)
            PyBuffer_ToContiguous(PyBytes_AS_STRING(contiguous), &view, view.len, b"C")
            pack_bin(out, PyBytes_AS_STRING(contiguous), view.len)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef int pack_extension(Packer out, int code, bytes payload) except -1:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef unsigned char *at
    if size > MAX_BULK:
        raise encode_errors.body_too_large(size)
    at = out.room(size + 6)
    if size == 1 or size == 2 or size == 4 or size == 8 or size == 16:
        at[0] = (0xD4 if size == 1 else 0xD5 if size == 2 else 0xD6 if size == 4 else
                 0xD7 if size == 8 else 0xD8)
        at += 1
    elif size < 256:
        at[0] = 0xC7
        at[1] = <unsigned char>size
        at += 2
    elif size < 65536:
        at[0] = 0xC8
        store16(at + 1, size)
        at += 3
    else:
        at[0] = 0xC9
        store32(at + 1, <uint32_t>size)
        at += 5
    at[0] = <unsigned char><int8_t>code
    memcpy(at + 1, PyBytes_AS_STRING(payload), size)
    out.length = at + 1 - out.start + size
    return 0


# ---- containers ---------------------------------------------------------------------------------------


cdef int pack_dict(Packer out, dict value, int depth) except -1:
    cdef Py_ssize_t size = PyDict_GET_SIZE(value)
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    map_header(out, size)
    with cython.critical_section(value):
        pack_entries(out, value, size, depth)
    return 0


cdef int pack_entries(Packer out, dict value, Py_ssize_t size, int depth) except -1:
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t written = 0
    cdef PyObject *key_pointer
    cdef PyObject *item_pointer
    cdef object key
    cdef object item
    cdef set read_back = None  # the keys, as they are read back
    while PyDict_Next(value, &position, &key_pointer, &item_pointer):
        if not pack_short(out, key_pointer):
            key = <object>key_pointer  # the default hook might change the dict
            item = <object>item_pointer
            if read_back is None and not isinstance(key, PLAIN_KEYS):
                read_back = conversions.plain_keys(value)
            if (<attempt_key>pack_key)(out, key, read_back, depth + 1):
                return item_failed(value, IN_KEY, key, 0)
            if (<attempt>pack_value)(out, item, depth + 1):
                return item_failed(value, AT_KEY, key, 0)
        elif not pack_short(out, item_pointer):
            key = <object>key_pointer
            item = <object>item_pointer
            if (<attempt>pack_value)(out, item, depth + 1):
                return item_failed(value, AT_KEY, key, 0)
        written += 1
        if PyDict_GET_SIZE(value) != size:
            break
    if written != size or PyDict_GET_SIZE(value) != size:
        raise encode_errors.changed()
    return 0


cdef int pack_key(Packer out, object key, set read_back, int depth) except -1:
    # Packs a key. `read_back`: the keys of the dict as they are read back; None: as long as all keys are plain.
    cdef Py_ssize_t begin = out.length
    pack_value(out, key, depth)
    if read_back is not None and not isinstance(key, PLAIN_KEYS):
        note_key(unpack_bytes(out.start + begin, out.length - begin), key, read_back)
    return 0


cdef int item_failed(object container, int where, object key, Py_ssize_t position) except -1:
    # Adds the place in this container to the pending exception.
    try:
        pending_exception()
    except SerializationError as error:
        if where == IN_KEY:
            step = encode_errors.in_key_step(key)
        elif where == AT_KEY:
            step = encode_errors.key_step(key)
        elif where == AT_PLACE:
            step = f"[{position}]"
        else:
            step = f".{key}"
        error._inside(container, step)
        raise
    return 0


cdef int pack_mapping(Packer out, object value, int depth) except -1:
    # A subclass of dict: its items() are written.
    cdef list items = list(value.items())
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    map_header(out, PyList_GET_SIZE(items))
    cdef set read_back = None  # the keys, as they are read back
    for key, item in items:
        if read_back is None and not isinstance(key, PLAIN_KEYS):
            read_back = conversions.plain_keys(value)
        if (<attempt_key>pack_key)(out, key, read_back, depth + 1):
            return item_failed(value, IN_KEY, key, 0)
        if (<attempt>pack_value)(out, item, depth + 1):
            return item_failed(value, AT_KEY, key, 0)
    return 0


cdef int pack_list(Packer out, list value, int depth) except -1:
    cdef Py_ssize_t size = PyList_GET_SIZE(value)
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    array_header(out, size)
    with cython.critical_section(value):
        pack_items(out, value, size, depth)
    return 0


cdef int pack_items(Packer out, list value, Py_ssize_t size, int depth) except -1:
    cdef Py_ssize_t position = 0
    cdef object item
    if PyList_GET_SIZE(value) != size:  # another thread has changed the list
        raise encode_errors.changed()
    while position < size:
        if not pack_short(out, <PyObject *>PyList_GET_ITEM(value, position)):
            item = value[position]
            if (<attempt>pack_value)(out, item, depth + 1):
                return item_failed(value, AT_PLACE, None, position)
            if PyList_GET_SIZE(value) != size:
                raise encode_errors.changed()
        position += 1
    return 0


cdef int pack_tuple(Packer out, tuple value, int depth) except -1:
    cdef Py_ssize_t size = PyTuple_GET_SIZE(value)
    cdef Py_ssize_t position = 0
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    array_header(out, size)
    while position < size:
        if (<attempt>pack_value)(out, <object>PyTuple_GET_ITEM(value, position), depth + 1):
            return item_failed(value, AT_PLACE, None, position)
        position += 1
    return 0


cdef int pack_array_of(Packer out, object owner, list items, int depth) except -1:
    # A subclass of list or tuple: its iterator tells the items.
    cdef Py_ssize_t position = 0
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    array_header(out, PyList_GET_SIZE(items))
    for item in items:
        if (<attempt>pack_value)(out, item, depth + 1):
            return item_failed(owner, AT_PLACE, None, position)
        position += 1
    return 0


cdef tuple written_fields(fields):
    # Returns a tuple of attribute, msgpack of its name on the wire, attribute, ...
    return tuple([part for attribute, wire_name in fields for part in (attribute, pack(wire_name))])


cdef int pack_fields(Packer out, object value, tuple fields, int depth) except -1:
    cdef Py_ssize_t size = PyTuple_GET_SIZE(fields)
    cdef Py_ssize_t position = 0
    cdef PyObject *got
    cdef PyObject *name
    cdef object item
    if depth >= MAX_DEPTH:
        raise encode_errors.too_deep()
    map_header(out, size // 2)
    while position < size:
        name = PyTuple_GET_ITEM(fields, position + 1)
        out.write(PyBytes_AS_STRING(<object>name), PyBytes_GET_SIZE(<object>name))
        got = get_attribute(value, <object>PyTuple_GET_ITEM(fields, position))
        if got is NULL:
            attribute_failed(value, fields[position])
        item = owned(got)
        if not pack_short(out, <PyObject *>item) and (<attempt>pack_value)(out, item, depth + 1):
            return item_failed(value, AT_FIELD, fields[position], 0)
        position += 2
    return 0


cdef int attribute_failed(object value, str attribute) except -1:
    try:
        pending_exception()
    except Exception as error:
        refused = encode_errors.missing_field(value, attribute, error)
        refused._inside(value, f".{attribute}")
        raise refused from error
    return 0


cdef int container_header(Packer out, Py_ssize_t size, unsigned char short_marker, unsigned char marker16) except -1:
    # The header of an array or a map. The marker of the 32-bit form is that of the 16-bit form plus 1.
    cdef unsigned char *at = out.room(5)
    if size < 16:
        at[0] = <unsigned char>(short_marker | size)
        out.length += 1
    elif size < 65536:
        at[0] = marker16
        store16(at + 1, size)
        out.length += 3
    elif size > MAX_BULK:
        raise encode_errors.body_too_large(size)
    else:
        at[0] = marker16 + 1
        store32(at + 1, <uint32_t>size)
        out.length += 5
    return 0


cdef int array_header(Packer out, Py_ssize_t size) except -1:
    return container_header(out, size, 0x90, 0xDC)


cdef int map_header(Packer out, Py_ssize_t size) except -1:
    return container_header(out, size, 0x80, 0xDE)


def pack(value, default=None):
    """Return the msgpack bytes of a value. `default` replaces values that msgpack has no type for."""
    cdef Packer packer = Packer()
    packer.default = default
    pack_body(packer, value)
    return packer.start[:packer.length]
