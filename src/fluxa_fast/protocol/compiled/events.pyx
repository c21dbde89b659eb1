"""`Event`: an entry's ID as two numbers, and its fields as the bytes that were received.

The fields are decoded when they are first used.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from .buffer cimport FLUXA_FAST_VERSION
from .endian cimport store_decimal
from .unpacking cimport unpack_bytes
from .wire cimport is_body_field

from ...errors import SerializationError
from .. import entries

built_for = FLUXA_FAST_VERSION.decode()

cdef enum:
    NOT_TOLD = -2
    NOT_KNOWN = -1

cdef object TypedOrigin = entries.TypedOrigin
cdef object reader_of = entries.reader_of
cdef dict readers = entries.readers
cdef object builtin_type = type


cdef const unsigned char *next_bulk(const unsigned char *at, Py_ssize_t *size) noexcept:
    # Returns the bytes of the bulk string at `at`, and their number. The reader has checked its form.
    cdef Py_ssize_t length = 0
    at += 1
    while at[0] != 13:
        length = 10 * length + (at[0] - 48)
        at += 1
    size[0] = length
    return at + 2


# The garbage collector does not follow events: it would visit every event of a batch several times, which is a third of
# the cost of consuming. So an event that is put into its own body is never freed.
@cython.final
@cython.no_gc
@cython.freelist(1024)
@cython.auto_pickle(False)
cdef class Event:

    def __init__(self):
        raise entries.not_made_by_hand()

    @property
    def id(self):
        cdef unsigned char text[48]
        cdef int size = self.store_id(text)
        return text[:size].decode("ascii")

    @property
    def stream(self):
        return self.stream_name

    @property
    def timestamp(self):
        return entries.timestamp(self.milliseconds)

    @property
    @cython.critical_section
    def body(self):
        if not self.has_decoded:
            self.decoded = self.decode_plain_or_typed()
            self.has_decoded = True
        return self.decoded

    @property
    def raw_body(self):
        cdef const unsigned char *body
        cdef Py_ssize_t size
        if not self.find_body(&body, &size):
            return None
        return PyBytes_FromStringAndSize(<const char *>body, size)

    @property
    @cython.critical_section
    def tags(self):
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(self.fields)
        cdef const unsigned char *end = at + PyBytes_GET_SIZE(self.fields)
        cdef Py_ssize_t name_size, size
        cdef const unsigned char *name
        cdef bint body_seen = False
        if self.decoded_tags is None:
            tags = {}
            while at < end:
                name = next_bulk(at, &name_size)
                at = next_bulk(name + name_size + 2, &size)
                if is_body_field(name, name_size) and not body_seen:
                    body_seen = True
                else:
                    tags[name[:name_size].decode("utf-8", "surrogateescape")] = (
                        at[:size].decode("utf-8", "surrogateescape"))
                at += size + 2
            self.decoded_tags = tags
        return self.decoded_tags

    @property
    def acknowledged(self):
        return self.is_acknowledged

    @property
    def taken_over(self):
        return self.is_taken_over

    @property
    def idle(self):
        return None if self.idle_milliseconds < 0 else self.idle_milliseconds / 1000.0

    @property
    def delivery_count(self):
        if self.deliveries == NOT_TOLD:
            return None if self.acknowledge is None else 1
        return None if self.deliveries < 0 else self.deliveries

    def tag(self, name, default=""):
        return self.tags.get(name, default)

    def unserialize(self, type=None):
        if type is not None:
            codec = self.codec()
            if codec is not None:
                return self.decode_as(codec.reader(type))
            reader = readers.get(type) if isinstance(type, builtin_type) else None
            return self.decode_as(reader_of(type) if reader is None else reader)
        return self.decode_plain_or_typed()

    def ack(self):
        if self.acknowledge is None:
            raise entries.no_consumer(self)
        return self.acknowledge(self)

    def __repr__(self):
        return entries.describe(self)

    cdef bint find_body(self, const unsigned char **body, Py_ssize_t *size) noexcept:
        # Finds the value of the first field that has the name of bodies.
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(self.fields)
        cdef const unsigned char *end = at + PyBytes_GET_SIZE(self.fields)
        cdef Py_ssize_t name_size
        cdef const unsigned char *name
        while at < end:
            name = next_bulk(at, &name_size)
            body[0] = next_bulk(name + name_size + 2, size)
            if is_body_field(name, name_size):
                return True
            at = body[0] + size[0] + 2
        return False

    cdef object decode_plain_or_typed(self):
        if type(self.acknowledge) is TypedOrigin:
            return self.decode_as(self.acknowledge.reader)
        return self.decode()

    cdef inline object codec(self):
        # The hooks of the registry for reading; None if there are none.
        return self.acknowledge.reader.codec if type(self.acknowledge) is TypedOrigin else None

    cdef object decode(self):
        cdef const unsigned char *body
        cdef Py_ssize_t size
        if not self.find_body(&body, &size):
            return None
        try:
            codec = self.codec()
            if codec is not None:
                return codec.plain(PyBytes_FromStringAndSize(<const char *>body, size))
            return unpack_bytes(body, size)
        except SerializationError as error:
            entries.locate(error, self)
            raise

    cdef object decode_as(self, reader):
        cdef const unsigned char *body
        cdef Py_ssize_t size
        from_bytes = reader.from_bytes
        if from_bytes is not None and self.find_body(&body, &size):
            try:
                return from_bytes(PyBytes_FromStringAndSize(<const char *>body, size))
            except Exception:
                pass  # what is raised below tells what is wrong, and where
        value = self.decode()
        try:
            return reader.from_value(value)
        except Exception as error:
            entries.not_converted(self, error)

    cdef int store_id(self, unsigned char *at) noexcept:
        # Writes at most 41 bytes and returns how many.
        cdef int size = store_decimal(at, self.milliseconds)
        at[size] = 45
        return size + 1 + store_decimal(at + size + 1, self.sequence)


cdef Event new_event(
    uint64_t milliseconds, uint64_t sequence, str stream, const unsigned char *fields, Py_ssize_t size,
    object acknowledge,
):
    cdef Event event = Event.__new__(Event)
    event.milliseconds = milliseconds
    event.sequence = sequence
    event.stream_name = stream
    event.fields = PyBytes_FromStringAndSize(<const char *>fields, size)
    event.acknowledge = acknowledge
    event.idle_milliseconds = -1
    event.deliveries = NOT_TOLD
    return event


def mark_acknowledged(events):
    """Note that the server has acknowledged and deleted these events."""
    cdef Event event
    for event in events:
        event.is_acknowledged = True


def mark_taken_over(events):
    """Note that another consumer has taken these events over."""
    cdef Event event
    for event in events:
        event.is_taken_over = True


def matching(events, tests):
    """Return the events whose tags have one of the values that pass, each of them. Nothing is decoded."""
    cdef Event event
    return [event for event in events if has_all(event, tests)]


cdef bint has_all(Event event, tests) except -1:
    # A name that stands twice in the entry has its last value, as in `tags`.
    cdef const unsigned char *end = (
        <const unsigned char *>PyBytes_AS_STRING(event.fields) + PyBytes_GET_SIZE(event.fields)
    )
    cdef const unsigned char *at
    cdef const unsigned char *name
    cdef const unsigned char *value
    cdef Py_ssize_t name_size, size
    cdef Py_ssize_t value_size = 0
    cdef bytes tag
    for tag, values in tests:
        at = <const unsigned char *>PyBytes_AS_STRING(event.fields)
        value = NULL
        while at < end:
            name = next_bulk(at, &name_size)
            at = next_bulk(name + name_size + 2, &size)
            if name_size == PyBytes_GET_SIZE(tag) and memcmp(name, PyBytes_AS_STRING(tag), name_size) == 0:
                value, value_size = at, size
            at += size + 2
        if value == NULL or PyBytes_FromStringAndSize(<const char *>value, value_size) not in values:
            return False
    return True


def count_deliveries(events, counts):
    """Note how often these events were delivered, by their IDs; of the others it is not known."""
    cdef Event event
    for event in events:
        event.deliveries = counts.get(event.id, NOT_KNOWN)
