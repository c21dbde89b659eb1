from .buffer cimport ByteBuffer


cdef class Packer(ByteBuffer):
    cdef public object default
    cdef bint busy


cdef int pack_body(Packer out, object value) except -1
cdef int body_failed() except -1
cdef int pack_value(Packer out, object value, int depth) except -1
cdef int pack_str(Packer out, object value) except -1
cdef int pack_bin(Packer out, const void *source, Py_ssize_t size) except -1
cdef int array_header(Packer out, Py_ssize_t size) except -1
cdef int map_header(Packer out, Py_ssize_t size) except -1
