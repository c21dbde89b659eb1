from .packing cimport Packer


cdef class CommandCore(Packer):
    cdef readonly Py_ssize_t command_count
    cdef public Py_ssize_t full_at
    cdef int length_digits
    cdef object encode_body
    cdef public object packed   # the PackedLog; None: each command is one event

    cdef int write_argument(self, object value) except -1
    cdef int write_tags(self, dict tags) except -1
    cdef int write_tag(self, object tag, object value) except -1
    cdef Py_ssize_t skip_command(self, Py_ssize_t at) noexcept
    cdef Py_ssize_t skip_commands(self, Py_ssize_t at, Py_ssize_t count) noexcept
    cdef int keep_places(self, list places) except -1
    cdef int keep_range(self, Py_ssize_t first, Py_ssize_t behind) except -1
    cdef int check_idle(self) except -1
    cdef int note_packed(self, Py_ssize_t lane, Py_ssize_t events) except -1
