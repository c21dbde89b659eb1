from libc.stdint cimport int64_t, uint64_t

from .buffer cimport ByteBuffer
from .limits cimport MAX_REPLY_DEPTH


cdef class ReplyReader:
    cdef unsigned char *start
    cdef Py_ssize_t capacity_
    cdef Py_ssize_t begin       # the beginning of the reply that is being read
    cdef Py_ssize_t end         # the end of the received bytes
    cdef Py_ssize_t scanned     # the position up to which the reply is well-formed
    cdef Py_ssize_t searched    # the position up to which there is no line end
    cdef Py_ssize_t at          # decoding: the next byte
    cdef int views
    cdef int depth              # scanning: how many aggregates are open
    cdef int64_t missing[MAX_REPLY_DEPTH]  # of each open aggregate: how many elements it misses, or STREAMED_...
    cdef bint attribute[MAX_REPLY_DEPTH]
    cdef bint broken
    cdef Py_ssize_t extra_events    # in a batch: events that share an entry with another one

    cdef int make_room(self, Py_ssize_t wanted) except -1
    cdef int fail(self, error) except -1
    cdef bint ready(self) except -1
    cdef int scan(self) except -1
    cdef bint scan_plain(self) noexcept
    cdef int scan_element(self) except -1
    cdef int check_marker(self, unsigned char marker, bint in_chunks) except -1
    cdef int open_aggregate(self, int64_t count, bint attribute) except -1
    cdef int close_element(self) noexcept
    cdef int64_t plain_count(self) noexcept
    cdef int64_t length_in(self, Py_ssize_t line, Py_ssize_t line_end) except? -2
    cdef int finish(self) except -1

    cdef object integer(self)
    cdef unsigned char next_marker(self) except 0
    cdef Py_ssize_t skip_line(self) noexcept
    cdef bytes line(self)
    cdef int64_t count_at(self) except? -2
    cdef bytes payload(self)
    cdef object value(self)
    cdef list elements(self, int64_t count)
    cdef dict pairs(self, int64_t count)
    cdef object read_batch(self, int kind, str stream, acknowledge)
    cdef int take_streams(self, batch, acknowledge) except -1
    cdef int take_claimed(self, batch, str stream, acknowledge) except -1
    cdef bint peek_null(self) except -1
    cdef int take_null(self) except -1
    cdef int64_t take_array(self, expected) except? -2
    cdef const unsigned char *take_bulk(self, Py_ssize_t *size, expected) except NULL
    cdef int64_t take_integer(self, expected) except? -1
    cdef int take_id(self, uint64_t *milliseconds, uint64_t *sequence) except -1
    cdef int take_entries(self, batch, str stream, acknowledge) except -1
    cdef int take_entry(self, list events, list deleted, str stream, acknowledge) except -1
    cdef int take_packed(
        self, list events, int64_t parts, int64_t count, uint64_t milliseconds, uint64_t sequence, str stream,
        acknowledge,
    ) except -1
    cdef object unexpected(self, expected)


cdef struct Run:
    # IDs that follow each other: the same milliseconds, ascending sequence numbers.
    uint64_t milliseconds
    uint64_t first      # sequence number
    uint64_t count


cdef class Confirmations:
    cdef ByteBuffer runs
    cdef public Py_ssize_t expected
    cdef readonly Py_ssize_t received
    cdef readonly list errors
    cdef list nulls     # the positions of null replies, among those that are no errors

    cpdef bint take(self, ReplyReader reader) except -1
    cdef bint take_plain(self, ReplyReader reader) except -1
    cdef Py_ssize_t take_plain_now(self, ReplyReader reader) noexcept nogil
    cdef bint add_now(self, uint64_t milliseconds, uint64_t sequence) noexcept nogil
    cdef int add(self, uint64_t milliseconds, uint64_t sequence) except -1
