from cpython.object cimport PyObject

from .buffer cimport ByteBuffer
from .packing cimport Packer

cdef enum:
    NOTED = 16  # tags of an event, whose columns are looked up once


cdef class OpenEntry(Packer):
    cdef readonly Py_ssize_t count      # events
    cdef Py_ssize_t tag_bytes           # about
    cdef dict columns                   # by name the values of a tag
    cdef object encode_body
    cdef Py_ssize_t max_events
    cdef Py_ssize_t max_bytes
    cdef bint compress
    cdef PyObject *noted[NOTED]         # of the tags that were checked last: their columns, NULL for a new one
    cdef bint goes_on[NOTED]            # whether the event has the value that all events before it have

    cdef int write_body(self, object body) except -1
    cdef Py_ssize_t cost_of(self, dict tags) except -1
    cdef int put_tags(self, dict tags) except -1
    cdef bint has_room_for(self, Py_ssize_t bytes) noexcept
    cdef int write_to(self, ByteBuffer out, bytes prefix, Py_ssize_t arguments, Py_ssize_t size) except -1
    cdef int write_alone(self, ByteBuffer out, bytes prefix, Py_ssize_t arguments, Py_ssize_t size) except -1
    cdef int write_packed(self, ByteBuffer out, bytes prefix, Py_ssize_t arguments, Py_ssize_t size) except -1
    cdef int write_array(self, ByteBuffer out, Py_ssize_t size) except -1
    cdef int write_other_form(self, ByteBuffer out, Py_ssize_t size, Packer differing) except -1
    cdef int start_over(self, Py_ssize_t kept) except -1
    cdef bint take_over(self, OpenEntry other, dict tags) except -1
