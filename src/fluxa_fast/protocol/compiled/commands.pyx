"""RESP commands in a buffer, and the writer of events. The body of an XADD is packed into the buffer directly.

Critical sections lock in Pythons without a GIL, and cost nothing elsewhere. A critical section that runs Python code
may let another thread in; `busy` refuses that thread.

The file is long because the writer calls the buffer for every event, which the C compiler inlines.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memmove

from .buffer cimport FLUXA_FAST_VERSION, pending_exception
from .endian cimport count_digits, store_decimal
from .events cimport Event, next_bulk
from .hashing cimport hash_of
from .limits cimport MAX_BULK
from .open_entries cimport OpenEntry
from .packing cimport Packer, body_failed, pack_value
from .values cimport fluxa_short_int
from .wire cimport BODY_FIELD, BODY_FIELD_SIZE, is_body_field, is_reserved

import random

from ...errors import SerializationError, UnregisteredStreamError
from .. import body_codec, checks, encode_errors
from ..commands import StreamCommands
from ..hashing import without_partitions
from ..packed_log import PackedLog
from ..resp import argument_bytes
from .packing import pack

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

built_for = FLUXA_FAST_VERSION.decode()


cdef class CommandCore(Packer):
    """The compiled part of `CommandBuffer`."""

    def __init__(self, default=None, encode_body=None):
        self.default = default
        self.encode_body = encode_body
        self.length_digits = 2
        self.full_at = PY_SSIZE_T_MAX

    @cython.critical_section
    def view(self):
        self.check_idle()
        return PyMemoryView_FromObject(self)

    @cython.critical_section
    def command(self, *arguments):
        cdef Py_ssize_t before = self.length
        self.check_idle()
        if not arguments:
            raise ValueError("a command has a name at least")
        try:
            self.write_header(42, len(arguments))
            for value in arguments:
                self.write_argument(value)
        except BaseException:
            self.length = before
            raise
        self.command_count += 1

    cdef int write_argument(self, object value) except -1:
        cdef Py_ssize_t size
        cdef long long number
        cdef unsigned char digits[24]
        cdef const char *text
        cdef bytes argument
        if type(value) is str:
            text = PyUnicode_AsUTF8AndSize(value, &size)
            return self.write_bulk(text, size)
        if type(value) is int and fluxa_short_int(<PyObject *>value, &number) and number >= 0:
            return self.write_bulk(digits, store_decimal(digits, number))
        argument = argument_bytes(value)
        return self.write_bulk(PyBytes_AS_STRING(argument), PyBytes_GET_SIZE(argument))

    def entry(self, head, body=None, tags=None):
        write_entry(self, head.prefix, head.arguments, head.before_body, body, tags)

    cdef int write_tags(self, dict tags) except -1:
        cdef Py_ssize_t size = PyDict_Size(tags)
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t written = 0
        cdef PyObject *name_pointer
        cdef PyObject *value_pointer
        with cython.critical_section(tags):
            while PyDict_Next(tags, &position, &name_pointer, &value_pointer):
                self.write_tag(<object>name_pointer, <object>value_pointer)
                written += 1
        if written != size:
            raise encode_errors.changed()
        return 0

    cdef int write_tag(self, object tag, object value) except -1:
        cdef Py_ssize_t size
        cdef const char *text
        if not isinstance(tag, str) or not isinstance(value, str):
            raise encode_errors.refused_tag(tag, value)
        try:
            text = PyUnicode_AsUTF8AndSize(tag, &size)
            if is_body_field(text, size) or is_reserved(text, size):
                raise encode_errors.refused_tag(tag, value)
            self.write_bulk(text, size)
            text = PyUnicode_AsUTF8AndSize(value, &size)
            if size > MAX_BULK:
                raise encode_errors.refused_tag(tag, value)
            self.write_bulk(text, size)
        except UnicodeEncodeError as error:
            raise encode_errors.refused_tag(tag, value, error) from None
        return 0

    @cython.critical_section
    def with_ids(self, arguments, events):
        cdef list waiting = [event for event in events if not (<Event?>event).is_done()]
        cdef Py_ssize_t before = self.length
        cdef unsigned char text[48]
        cdef Event event
        self.check_idle()
        if not waiting:
            return 0
        try:
            self.write_header(42, len(arguments) + len(waiting))
            for value in arguments:
                self.write_argument(value)
            for event in waiting:
                self.write_bulk(text, event.store_id(text))
        except BaseException:
            self.length = before
            raise
        self.command_count += 1
        return len(waiting)

    cdef Py_ssize_t skip_command(self, Py_ssize_t at) noexcept:
        # Returns the position behind the command at `at`.
        cdef Py_ssize_t arguments
        cdef Py_ssize_t size
        cdef const unsigned char *end = next_bulk(self.start + at, &arguments)
        while arguments:
            end = next_bulk(end, &size) + size + 2
            arguments -= 1
        return end - self.start

    cdef Py_ssize_t skip_commands(self, Py_ssize_t at, Py_ssize_t count) noexcept:
        while count:
            at = self.skip_command(at)
            count -= 1
        return at

    @cython.critical_section
    def keys(self, positions):
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t current = 0
        cdef Py_ssize_t size
        cdef Py_ssize_t wanted
        cdef const unsigned char *key
        found = []
        for wanted in positions:
            if wanted < current or wanted >= self.command_count:
                raise IndexError("positions are ascending, and below the number of commands")
            at = self.skip_commands(at, wanted - current)
            current = wanted
            key = next_bulk(self.start + at, &size)
            key = next_bulk(key, &size)
            key = next_bulk(key + size + 2, &size)
            found.append(key[:size].decode("utf-8", "surrogateescape"))
        return found

    def keep(self, positions):
        cdef list places = None
        cdef Py_ssize_t first = 0, behind = 0
        if type(positions) is range and positions.step == 1 and len(positions):
            first, behind = positions.start, positions.stop
        else:
            places = sorted(set(positions))
        with cython.critical_section(self):
            self.check_idle()
            self.check_unseen()
            if places is None:
                self.keep_range(first, behind)
            else:
                self.keep_places(places)
            if self.packed is not None:
                self.packed = self.packed.kept(range(first, behind) if places is None else places)

    cdef int keep_places(self, list places) except -1:
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t kept = 0
        cdef Py_ssize_t current = 0
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t following
        cdef Py_ssize_t wanted
        for wanted in places:
            if wanted < 0 or wanted >= self.command_count:
                raise IndexError("positions are below the number of commands")
            at = self.skip_commands(at, wanted - current)
            current = wanted
            following = self.skip_command(at)
            memmove(self.start + kept, self.start + at, following - at)
            # Kept commands are moved to the front of the commands that follow, so the walk can go on.
            kept += following - at
            at = following
            current += 1
            count += 1
        self.length = kept
        self.command_count = count
        if not count:
            self.empty()
        return 0

    cdef int keep_range(self, Py_ssize_t first, Py_ssize_t behind) except -1:
        cdef Py_ssize_t begin, end
        if first < 0 or behind > self.command_count:
            raise IndexError("positions are below the number of commands")
        begin = self.skip_commands(0, first)
        end = self.skip_commands(begin, behind - first) if behind < self.command_count else self.length
        memmove(self.start, self.start + begin, end - begin)
        self.length = end - begin
        self.command_count = behind - first
        return 0

    cdef int check_idle(self) except -1:
        if self.busy:
            raise encode_errors.in_use()
        return 0

    @cython.critical_section
    def truncate(self, commands, size):
        cdef Py_ssize_t kept = commands
        cdef Py_ssize_t length = size
        self.check_idle()
        self.check_unseen()
        if kept < 0 or kept > self.command_count or length < 0 or length > self.length:
            raise ValueError("the buffer holds less than that")
        self.length = length
        self.command_count = kept
        if self.packed is not None:
            self.packed.truncate(kept)

    def swap(self, CommandCore other not None):
        with cython.critical_section(self, other):
            self.check_idle()
            other.check_idle()
            self.exchange(other)
            self.command_count, other.command_count = other.command_count, self.command_count
            self.packed, other.packed = other.packed, self.packed

    def extend(self, CommandCore other not None):
        with cython.critical_section(self, other):
            self.check_idle()
            other.check_idle()
            if other.length:
                self.room(other.length)  # so that `other` may be the same buffer
                self.write(other.start, other.length)
                if other.packed is not None:
                    self.packed = self.packed or PackedLog()
                    self.packed.extend(other.packed, self.command_count)
                self.command_count += other.command_count

    @cython.critical_section
    def give_back(self, most):
        self.check_idle()
        cdef bint done = self.shrink(most)
        self.command_count = 0
        self.packed = None
        return done

    @cython.critical_section
    def clear(self):
        self.check_idle()
        self.empty()
        self.command_count = 0
        self.packed = None

    cdef int note_packed(self, Py_ssize_t lane, Py_ssize_t events) except -1:
        # The last command is an entry of a packed stream.
        if self.packed is None:
            self.packed = PackedLog()
        self.packed.add(self.command_count - 1, lane, events)
        return 0


class CommandBuffer(CommandCore, StreamCommands):
    """`..interface.CommandBuffer`, compiled."""

    __slots__ = ()


ctypedef int (*attempt_content)(CommandCore, bytes, Py_ssize_t, bytes, object, dict) noexcept
ctypedef int (*attempt_value)(CommandCore, object, int) noexcept


cdef int write_entry(
    CommandCore out, bytes prefix, Py_ssize_t arguments, bytes before_body, object body, object tags
) except -1:
    # Appends an XADD. On an exception the buffer stays as it was.
    cdef Py_ssize_t before
    cdef int failed
    if tags is not None:
        if type(tags) is not dict:
            tags = checks.tags_as_dict(tags)
        if PyDict_Size(tags) == 0:
            tags = None
    with cython.critical_section(out):
        out.check_idle()
        out.busy = True
        before = out.length
        failed = (<attempt_content>write_content)(out, prefix, arguments, before_body, body, <dict>tags)
        if failed:
            out.length = before
        else:
            out.command_count += 1
        out.busy = False
    if failed:
        pending_exception()
    return 0


# *<arguments>\r\n <prefix> [$1\r\ns\r\n $<size>\r\n<msgpack>\r\n] [<name> <value>]...
cdef int write_content(
    CommandCore out, bytes prefix, Py_ssize_t arguments, bytes before_body, object body, dict tags
) except -1:
    if tags is None:
        if body is None:
            raise encode_errors.empty_event()
        out.write(PyBytes_AS_STRING(before_body), PyBytes_GET_SIZE(before_body))
        return write_body(out, body)
    arguments += 2 * PyDict_Size(tags)
    if body is not None:
        arguments += 2
    out.write_header(42, arguments)
    out.write(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
    if body is not None:
        out.write_bulk(BODY_FIELD, BODY_FIELD_SIZE)
        out.write("$", 1)
        write_body(out, body)
    return out.write_tags(tags)


cdef int write_body(CommandCore out, object body) except -1:
    # The length stands before the body, but is known only after it. A gap of as many digits as the length of the last
    # body had is left for it; if this body needs another number of digits, it is moved.
    cdef int gap = out.length_digits
    cdef int digits
    cdef Py_ssize_t begin, size
    cdef unsigned char *at
    if out.encode_body is not None:
        return write_encoded(out, body)
    out.room(gap + 2)
    out.length += gap + 2
    begin = out.length
    if (<attempt_value>pack_value)(out, body, 0):
        body_failed()
    size = out.length - begin
    if size > MAX_BULK:
        raise encode_errors.body_too_large(size)._located("body")
    digits = count_digits(size)
    out.room(digits - gap + 2 if digits > gap else 2)
    at = out.start + begin
    if digits != gap:
        memmove(at + digits - gap, at, size)
        out.length += digits - gap
        out.length_digits = digits
    at -= gap + 2
    store_decimal(at, size)
    at[digits] = 13
    at[digits + 1] = 10
    at = out.start + out.length
    at[0] = 13
    at[1] = 10
    out.length += 2
    return 0


cdef int write_encoded(CommandCore out, object body) except -1:
    # As `write_body`, of what the hook makes of the packed body.
    cdef bytes stored = body_codec.encoded(out.encode_body, pack(body, out.default))
    out.length -= 1  # the "$" in front of a length, which `write_bulk` writes too
    return out.write_bulk(PyBytes_AS_STRING(stored), PyBytes_GET_SIZE(stored))


@cython.final
cdef class Route:
    pass


ctypedef int (*attempt_packed)(Route, OpenEntry, object, object) noexcept
ctypedef int (*attempt_entry)(CommandCore, bytes, Py_ssize_t, bytes, object, object) noexcept

cdef enum:
    LONGEST_RUN = 0xFFFFFFFF
    KEPT_OPEN = 64  # packed Redis keys, up to which each keeps the memory of its open entry


@cython.final
cdef class Runs:
    def __dealloc__(self):
        PyMem_RawFree(self.runs)

    def __iter__(self):
        cdef Py_ssize_t at
        for at in range(self.count):
            yield self.runs[at] >> 32, self.runs[at] & LONGEST_RUN

    cdef inline int add(self, uint64_t index, uint64_t length) except -1:
        cdef uint64_t last = self.runs[self.count - 1] if self.count else 0
        self.total += length
        if self.count and last >> 32 == index and (last & LONGEST_RUN) + length <= LONGEST_RUN:
            self.runs[self.count - 1] = last + length
            return 0
        while length:
            if self.count == self.room:
                self.make_room(2 * self.room + 8)
            self.runs[self.count] = index << 32 | min(length, <uint64_t>LONGEST_RUN)
            self.count += 1
            length -= min(length, <uint64_t>LONGEST_RUN)
        return 0

    cdef int make_room(self, Py_ssize_t room) except -1:
        cdef void *runs = PyMem_RawRealloc(self.runs, room * sizeof(uint64_t))
        if runs == NULL:
            raise MemoryError
        self.runs = <uint64_t *>runs
        self.room = room
        return 0

    cdef Runs copy(self):
        cdef Runs other = Runs.__new__(Runs)
        if self.count:
            other.make_room(self.count)
            memcpy(other.runs, self.runs, self.count * sizeof(uint64_t))
            other.count = self.count
            other.total = self.total
        return other


@cython.final
cdef class Routes:
    pass


@cython.final
cdef class EventWriter:
    """`..interface.EventWriter`, compiled."""

    def __init__(self, heads, open_target, on_full=None):
        self.open_target = open_target
        self.on_full = on_full
        self.routes = {stream: new_routes(stream, of_stream) for stream, of_stream in heads.items()}
        self.buffers = {}
        self.packed = []
        self.restart(())

    def publish(self, stream, body=None, tags=None, key=None, id=None):
        write_one(self, find_route(self, stream, key), stream, body, tags, id)

    cdef int publish_to(self, Route route, object stream, object body, object tags, object id) except -1:
        return write_one(self, route, stream, body, tags, id)

    def publish_many(self, stream, bodies, tags=None, first=0, key=None):
        return self.publish_many_to(find_route(self, stream, key), stream, bodies, tags, first)

    cdef Py_ssize_t publish_many_to(
        self, Route route, object stream, object bodies, object tags, object first
    ) except -1:
        cdef Py_ssize_t count
        if type(bodies) is not list and type(bodies) is not tuple:
            checks.check_bodies(bodies)
        try:
            if route.open is not None:
                count = pack_many(route, bodies, tags, first)
            else:
                count = write_entries(route, bodies, tags, first)
        except SerializationError as error:
            error.stream = stream
            raise
        count_written(self, route, count)
        return count

    cdef Route route_of(self, object stream, object key):
        return find_route(self, stream, key)

    cdef Route opened(self, Routes routes, object stream, Py_ssize_t partition):
        cdef Route route = Route.__new__(Route)
        head = routes.heads[partition]
        route.head = head
        route.prefix = head.prefix
        route.before_body = head.before_body
        route.arguments = head.arguments
        route.check_body = None if head.check is None else head.check_body
        route.exact = head.exact
        lane, index, buffer = self.open_target(stream, partition)
        route.lane = lane
        route.index = index
        route.buffer = buffer
        if head.packing is not None:
            route.open = OpenEntry(buffer.default, route.buffer.encode_body, head.packing)
            self.packed.append(route)
        self.buffers[index] = buffer
        routes.opened[partition] = route
        return route

    def index(self, stream, key=None):
        return find_route(self, stream, key).index

    @property
    @cython.critical_section
    def filled(self):
        return [index for index, buffer in self.buffers.items() if (<CommandCore>buffer).command_count]

    @property
    def count(self):
        return self.runs.total

    @property
    @cython.critical_section
    def open_size(self):
        return sum([(<Route>route).open.length + (<Route>route).open.tag_bytes for route in self.packed])

    def close_entries(self):
        self.close_all()

    cdef int close_all(self) except -1:
        cdef Route route
        for route in list(self.packed):
            close_entry(route)
            if len(self.packed) > KEPT_OPEN:  # each would keep its memory
                route.open = OpenEntry(route.open.default, route.open.encode_body, route.head.packing)
                route.spare = None
        return 0

    cdef dict take_buffers(self):
        # Moves all commands out, into buffers of their own: by the index of the target.
        cdef dict taken = {}
        cdef CommandCore buffer, own
        for index, held in self.buffers.items():
            buffer = <CommandCore>held
            if buffer.command_count:
                own = type(held)()
                own.swap(buffer)
                taken[index] = own
        return taken

    def close_entry(self, stream, key=None):
        close_entry(find_route(self, stream, key))

    @cython.critical_section
    def check_idle(self):
        for buffer in self.buffers.values():
            (<CommandCore>buffer).check_idle()
        for route in self.packed:
            if (<Route>route).open.busy:
                raise encode_errors.in_use()

    @property
    @cython.critical_section
    def order(self):
        return self.runs.copy()

    def restart(self, order):
        self.start_order(order)

    @cython.critical_section
    cdef int start_order(self, object order) except -1:
        cdef Runs runs = Runs.__new__(Runs)
        for index, count in order:
            runs.add(index, count)
        self.runs = runs
        for routes in self.routes.values():
            (<Routes>routes).next = ((<Routes>routes).next + 1) % len((<Routes>routes).opened)
        return 0


cdef inline Route find_route(EventWriter self, object stream, object key):
    cdef Routes routes
    cdef Route route
    cdef Py_ssize_t partition
    with cython.critical_section(self):
        if stream is self.last_stream and self.last_routes is not None:
            routes = self.last_routes
        else:
            try:
                routes = <Routes>self.routes[stream]
            except (KeyError, TypeError):
                raise UnregisteredStreamError(stream) from None
            self.last_stream = stream
            self.last_routes = routes
        partition = routes.next
    if key is not None:
        partition = partition_of(routes, stream, key)
    route = <Route>routes.opened[partition]
    if route is None:
        route = self.opened(routes, stream, partition)
    return route


cdef inline int count_written(EventWriter self, Route route, Py_ssize_t count) except -1:
    with cython.critical_section(self):
        self.runs.add(route.lane, count)
    if route.buffer.length >= route.buffer.full_at and self.on_full is not None:
        self.on_full(route.index)
    return 0


cdef inline int write_one(
    EventWriter self, Route route, object stream, object body, object tags, object id
) except -1:
    cdef bytes prefix = route.prefix
    cdef bytes before_body = route.before_body
    if route.check_body is not None:
        check(route, stream, body)
    if route.open is not None and id is None:
        if (<attempt_packed>pack_event)(route, route.open, body, tags):
            entry_failed(stream)
        return count_written(self, route, 1)
    if id is not None:
        head = route.head.numbered(id)
        prefix, before_body = head.prefix, head.before_body
    if route.open is not None:
        close_entry(route)
    if (<attempt_entry>write_entry)(route.buffer, prefix, route.arguments, before_body, body, tags):
        entry_failed(stream)
    if route.open is not None:
        route.buffer.note_packed(route.lane, 1)
    return count_written(self, route, 1)


cdef Py_ssize_t partition_of(Routes routes, object stream, object key) except -1:
    if not routes.partitioned:
        raise without_partitions(stream)
    try:
        return hash_of(key) % <size_t>len(routes.opened)
    except SerializationError as error:
        error.stream = stream
        raise


cdef Routes new_routes(stream, heads):
    cdef Routes routes = Routes.__new__(Routes)
    routes.heads = heads
    routes.opened = [None] * len(heads)
    routes.partitioned = heads[0].partitioned
    routes.next = random.randrange(len(heads))  # or all flushers would begin with the same one
    return routes


cdef int check(Route route, stream, body) except -1:
    if type(body) is not route.exact:
        try:
            route.check_body(body)
        except SerializationError as error:
            error.stream = stream
            raise
    return 0


cdef int entry_failed(stream) except -1:
    # Adds the stream of the event to the pending exception.
    try:
        pending_exception()
    except SerializationError as error:
        error.stream = stream
        raise
    return 0


cdef Py_ssize_t write_entries(Route route, object bodies, object tags, object first) except -1:
    # Appends an entry for each body, or nothing if a body can't be written.
    cdef CommandCore out = route.buffer
    cdef Py_ssize_t before
    cdef Py_ssize_t count = 0
    if tags is not None:
        tags = checks.tags_as_dict(tags) or None
    with cython.critical_section(out):
        out.check_idle()
        out.busy = True
        before = out.length
    try:
        for body in bodies:
            if route.check_body is not None and type(body) is not route.exact:
                route.check_body(body)
            write_content(out, route.prefix, route.arguments, route.before_body, body, <dict>tags)
            count += 1
    except BaseException as error:
        out.length = before
        if isinstance(error, SerializationError):
            encode_errors.locate_in_many(error, first + count)
        raise
    else:
        out.command_count += count
    finally:
        with cython.critical_section(out):
            out.busy = False
    return count


# ---- packed streams ---------------------------------------------------------------------------------------


cdef int pack_event(Route route, OpenEntry open, object body, object tags) except -1:
    # Packs an event into the open entry. If that has no room for it, the entry is written into the buffer before.
    cdef Py_ssize_t before
    cdef Py_ssize_t cost = 0
    if tags is not None:
        tags = checks.tags_as_dict(tags) if type(tags) is not dict else tags
        if PyDict_Size(tags) == 0:
            tags = None
    if body is None and tags is None:
        raise encode_errors.empty_event()
    with cython.critical_section(open):
        if open.busy:
            raise encode_errors.in_use()
        open.busy = True
        before = open.length
        try:
            open.write_body(body)
            if tags is not None:
                cost = open.cost_of(<dict>tags)
            if not open.has_room_for(cost):
                route.buffer.check_idle()
                write_open(route, open, before)
                before = 0
                if tags is not None:
                    cost = open.cost_of(<dict>tags)
            if tags is not None:
                open.put_tags(<dict>tags)
        except BaseException:
            open.length = before
            raise
        finally:
            open.busy = False
        open.count += 1
        open.tag_bytes += cost
    return 0


cdef int write_open(Route route, OpenEntry open, Py_ssize_t size) except -1:
    # Writes the events of an entry, whose bodies are its first `size` bytes, into the buffer. To compress them may let
    # another thread run.
    cdef CommandCore out = route.buffer
    cdef bint before
    with cython.critical_section(out):
        before = out.busy
        out.busy = True
        try:
            open.write_to(out, route.prefix, route.arguments, size)
            out.command_count += 1
            out.note_packed(route.lane, open.count)
        finally:
            out.busy = before
    return open.start_over(size)


cdef int close_entry(Route route) except -1:
    # Writes what is packed so far, if there is something.
    cdef OpenEntry open = route.open
    if open is None:
        return 0
    with cython.critical_section(open, route.buffer):
        if open.busy:
            raise encode_errors.in_use()
        if open.count:
            route.buffer.check_idle()
            write_open(route, open, open.length)
    return 0


cdef Py_ssize_t pack_many(Route route, object bodies, object tags, object first) except -1:
    # Packs an event for each body, or nothing if a body can't be written. The events have an entry of their own until
    # all are packed: then those of the last entry join what was packed before, if they can.
    cdef CommandCore out = route.buffer
    cdef OpenEntry open = route.open
    cdef OpenEntry own = route.spare
    cdef Py_ssize_t before_length, before_commands, before
    cdef Py_ssize_t cost
    cdef Py_ssize_t count = 0
    if tags is not None:
        tags = checks.tags_as_dict(tags) or None
    if own is None:
        own = route.spare = OpenEntry(open.default, open.encode_body, route.head.packing)
    with cython.critical_section(out, open):
        out.check_idle()
        if open.busy:
            raise encode_errors.in_use()
        out.busy = open.busy = True
    before_length = out.length
    before_commands = out.command_count
    try:
        for body in bodies:
            if route.check_body is not None and type(body) is not route.exact:
                route.check_body(body)
            if body is None and tags is None:
                raise encode_errors.empty_event()
            before = own.length
            own.write_body(body)
            cost = 0 if tags is None else own.cost_of(<dict>tags)
            if not own.has_room_for(cost):
                if open.count:
                    write_open(route, open, open.length)
                    before_length = out.length
                    before_commands = out.command_count
                write_open(route, own, before)
                cost = 0 if tags is None else own.cost_of(<dict>tags)
            if tags is not None:
                own.put_tags(<dict>tags)
            own.count += 1
            own.tag_bytes += cost
            count += 1
        if own.count and (not open.count or not open.take_over(own, tags)):
            if open.count:
                write_open(route, open, open.length)
                before_length = out.length
                before_commands = out.command_count
            open.busy = False
            route.open, route.spare = own, open
    except BaseException as error:
        out.length = before_length
        out.command_count = before_commands
        if out.packed is not None:
            out.packed.truncate(before_commands)
        own.start_over(own.length)
        if isinstance(error, SerializationError):
            encode_errors.locate_in_many(error, first + count)
        raise
    finally:
        with cython.critical_section(out, open):
            out.busy = open.busy = False
    return count
