from libc.stdint cimport uint64_t

from .open_entries cimport OpenEntry
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


cdef class Route:
    # The head and the buffer of the events of a stream, or of a partition.
    cdef object head
    cdef bytes prefix
    cdef bytes before_body
    cdef Py_ssize_t arguments
    cdef Py_ssize_t lane    # of its events in the order of publishing
    cdef Py_ssize_t index   # of the target
    cdef CommandCore buffer
    cdef OpenEntry open     # that its events are packed into; None: each event is an entry
    cdef OpenEntry spare
    cdef object check_body  # None: every body is accepted
    cdef object exact       # a class whose instances need no check


cdef class Runs:
    # Runs of (index of the buffer, number of events). With partitions there may be a run for each event, so a run has
    # 8 bytes: the index in the upper half, the number in the lower half.
    cdef uint64_t *runs
    cdef Py_ssize_t count
    cdef Py_ssize_t room
    cdef Py_ssize_t total   # events

    cdef int add(self, uint64_t index, uint64_t length) except -1
    cdef int make_room(self, Py_ssize_t room) except -1
    cdef Runs copy(self)


cdef class Routes:
    # Where the events of one stream go: to one of its partitions, or to the only place there is.
    cdef object heads
    cdef list opened       # the Route of each partition; None before its first event
    cdef Py_ssize_t next   # the partition of an event without a key
    cdef bint partitioned


cdef class EventWriter:
    cdef dict routes            # the Routes of each stream
    cdef dict buffers           # the buffer of each target, by the target's index
    cdef list packed            # the Route of each packed Redis key
    cdef Runs runs
    cdef object open_target
    cdef object on_full
    cdef object last_stream     # the same object is often named again: that saves a look into `routes`
    cdef Routes last_routes

    cdef int publish_to(self, Route route, object stream, object body, object tags, object id) except -1
    cdef Py_ssize_t publish_many_to(
        self, Route route, object stream, object bodies, object tags, object first
    ) except -1
    cdef Route route_of(self, object stream, object key)
    cdef Route opened(self, Routes routes, object stream, Py_ssize_t partition)
    cdef int close_all(self) except -1
    cdef dict take_buffers(self)
    cdef int start_order(self, object order) except -1
