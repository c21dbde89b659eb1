# The names of ../wire.py, for C. A test compares the two.

from libc.string cimport memcmp

cdef extern from *:
    """
    #define FLUXA_BODY_FIELD "s"
    #define FLUXA_BODY_FIELD_SIZE ((Py_ssize_t)(sizeof(FLUXA_BODY_FIELD) - 1))
    #define FLUXA_RESERVED_PREFIX "_fluxa:"
    #define FLUXA_RESERVED_PREFIX_SIZE ((Py_ssize_t)(sizeof(FLUXA_RESERVED_PREFIX) - 1))
    #define FLUXA_PACKED_FIELD FLUXA_RESERVED_PREFIX "packed"
    #define FLUXA_PACKED_FIELD_SIZE ((Py_ssize_t)(sizeof(FLUXA_PACKED_FIELD) - 1))
    #define FLUXA_PACKED_FIELD_RESP "$13\\r\\n" FLUXA_PACKED_FIELD "\\r\\n"
    #define FLUXA_PACKED_FIELD_RESP_SIZE ((Py_ssize_t)(sizeof(FLUXA_PACKED_FIELD_RESP) - 1))
    #define FLUXA_PACKED_TAGS_FIELD FLUXA_RESERVED_PREFIX "tags"
    #define FLUXA_PACKED_TAGS_FIELD_SIZE ((Py_ssize_t)(sizeof(FLUXA_PACKED_TAGS_FIELD) - 1))
    """
    const char *BODY_FIELD "FLUXA_BODY_FIELD"
    const Py_ssize_t BODY_FIELD_SIZE "FLUXA_BODY_FIELD_SIZE"
    const char *RESERVED_PREFIX "FLUXA_RESERVED_PREFIX"
    const Py_ssize_t RESERVED_PREFIX_SIZE "FLUXA_RESERVED_PREFIX_SIZE"
    const char *PACKED_FIELD "FLUXA_PACKED_FIELD"
    const Py_ssize_t PACKED_FIELD_SIZE "FLUXA_PACKED_FIELD_SIZE"
    const char *PACKED_FIELD_RESP "FLUXA_PACKED_FIELD_RESP"  # its number of bytes included
    const Py_ssize_t PACKED_FIELD_RESP_SIZE "FLUXA_PACKED_FIELD_RESP_SIZE"
    const char *PACKED_TAGS_FIELD "FLUXA_PACKED_TAGS_FIELD"
    const Py_ssize_t PACKED_TAGS_FIELD_SIZE "FLUXA_PACKED_TAGS_FIELD_SIZE"


cdef inline bint is_body_field(const void *name, Py_ssize_t size) noexcept:
    return size == BODY_FIELD_SIZE and memcmp(name, BODY_FIELD, BODY_FIELD_SIZE) == 0


cdef inline bint is_reserved(const char *name, Py_ssize_t size) noexcept:
    return size >= RESERVED_PREFIX_SIZE and memcmp(name, RESERVED_PREFIX, RESERVED_PREFIX_SIZE) == 0


cdef inline bint is_packed_field(const void *name, Py_ssize_t size) noexcept:
    return size == PACKED_FIELD_SIZE and memcmp(name, PACKED_FIELD, PACKED_FIELD_SIZE) == 0
