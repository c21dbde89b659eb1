from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint64_t


cdef class Pack:
    # What the events of a packed entry share.
    cdef Py_ssize_t count       # events
    # By place, 1 for an event that was handled; None: none was. All that was read of an entry shares it.
    cdef bytearray done
    cdef bint is_acknowledged
    cdef bint is_taken_over
    cdef object tags            # PackedTags; None: the events have none

    cdef int note_done(self, Py_ssize_t place) except -1


cdef class Event:
    cdef uint64_t milliseconds
    cdef uint64_t sequence
    cdef str stream_name
    cdef bytes fields       # RESP: bulk strings of name, value, name, value...; in a pack: the body, or None
    cdef Pack pack          # None: the event is an entry
    cdef Py_ssize_t place   # in the pack
    cdef object acknowledge
    cdef object decoded     # the body, if has_decoded
    cdef dict decoded_tags
    cdef int64_t idle_milliseconds
    cdef int64_t deliveries
    cdef bint has_decoded
    cdef bint is_acknowledged
    cdef bint is_taken_over

    cdef inline bint is_done(self) noexcept:
        # Whether the server has acknowledged its entry.
        return self.is_acknowledged if self.pack is None else self.pack.is_acknowledged

    cdef bint find_body(self, const unsigned char **body, Py_ssize_t *size) noexcept
    cdef object decode_plain_or_typed(self)
    cdef object codec(self)
    cdef dict packed_tags(self)
    cdef int check_readable(self) except -1
    cdef inline int refuse_unreadable(self) except -1:
        # The first field of a packed entry has a name of 13 bytes, and that of most entries has one byte.
        cdef const char *fields
        if self.pack is None:
            fields = PyBytes_AS_STRING(self.fields)
            if fields[0] == 36 and fields[1] == 49 and fields[2] == 51:
                self.check_readable()
        return 0
    cdef object decode(self)
    cdef object decode_as(self, reader)
    cdef int store_id(self, unsigned char *at) noexcept

cdef Event new_event(
    uint64_t milliseconds, uint64_t sequence, str stream, const unsigned char *fields, Py_ssize_t size,
    object acknowledge,
)
cdef const unsigned char *next_bulk(const unsigned char *at, Py_ssize_t *size) noexcept
cdef Event new_packed_event(Event first, Pack pack, Py_ssize_t place, const unsigned char *body, Py_ssize_t size)
cdef list listed(const unsigned char *at, const unsigned char *end)
