from .buffer cimport ByteBuffer


cdef class Packer(ByteBuffer):
    cdef public object default
    cdef bint busy


cdef int pack_body(Packer out, object value) except -1
cdef int body_failed() except -1
cdef int pack_value(Packer out, object value, int depth) except -1
