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
from .wire cimport is_body_field, is_packed_field

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


@cython.final
@cython.no_gc
@cython.auto_pickle(False)
cdef class Pack:
    """What the events of a packed entry share."""

    cdef int note_done(self, Py_ssize_t place) except -1:
        with cython.critical_section(self):
            if self.done is None:
                self.done = bytearray(self.count)
            self.done[place] = 1
        return 0


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
        cdef unsigned char text[72]
        cdef int size = self.store_id(text)
        if self.pack is not None:
            text[size] = 47
            size += 1 + store_decimal(text + size + 1, self.place)
        return text[:size].decode("ascii")

    @property
    def entry_id(self):
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
        cdef const unsigned char *at
        cdef const unsigned char *end
        cdef Py_ssize_t name_size, size
        cdef const unsigned char *name
        cdef bint body_seen = False
        if self.decoded_tags is None and self.pack is not None:
            self.decoded_tags = self.packed_tags()
        if self.decoded_tags is None:
            tags = {}
            at = <const unsigned char *>PyBytes_AS_STRING(self.fields)
            end = at + PyBytes_GET_SIZE(self.fields)
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
        return self.is_done()

    @property
    def taken_over(self):
        return self.is_taken_over if self.pack is None else self.pack.is_taken_over

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
        cdef const unsigned char *at
        cdef const unsigned char *end
        cdef Py_ssize_t name_size
        cdef const unsigned char *name
        if self.fields is None:
            return False
        at = <const unsigned char *>PyBytes_AS_STRING(self.fields)
        if self.pack is not None:
            body[0] = at
            size[0] = PyBytes_GET_SIZE(self.fields)
            return True
        end = at + PyBytes_GET_SIZE(self.fields)
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

    cdef dict packed_tags(self):
        if self.pack.tags is None:
            return {}
        try:
            return self.pack.tags.of(self.place)
        except SerializationError as error:
            entries.locate(error, self)
            raise

    cdef int check_readable(self) except -1:
        # Refuses an entry that says it is packed, and could not be split into its events.
        cdef Py_ssize_t size
        cdef const unsigned char *start = <const unsigned char *>PyBytes_AS_STRING(self.fields)
        cdef const unsigned char *name = next_bulk(start, &size)
        if is_packed_field(name, size):
            raise entries.unreadable_pack(listed(start, start + PyBytes_GET_SIZE(self.fields)))
        return 0

    cdef object decode(self):
        cdef const unsigned char *body
        cdef Py_ssize_t size
        try:
            self.refuse_unreadable()
            if not self.find_body(&body, &size):
                return None
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
                self.refuse_unreadable()
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


cdef Event new_packed_event(Event first, Pack pack, Py_ssize_t place, const unsigned char *body, Py_ssize_t size):
    # An event of the same entry as `first`. `size` is -1 if it has no body.
    cdef Event event = Event.__new__(Event)
    event.milliseconds = first.milliseconds
    event.sequence = first.sequence
    event.stream_name = first.stream_name
    if size >= 0:
        event.fields = PyBytes_FromStringAndSize(<const char *>body, size)
    event.pack = pack
    event.place = place
    event.acknowledge = first.acknowledge
    event.idle_milliseconds = -1
    event.deliveries = NOT_TOLD
    return event


cdef list listed(const unsigned char *at, const unsigned char *end):
    # The names and values of RESP bulk strings.
    cdef Py_ssize_t size
    cdef list found = []
    while at < end:
        at = next_bulk(at, &size)
        found.append(PyBytes_FromStringAndSize(<const char *>at, size))
        at += size + 2
    return found


def mark_acknowledged(events):
    """Note that the server has acknowledged and deleted these events, and all that share an entry with them."""
    cdef Event event
    for event in events:
        if event.pack is None:
            event.is_acknowledged = True
        else:
            event.pack.is_acknowledged = True


def complete(events, dict unfinished not None):
    """Note that these events were handled. Return one event of each entry that has no other events left."""
    cdef Event event
    cdef Pack pack
    cdef Pack current = None
    cdef Event last = None
    cdef list found = []
    for event in events:
        pack = event.pack
        if pack is not current and current is not None:
            settle(last, found, unfinished)
        current, last = pack, event
        if pack is None:
            found.append(event)
        else:
            pack.note_done(event.place)
    if current is not None:
        settle(last, found, unfinished)
    return found


cdef int settle(Event event, list found, dict unfinished) except -1:
    # Some events of a pack were handled, `event` is one of them.
    cdef Pack pack = event.pack
    if 0 in pack.done:
        unfinished[event.entry_id] = pack
        return 0
    if unfinished:
        unfinished.pop(event.entry_id, None)
    if not pack.is_acknowledged:
        found.append(event)
    return 0


def resumed(events, dict unfinished not None):
    """Return those events that were not handled when their entry was read before."""
    cdef Event event
    cdef Pack pack
    cdef Pack current = None
    cdef Pack before = None
    cdef list found = []
    for event in events:
        pack = event.pack
        if pack is not None and pack is not current:
            current = pack
            before = unfinished.get(event.entry_id)
            if before is not None and before.count == pack.count and before is not pack:
                pack.done = before.done
                unfinished[event.entry_id] = pack
        if pack is None or pack.done is None or not pack.done[event.place]:
            found.append(event)
    return found


def entries_in(events):
    """Return the number of entries that have these events. Events of one entry follow each other."""
    cdef Event event
    cdef Pack current = None
    cdef Py_ssize_t count = 0
    for event in events:
        if event.pack is None or event.pack is not current:
            count += 1
        current = event.pack
    return count


def entry_begin(list events not None, Py_ssize_t at, Py_ssize_t most):
    """Return where to cut a list of events at `at`, or before that if it would cut an entry of up to `most` events."""
    cdef Pack pack
    cdef Py_ssize_t begin = at
    if at <= 0 or at >= len(events):
        return at
    pack = (<Event?>events[at]).pack
    if pack is None or pack.count > most:
        return at
    while begin > 0 and (<Event?>events[begin - 1]).pack is pack:
        begin -= 1
    return begin


def mark_taken_over(events):
    """Note that another consumer has taken these events over, and all that share an entry with them."""
    cdef Event event
    for event in events:
        if event.pack is None:
            event.is_taken_over = True
        else:
            event.pack.is_taken_over = True


def matching(events, tests):
    """Return the events whose tags have one of the values that pass, each of them. Nothing is decoded."""
    cdef Event event
    return [event for event in events if has_all(event, tests)]


cdef bint passes(Event event, tests) except -1:
    # Whether the tags of an event in a pack have values that pass. An event whose tags can't be read passes: its
    # handler is told so.
    try:
        tags = event.tags
    except SerializationError:
        return True
    for tag, values in tests:
        value = tags.get(tag.decode("utf-8", "surrogateescape"))
        if value is None or value.encode("utf-8", "surrogateescape") not in values:
            return False
    return True


cdef bint has_all(Event event, tests) except -1:
    # A name that stands twice in the entry has its last value, as in `tags`.
    cdef const unsigned char *end
    cdef const unsigned char *at
    cdef const unsigned char *name
    cdef const unsigned char *value
    cdef Py_ssize_t name_size, size
    cdef Py_ssize_t value_size = 0
    cdef bytes tag
    if event.pack is not None:
        return passes(event, tests)
    end = <const unsigned char *>PyBytes_AS_STRING(event.fields) + PyBytes_GET_SIZE(event.fields)
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
        event.deliveries = counts.get(event.entry_id, NOT_KNOWN)
