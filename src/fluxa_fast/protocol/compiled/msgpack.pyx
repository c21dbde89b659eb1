"""msgpack, written straight into a buffer and read straight from bytes.

Values of the exact built-in types take the short way. Everything else (subclasses, enums, dataclasses, datetimes,
the default hook) asks `..plain`, which both implementations share.
"""

cimport cython
from cpython.buffer cimport PyBUF_FULL_RO, PyBUF_SIMPLE, PyBuffer_Release, PyBuffer_ToContiguous, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.list cimport PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from .buffer cimport FLUXA_FAST_VERSION, ByteBuffer
from .endian cimport load16, load32, load64, store16, store32, store64
from .limits cimport MAX_BULK, MAX_DEPTH

from ...errors import SerializationError
from .. import plain, refused_bytes

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(object) except? 0xFFFFFFFFFFFFFFFF

built_for = FLUXA_FAST_VERSION.decode()

cdef object fields_of = plain.fields_of
cdef object extension_of = plain.extension_of


# ---- writing ------------------------------------------------------------------------------------------


cdef class Packer(ByteBuffer):
    """Writes msgpack at the end of its own buffer."""

    cdef int pack_body(self, object value) except -1:
        # On an exception the buffer is as it was, and the exception knows the path.
        cdef Py_ssize_t before = self.length
        if self.busy:
            raise plain.in_default_hook()
        self.busy = True
        try:
            self.pack_value(value, 0)
            if self.length - before > MAX_BULK:
                raise plain.body_too_large(self.length - before)
        except SerializationError as error:
            self.length = before
            error._located("body")
            raise
        except BaseException:
            self.length = before
            raise
        finally:
            self.busy = False
        return 0

    cdef int pack_value(self, object value, int depth) except -1:
        cdef unsigned char *at
        kind = type(value)
        if kind is str:
            return self.pack_str(value)
        if kind is int:
            return self.pack_int(value)
        if kind is dict:
            return self.pack_dict(<dict>value, depth)
        if kind is list:
            return self.pack_list(<list>value, depth)
        if value is None:
            at = self.room(1)
            at[0] = 0xC0
            self.length += 1
            return 0
        if kind is bool:
            at = self.room(1)
            at[0] = 0xC3 if value is True else 0xC2
            self.length += 1
            return 0
        if kind is float:
            return self.pack_float(PyFloat_AS_DOUBLE(value))
        if kind is bytes:
            return self.pack_bin(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        if kind is tuple:
            return self.pack_tuple(<tuple>value, depth)
        return self.pack_other(value, depth)

    cdef int pack_other(self, object value, int depth) except -1:
        if isinstance(value, str):
            return self.pack_str(value)
        if isinstance(value, int):
            return self.pack_int(value)
        if isinstance(value, float):
            return self.pack_float(PyFloat_AS_DOUBLE(value))
        if isinstance(value, dict):
            return self.pack_mapping(value, depth)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.pack_view(value)
        extension = extension_of(value)
        if extension is not None:
            return self.pack_extension(extension[0], extension[1])
        if isinstance(value, (list, tuple)):
            return self.pack_array_of(value, list(value), depth)
        fields = fields_of(type(value))
        if fields is not None:
            return self.pack_fields(value, fields, depth)
        return self.pack_value(plain.replacement_for(value, self.default), depth)

    cdef int pack_int(self, object value) except -1:
        cdef int overflow
        cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
        cdef unsigned long long positive
        cdef unsigned char *at = self.room(9)
        if overflow == 0 and number < 0:
            if number >= -32:
                at[0] = <unsigned char>number
                self.length += 1
            elif number >= -128:
                at[0] = 0xD0
                at[1] = <unsigned char>number
                self.length += 2
            elif number >= -32768:
                at[0] = 0xD1
                store16(at + 1, <int16_t>number)
                self.length += 3
            elif number >= -2147483648LL:
                at[0] = 0xD2
                store32(at + 1, <int32_t>number)
                self.length += 5
            else:
                at[0] = 0xD3
                store64(at + 1, number)
                self.length += 9
            return 0
        if overflow == 0:
            positive = number
        elif overflow < 0:
            raise plain.int_too_large(value)
        else:
            try:
                positive = PyLong_AsUnsignedLongLong(value)
            except OverflowError:
                raise plain.int_too_large(value) from None
        if positive < 128:
            at[0] = <unsigned char>positive
            self.length += 1
        elif positive < 256:
            at[0] = 0xCC
            at[1] = <unsigned char>positive
            self.length += 2
        elif positive < 65536:
            at[0] = 0xCD
            store16(at + 1, positive)
            self.length += 3
        elif positive < 4294967296ULL:
            at[0] = 0xCE
            store32(at + 1, positive)
            self.length += 5
        else:
            at[0] = 0xCF
            store64(at + 1, positive)
            self.length += 9
        return 0

    cdef int pack_float(self, double value) except -1:
        cdef uint64_t bits
        cdef unsigned char *at = self.room(9)
        memcpy(&bits, &value, 8)
        at[0] = 0xCB
        store64(at + 1, bits)
        self.length += 9
        return 0

    cdef int pack_str(self, object value) except -1:
        cdef Py_ssize_t size
        cdef const char *text
        cdef unsigned char *at
        try:
            text = PyUnicode_AsUTF8AndSize(value, &size)
        except UnicodeEncodeError as error:
            raise plain.surrogates(error) from None
        if size > MAX_BULK:
            raise plain.body_too_large(size)
        at = self.room(size + 5)
        if size < 32:
            at[0] = <unsigned char>(0xA0 | size)
            at += 1
        elif size < 256:
            at[0] = 0xD9
            at[1] = <unsigned char>size
            at += 2
        elif size < 65536:
            at[0] = 0xDA
            store16(at + 1, size)
            at += 3
        else:
            at[0] = 0xDB
            store32(at + 1, <uint32_t>size)
            at += 5
        memcpy(at, text, size)
        self.length = at - self.start + size
        return 0

    cdef int pack_bin(self, const void *source, Py_ssize_t size) except -1:
        cdef unsigned char *at
        if size > MAX_BULK:
            raise plain.body_too_large(size)
        at = self.room(size + 5)
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
        self.length = at - self.start + size
        return 0

    cdef int pack_view(self, object value) except -1:
        cdef Py_buffer view
        PyObject_GetBuffer(value, &view, PyBUF_FULL_RO)
        try:
            if view.ndim <= 1 and (view.strides is NULL or view.strides[0] == view.itemsize):
                self.pack_bin(view.buf, view.len)
            else:
                contiguous = PyBytes_FromStringAndSize(NULL, view.len)
                PyBuffer_ToContiguous(PyBytes_AS_STRING(contiguous), &view, view.len, b"C")
                self.pack_bin(PyBytes_AS_STRING(contiguous), view.len)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef int pack_dict(self, dict value, int depth) except -1:
        cdef Py_ssize_t size = PyDict_Size(value)
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t written = 0
        cdef bint in_key = False
        cdef PyObject *key_pointer
        cdef PyObject *item_pointer
        cdef object key = None
        cdef object item
        if depth >= MAX_DEPTH:
            raise plain.too_deep()
        self.map_header(size)
        try:
            while PyDict_Next(value, &position, &key_pointer, &item_pointer):
                key = <object>key_pointer
                item = <object>item_pointer
                in_key = True
                self.pack_value(key, depth + 1)
                in_key = False
                self.pack_value(item, depth + 1)
                written += 1
                if PyDict_Size(value) != size:
                    break
        except SerializationError as error:
            error._inside(value, plain.in_key_step(key) if in_key else plain.key_step(key))
            raise
        if written != size or PyDict_Size(value) != size:
            raise plain.changed()
        return 0

    cdef int pack_mapping(self, object value, int depth) except -1:
        # A subclass of dict: what its items() says counts.
        cdef bint in_key = False
        cdef list items = list(value.items())
        if depth >= MAX_DEPTH:
            raise plain.too_deep()
        self.map_header(PyList_GET_SIZE(items))
        key = None
        try:
            for key, item in items:
                in_key = True
                self.pack_value(key, depth + 1)
                in_key = False
                self.pack_value(item, depth + 1)
        except SerializationError as error:
            error._inside(value, plain.in_key_step(key) if in_key else plain.key_step(key))
            raise
        return 0

    cdef int pack_list(self, list value, int depth) except -1:
        cdef Py_ssize_t size = PyList_GET_SIZE(value)
        cdef Py_ssize_t position = 0
        if depth >= MAX_DEPTH:
            raise plain.too_deep()
        self.array_header(size)
        try:
            while position < size:
                self.pack_value(value[position], depth + 1)
                if PyList_GET_SIZE(value) != size:
                    break
                position += 1
        except SerializationError as error:
            error._inside(value, f"[{position}]")
            raise
        if position != size:
            raise plain.changed()
        return 0

    cdef int pack_tuple(self, tuple value, int depth) except -1:
        cdef Py_ssize_t size = PyTuple_GET_SIZE(value)
        cdef Py_ssize_t position = 0
        if depth >= MAX_DEPTH:
            raise plain.too_deep()
        self.array_header(size)
        try:
            while position < size:
                self.pack_value(<object>PyTuple_GET_ITEM(value, position), depth + 1)
                position += 1
        except SerializationError as error:
            error._inside(value, f"[{position}]")
            raise
        return 0

    cdef int pack_array_of(self, object owner, list items, int depth) except -1:
        # A subclass of list or tuple: what iterating over it gives counts.
        cdef Py_ssize_t position = 0
        if depth >= MAX_DEPTH:
            raise plain.too_deep()
        self.array_header(PyList_GET_SIZE(items))
        try:
            for item in items:
                self.pack_value(item, depth + 1)
                position += 1
        except SerializationError as error:
            error._inside(owner, f"[{position}]")
            raise
        return 0

    cdef int pack_fields(self, object value, tuple fields, int depth) except -1:
        if depth >= MAX_DEPTH:
            raise plain.too_deep()
        self.map_header(PyTuple_GET_SIZE(fields))
        attribute = ""
        try:
            for attribute, wire_name in fields:
                self.pack_str(wire_name)
                try:
                    item = getattr(value, attribute)
                except Exception as error:
                    raise plain.missing_field(value, attribute, error) from error
                self.pack_value(item, depth + 1)
        except SerializationError as error:
            error._inside(value, f".{attribute}")
            raise
        return 0

    cdef int pack_extension(self, int code, bytes payload) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef unsigned char *at
        if size > MAX_BULK:
            raise plain.body_too_large(size)
        at = self.room(size + 6)
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
        self.length = at + 1 - self.start + size
        return 0

    cdef int array_header(self, Py_ssize_t size) except -1:
        cdef unsigned char *at = self.room(5)
        if size < 16:
            at[0] = <unsigned char>(0x90 | size)
            self.length += 1
        elif size < 65536:
            at[0] = 0xDC
            store16(at + 1, size)
            self.length += 3
        elif size > MAX_BULK:
            raise plain.body_too_large(size)
        else:
            at[0] = 0xDD
            store32(at + 1, <uint32_t>size)
            self.length += 5
        return 0

    cdef int map_header(self, Py_ssize_t size) except -1:
        cdef unsigned char *at = self.room(5)
        if size < 16:
            at[0] = <unsigned char>(0x80 | size)
            self.length += 1
        elif size < 65536:
            at[0] = 0xDE
            store16(at + 1, size)
            self.length += 3
        elif size > MAX_BULK:
            raise plain.body_too_large(size)
        else:
            at[0] = 0xDF
            store32(at + 1, <uint32_t>size)
            self.length += 5
        return 0


def pack(value, default=None):
    """The msgpack bytes of a value. `default` is asked for a replacement of what msgpack has no type for."""
    cdef Packer packer = Packer()
    packer.default = default
    packer.pack_body(value)
    return packer.start[:packer.length]


# ---- reading ------------------------------------------------------------------------------------------


@cython.final
@cython.internal
cdef class Unpacker:
    """Reads one value. `owed` is how many values enclosing containers still wait for: each needs a byte at least,
    so a container that announces more than the bytes left is refused before anything is allocated for it."""

    cdef const unsigned char *start
    cdef Py_ssize_t size
    cdef Py_ssize_t at

    cdef const unsigned char *take(self, Py_ssize_t needed, Py_ssize_t marker) except NULL:
        cdef const unsigned char *taken = self.start + self.at
        if needed > self.size - self.at:
            raise refused_bytes.truncated(marker, needed, self.size - self.at)
        self.at += needed
        return taken

    cdef object value(self, Py_ssize_t owed, int depth):
        cdef Py_ssize_t begin = self.at
        cdef unsigned char marker = self.take(1, begin)[0]
        if marker < 0x80:
            return <int>marker
        if marker >= 0xE0:
            return <int><int8_t>marker
        if marker >= 0xA0 and marker < 0xC0:
            return self.text(marker & 0x1F, begin)
        if marker < 0x90:
            return self.mapping(marker & 0x0F, owed, depth, begin)
        if marker < 0xA0:
            return self.array(marker & 0x0F, owed, depth, begin)
        if marker == 0xC0:
            return None
        if marker == 0xC2:
            return False
        if marker == 0xC3:
            return True
        if marker == 0xCB:
            return self.double_float()
        if marker == 0xCA:
            return self.single_float()
        if marker == 0xCC:
            return <int>self.take(1, begin)[0]
        if marker == 0xCD:
            return <int>load16(self.take(2, begin))
        if marker == 0xCE:
            return load32(self.take(4, begin))
        if marker == 0xCF:
            return load64(self.take(8, begin))
        if marker == 0xD0:
            return <int><int8_t>self.take(1, begin)[0]
        if marker == 0xD1:
            return <int><int16_t>load16(self.take(2, begin))
        if marker == 0xD2:
            return <int32_t>load32(self.take(4, begin))
        if marker == 0xD3:
            return <int64_t>load64(self.take(8, begin))
        if marker == 0xD9:
            return self.text(self.take(1, begin)[0], begin)
        if marker == 0xDA:
            return self.text(load16(self.take(2, begin)), begin)
        if marker == 0xDB:
            return self.text(load32(self.take(4, begin)), begin)
        if marker == 0xC4:
            return self.binary(self.take(1, begin)[0], begin)
        if marker == 0xC5:
            return self.binary(load16(self.take(2, begin)), begin)
        if marker == 0xC6:
            return self.binary(load32(self.take(4, begin)), begin)
        if marker == 0xDC:
            return self.array(load16(self.take(2, begin)), owed, depth, begin)
        if marker == 0xDD:
            return self.array(load32(self.take(4, begin)), owed, depth, begin)
        if marker == 0xDE:
            return self.mapping(load16(self.take(2, begin)), owed, depth, begin)
        if marker == 0xDF:
            return self.mapping(load32(self.take(4, begin)), owed, depth, begin)
        if marker == 0xC7:
            return self.extension(self.take(1, begin)[0], begin)
        if marker == 0xC8:
            return self.extension(load16(self.take(2, begin)), begin)
        if marker == 0xC9:
            return self.extension(load32(self.take(4, begin)), begin)
        if marker >= 0xD4 and marker <= 0xD8:
            return self.extension(1 << (marker - 0xD4), begin)
        raise refused_bytes.never_used(begin)

    cdef object double_float(self):
        cdef uint64_t bits = load64(self.take(8, self.at - 1))
        cdef double number
        memcpy(&number, &bits, 8)
        return number

    cdef object single_float(self):
        cdef uint32_t bits = load32(self.take(4, self.at - 1))
        cdef float number
        memcpy(&number, &bits, 4)
        return <double>number

    cdef object text(self, Py_ssize_t size, Py_ssize_t begin):
        cdef const unsigned char *bytes_ = self.take(size, begin)
        try:
            return PyUnicode_DecodeUTF8(<const char *>bytes_, size, NULL)
        except UnicodeDecodeError as error:
            raise refused_bytes.not_utf8(begin, error) from None

    cdef object binary(self, Py_ssize_t size, Py_ssize_t begin):
        return PyBytes_FromStringAndSize(<const char *>self.take(size, begin), size)

    cdef object extension(self, Py_ssize_t size, Py_ssize_t begin):
        cdef int code = <int8_t>self.take(1, begin)[0]
        return plain.from_extension(code, self.binary(size, begin))

    cdef list array(self, Py_ssize_t count, Py_ssize_t owed, int depth, Py_ssize_t begin):
        cdef Py_ssize_t position
        cdef list items
        cdef object item
        owed += count
        if depth >= MAX_DEPTH:
            raise refused_bytes.nested_too_deep(begin)
        if owed > self.size - self.at:
            raise refused_bytes.truncated(begin, owed, self.size - self.at)
        items = PyList_New(count)
        for position in range(count):
            owed -= 1
            item = self.value(owed, depth + 1)
            Py_INCREF(item)
            PyList_SET_ITEM(items, position, item)
        return items

    cdef dict mapping(self, Py_ssize_t count, Py_ssize_t owed, int depth, Py_ssize_t begin):
        cdef dict items
        cdef Py_ssize_t key_begin
        cdef object key
        owed += 2 * count
        if depth >= MAX_DEPTH:
            raise refused_bytes.nested_too_deep(begin)
        if owed > self.size - self.at:
            raise refused_bytes.truncated(begin, owed, self.size - self.at)
        items = {}
        while count:
            count -= 1
            owed -= 2
            key_begin = self.at
            key = self.value(owed + 1, depth + 1)
            if type(key) is list or type(key) is dict:
                key = hashable(key, key_begin)
            items[key] = self.value(owed, depth + 1)
        return items


cdef object hashable(object key, Py_ssize_t begin):
    # An array as a key becomes a tuple; a map can't be one.
    if type(key) is list:
        return tuple([hashable(item, begin) for item in <list>key])
    if type(key) is dict:
        raise refused_bytes.unhashable_key(begin, key)
    return key


cdef object unpack_bytes(const unsigned char *start, Py_ssize_t size):
    cdef Unpacker unpacker = Unpacker()
    if size == 0:
        raise refused_bytes.empty()
    unpacker.start = start
    unpacker.size = size
    value = unpacker.value(0, 0)
    if unpacker.at != size:
        raise refused_bytes.trailing(unpacker.at, size - unpacker.at)
    return value


def unpack(data):
    """The one value that msgpack bytes (any contiguous bytes-like) hold."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return unpack_bytes(<const unsigned char *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
