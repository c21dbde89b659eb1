"""A growing byte buffer, the base class of all that is written into memory."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo

from .limits cimport KEEP_BUFFER
from .memory cimport release_memory, resized_memory

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

built_for = FLUXA_FAST_VERSION.decode()
built_with = {
    "compiler": FLUXA_COMPILER.decode(),
    "flags": FLUXA_FAST_FLAGS.decode(),
    "cython": f"{CYTHON_HEX_VERSION >> 24}.{CYTHON_HEX_VERSION >> 16 & 255}.{CYTHON_HEX_VERSION >> 8 & 255}",
}

cdef enum:
    FIRST_CAPACITY = 4096


cdef class ByteBuffer:
    """A buffer to append bytes to. It grows geometrically, and can't be written to while a view of it is held."""

    def __dealloc__(self):
        release_memory(self.start, self.capacity)

    cdef int grow(self, Py_ssize_t needed) except -1:
        cdef Py_ssize_t capacity = self.capacity or FIRST_CAPACITY
        cdef unsigned char *moved
        self.check_unseen()
        if needed > PY_SSIZE_T_MAX // 2 - self.length:
            raise MemoryError
        while capacity - self.length < needed:
            capacity *= 2
        if capacity != self.capacity:
            moved = <unsigned char *>resized_memory(self.start, self.capacity, capacity)
            if moved is NULL:
                raise MemoryError
            self.start = moved
            self.capacity = capacity
        return 0

    cdef int check_unseen(self) except -1:
        if self.views:
            raise BufferError("the buffer can't be written to while a view of it is held")
        return 0

    cdef int exchange(self, ByteBuffer other) except -1:
        # Exchanges the bytes of two buffers, without a copy.
        self.check_unseen()
        other.check_unseen()
        self.start, other.start = other.start, self.start
        self.length, other.length = other.length, self.length
        self.capacity, other.capacity = other.capacity, self.capacity
        return 0

    cdef bint shrink(self, Py_ssize_t most) except -1:
        # Empties the buffer and releases about `most` bytes of memory: to release all at once could take long. True if
        # none is left to release.
        cdef unsigned char *moved
        cdef Py_ssize_t capacity = self.capacity - most
        self.check_unseen()
        self.length = 0
        if capacity > KEEP_BUFFER:
            moved = <unsigned char *>resized_memory(self.start, self.capacity, capacity)
            if moved is not NULL:
                self.start = moved
                self.capacity = capacity
                return False
        self.empty()
        return True

    cdef int empty(self) except -1:
        # Empties the buffer, and releases its memory if that has become large.
        self.check_unseen()
        self.length = 0
        if self.capacity > KEEP_BUFFER:
            release_memory(self.start, self.capacity)
            self.start = NULL
            self.capacity = 0
        return 0

    def __len__(self):
        return self.length

    @cython.critical_section
    def __bytes__(self):
        return self.start[:self.length] if self.length else b""

    def __getbuffer__(self, Py_buffer *view, int flags):
        with cython.critical_section(self):
            if self.start is NULL:
                self.grow(1)
            PyBuffer_FillInfo(view, self, self.start, self.length, 1, flags)
            self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        with cython.critical_section(self):
            self.views -= 1
