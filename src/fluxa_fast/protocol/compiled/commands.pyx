"""RESP commands, appended to one buffer. The body of an XADD is packed straight into it."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memmove

from .buffer cimport FLUXA_FAST_VERSION
from .endian cimport count_digits, store_decimal
from .events cimport Event, next_bulk
from .limits cimport MAX_BULK
from .msgpack cimport Packer

from ...errors import SerializationError, UnregisteredStreamError
from .. import plain
from ..commands import StreamCommands
from ..resp import argument_bytes

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL

built_for = FLUXA_FAST_VERSION.decode()


cdef class CommandCore(Packer):
    """The compiled part of `CommandBuffer`."""

    def __init__(self, default=None):
        self.default = default
        self.length_digits = 2

    def view(self):
        return PyMemoryView_FromObject(self)

    def command(self, *arguments):
        cdef Py_ssize_t before = self.length
        cdef bytes argument
        if self.busy:
            raise plain.in_default_hook()
        if not arguments:
            raise ValueError("a command has a name at least")
        try:
            self.write_header(42, len(arguments))
            for value in arguments:
                argument = argument_bytes(value)
                self.write_bulk(PyBytes_AS_STRING(argument), PyBytes_GET_SIZE(argument))
        except BaseException:
            self.length = before
            raise
        self.commands += 1

    def entry(self, head, body=None, tags=None):
        self.write_entry(head.prefix, head.arguments, body, tags)

    # *<arguments>\r\n <prefix> [$1\r\ns\r\n $<size>\r\n<msgpack>\r\n] [<name> <value>]...
    cdef int write_entry(self, bytes prefix, Py_ssize_t arguments, object body, object tags) except -1:
        cdef Py_ssize_t before = self.length
        if self.busy:
            raise plain.in_default_hook()
        if body is not None:
            arguments += 2
        if tags is not None:
            if type(tags) is not dict:
                tags = plain.tags_as_dict(tags)
            arguments += 2 * PyDict_Size(tags)
            if PyDict_Size(tags) == 0:
                tags = None
        if body is None and tags is None:
            raise plain.empty_event()
        self.busy = True
        try:
            self.write_header(42, arguments)
            self.write(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
            if body is not None:
                self.write_body(body)
            if tags is not None:
                self.write_tags(tags)
        except BaseException:
            self.length = before
            raise
        finally:
            self.busy = False
        self.commands += 1
        return 0

    cdef int write_body(self, object body) except -1:
        # The length stands before the body, but is known after it: a gap of as many digits as the last body
        # had is left for it, and the body is moved when that was wrong.
        cdef int gap = self.length_digits
        cdef int digits
        cdef Py_ssize_t begin, size
        cdef unsigned char *at
        self.write("$1\r\ns\r\n$", 8)
        self.room(gap + 2)
        self.length += gap + 2
        begin = self.length
        try:
            self.pack_value(body, 0)
            size = self.length - begin
            if size > MAX_BULK:
                raise plain.body_too_large(size)
        except SerializationError as error:
            error._located("body")
            raise
        digits = count_digits(size)
        self.room(digits - gap + 2 if digits > gap else 2)
        at = self.start + begin
        if digits != gap:
            memmove(at + digits - gap, at, size)
            self.length += digits - gap
            self.length_digits = digits
        at -= gap + 2
        store_decimal(at, size)
        at[digits] = 13
        at[digits + 1] = 10
        at = self.start + self.length
        at[0] = 13
        at[1] = 10
        self.length += 2
        return 0

    cdef int write_tags(self, object tags) except -1:
        cdef Py_ssize_t size = PyDict_Size(tags)
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t written = 0
        cdef PyObject *name_pointer
        cdef PyObject *value_pointer
        while PyDict_Next(tags, &position, &name_pointer, &value_pointer):
            self.write_tag(<object>name_pointer, <object>value_pointer)
            written += 1
        if written != size:
            raise plain.changed()
        return 0

    cdef int write_tag(self, object tag, object value) except -1:
        cdef Py_ssize_t size
        cdef const char *text
        if not isinstance(tag, str) or not isinstance(value, str):
            raise plain.refused_tag(tag, value)
        try:
            text = PyUnicode_AsUTF8AndSize(tag, &size)
            if size == 1 and text[0] == 115:
                raise plain.refused_tag(tag, value)
            self.write_bulk(text, size)
            text = PyUnicode_AsUTF8AndSize(value, &size)
            if size > MAX_BULK:
                raise plain.refused_tag(tag, value)
            self.write_bulk(text, size)
        except UnicodeEncodeError as error:
            raise plain.refused_tag(tag, value, error) from None
        return 0

    def with_ids(self, arguments, events):
        cdef list waiting = [event for event in events if not (<Event?>event).is_acknowledged]
        cdef Py_ssize_t before = self.length
        cdef unsigned char text[48]
        cdef Event event
        cdef bytes argument
        if self.busy:
            raise plain.in_default_hook()
        if not waiting:
            return 0
        sort_by_id(waiting)
        try:
            self.write_header(42, len(arguments) + len(waiting))
            for value in arguments:
                argument = argument_bytes(value)
                self.write_bulk(PyBytes_AS_STRING(argument), PyBytes_GET_SIZE(argument))
            for event in waiting:
                self.write_bulk(text, event.store_id(text))
        except BaseException:
            self.length = before
            raise
        self.commands += 1
        return len(waiting)

    cdef Py_ssize_t skip_command(self, Py_ssize_t at) noexcept:
        # Where the command after the one at `at` begins.
        cdef Py_ssize_t arguments
        cdef Py_ssize_t size
        cdef const unsigned char *end = next_bulk(self.start + at, &arguments)
        while arguments:
            end = next_bulk(end, &size) + size + 2
            arguments -= 1
        return end - self.start

    def keys(self, positions):
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t current = 0
        cdef Py_ssize_t size
        cdef Py_ssize_t wanted
        cdef const unsigned char *key
        found = []
        for wanted in positions:
            if wanted < current or wanted >= self.commands:
                raise IndexError("positions are ascending, and below the number of commands")
            while current < wanted:
                at = self.skip_command(at)
                current += 1
            key = next_bulk(self.start + at, &size)
            key = next_bulk(key, &size)
            key = next_bulk(key + size + 2, &size)
            found.append(key[:size].decode("utf-8", "surrogateescape"))
        return found

    def keep(self, positions):
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t kept = 0
        cdef Py_ssize_t current = 0
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t following
        cdef Py_ssize_t wanted
        if self.views:
            raise BufferError("the buffer can't be written to while a view of it is held")
        for wanted in sorted(set(positions)):
            if wanted < 0 or wanted >= self.commands:
                raise IndexError("positions are below the number of commands")
            while current < wanted:
                at = self.skip_command(at)
                current += 1
            following = self.skip_command(at)
            memmove(self.start + kept, self.start + at, following - at)
            # What was kept lies in front of what is still to be looked at, so the walk may go on.
            kept += following - at
            at = following
            current += 1
            count += 1
        self.length = kept
        self.commands = count
        if not count:
            self.clear()

    def clear(self):
        if self.busy:
            raise plain.in_default_hook()
        self.give_back()
        self.commands = 0


cdef int sort_by_id(list events) except -1:
    # They nearly always are in order already.
    cdef Event event
    cdef uint64_t milliseconds = 0
    cdef uint64_t sequence = 0
    for event in events:
        if event.milliseconds < milliseconds or (event.milliseconds == milliseconds and event.sequence < sequence):
            events.sort(key=lambda event: ((<Event>event).milliseconds, (<Event>event).sequence))
            return 0
        milliseconds = event.milliseconds
        sequence = event.sequence
    return 0


class CommandBuffer(CommandCore, StreamCommands):
    """`..interface.CommandBuffer`, compiled."""

    __slots__ = ()


@cython.final
@cython.internal
cdef class Route:
    # Where the events of one stream go.
    cdef bytes prefix
    cdef Py_ssize_t arguments
    cdef Py_ssize_t index
    cdef CommandCore buffer


@cython.final
cdef class EventWriter:
    """`..interface.EventWriter`, compiled."""

    cdef dict routes
    cdef list runs
    cdef Py_ssize_t run_index
    cdef Py_ssize_t run_length

    def __init__(self, routes, buffers):
        cdef Route route
        self.routes = {}
        for stream, (head, index) in routes.items():
            route = Route.__new__(Route)
            route.prefix = head.prefix
            route.arguments = head.arguments
            route.index = index
            route.buffer = buffers[index]
            self.routes[stream] = route
        self.restart(())

    def publish(self, stream, body=None, tags=None):
        cdef Route route
        try:
            route = <Route>self.routes[stream]
        except (KeyError, TypeError):
            raise UnregisteredStreamError(stream) from None
        try:
            route.buffer.write_entry(route.prefix, route.arguments, body, tags)
        except SerializationError as error:
            error.stream = stream
            raise
        if route.index != self.run_index:
            self.close_run()
            self.run_index = route.index
        self.run_length += 1

    cdef int close_run(self) except -1:
        if self.run_length:
            self.runs.append((self.run_index, self.run_length))
        self.run_length = 0
        return 0

    @property
    def order(self):
        self.close_run()
        self.run_index = -1
        return list(self.runs)

    def restart(self, order):
        self.runs = list(order)
        self.run_index = -1
        self.run_length = 0
