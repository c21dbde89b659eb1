from .msgpack cimport Packer


cdef class CommandCore(Packer):
    cdef readonly Py_ssize_t commands
    cdef int length_digits

    cdef int write_entry(self, bytes prefix, Py_ssize_t arguments, object body, object tags) except -1
    cdef int write_body(self, object body) except -1
    cdef int write_tags(self, object tags) except -1
    cdef int write_tag(self, object tag, object value) except -1
    cdef Py_ssize_t skip_command(self, Py_ssize_t at) noexcept
