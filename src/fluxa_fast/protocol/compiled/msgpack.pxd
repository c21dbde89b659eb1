from .buffer cimport ByteBuffer

cdef class Packer(ByteBuffer):
    cdef public object default
    cdef bint busy

    cdef int pack_body(self, object value) except -1
    cdef int pack_value(self, object value, int depth) except -1
    cdef int pack_int(self, object value) except -1
    cdef int pack_float(self, double value) except -1
    cdef int pack_str(self, object value) except -1
    cdef int pack_bin(self, const void *source, Py_ssize_t size) except -1
    cdef int pack_view(self, object value) except -1
    cdef int pack_dict(self, dict value, int depth) except -1
    cdef int pack_mapping(self, object value, int depth) except -1
    cdef int pack_list(self, list value, int depth) except -1
    cdef int pack_tuple(self, tuple value, int depth) except -1
    cdef int pack_array_of(self, object owner, list items, int depth) except -1
    cdef int pack_fields(self, object value, tuple fields, int depth) except -1
    cdef int pack_other(self, object value, int depth) except -1
    cdef int pack_extension(self, int code, bytes payload) except -1
    cdef int array_header(self, Py_ssize_t size) except -1
    cdef int map_header(self, Py_ssize_t size) except -1

cdef object unpack_bytes(const unsigned char *start, Py_ssize_t size)
