# The names of ../wire.py, for C. A test compares the two.

from libc.string cimport memcmp

cdef extern from *:
    """
    #define FLUXA_BODY_FIELD "s"
    #define FLUXA_BODY_FIELD_SIZE ((Py_ssize_t)(sizeof(FLUXA_BODY_FIELD) - 1))
    """
    const char *BODY_FIELD "FLUXA_BODY_FIELD"
    const Py_ssize_t BODY_FIELD_SIZE "FLUXA_BODY_FIELD_SIZE"


cdef inline bint is_body_field(const void *name, Py_ssize_t size) noexcept:
    return size == BODY_FIELD_SIZE and memcmp(name, BODY_FIELD, BODY_FIELD_SIZE) == 0
