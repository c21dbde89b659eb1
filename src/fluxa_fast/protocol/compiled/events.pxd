from libc.stdint cimport int64_t, uint64_t


cdef class Event:
    cdef uint64_t milliseconds
    cdef uint64_t sequence
    cdef str stream_name
    cdef bytes fields       # RESP: bulk strings of name, value, name, value...
    cdef object acknowledge
    cdef object decoded     # the body, if has_decoded
    cdef dict decoded_tags
    cdef int64_t idle_milliseconds
    cdef int64_t deliveries
    cdef bint has_decoded
    cdef bint is_acknowledged
    cdef bint is_taken_over

    cdef bint find_body(self, const unsigned char **body, Py_ssize_t *size) noexcept
    cdef object decode_plain_or_typed(self)
    cdef object codec(self)
    cdef object decode(self)
    cdef object decode_as(self, reader)
    cdef int store_id(self, unsigned char *at) noexcept

cdef Event new_event(
    uint64_t milliseconds, uint64_t sequence, str stream, const unsigned char *fields, Py_ssize_t size,
    object acknowledge,
)
cdef const unsigned char *next_bulk(const unsigned char *at, Py_ssize_t *size) noexcept
