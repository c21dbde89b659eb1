"""An incremental reader of RESP2 and RESP3, and the replies to pipelines of XADDs.

A reply is read in two steps. `scan` walks over the headers and finds the end of the reply. It keeps its place, so
no byte is scanned twice when more bytes arrive, and it allocates nothing for what a header announces. When the reply
has arrived in full, it is decoded at once; entries of a stream become `Event` objects directly.

The file is long because both steps are methods of one class, which the C compiler inlines into each other.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport UINT64_MAX, int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove

from .buffer cimport FLUXA_FAST_VERSION, ByteBuffer
from .endian cimport store_decimal
from .events cimport Event, new_event
from .limits cimport KEEP_BUFFER, MAX_BULK, MAX_ITEMS, MAX_LINE, MAX_REPLY_DEPTH
from .memory cimport release_memory, resized_memory
from .packed_reading cimport split_entry
from .wire cimport PACKED_FIELD_RESP, PACKED_FIELD_RESP_SIZE

from ...errors import ProtocolError
from .. import decode_errors, scalars
from ..interface import INCOMPLETE, EventBatch

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

built_for = FLUXA_FAST_VERSION.decode()

cdef enum:
    RECEIVE = 64 * 1024  # bytes: the least room of a receive

    # `missing` holds these for the streamed forms of RESP3, which have an end instead of a length.
    STREAMED_ITEMS = -1
    STREAMED_BYTES = -2

    NULL_LENGTH = -1
    STREAMED_LENGTH = -3

cdef enum:  # replies of stream reads
    STREAMS         # XREADGROUP, XREAD
    CLAIMED         # XAUTOCLAIM
    RANGE           # XRANGE

cdef enum:
    PLUS = 43       # + simple string
    MINUS = 45      # - error
    COLON = 58      # : integer
    DOLLAR = 36     # $ bulk string
    STAR = 42       # * array
    UNDERSCORE = 95  # _ null
    COMMA = 44      # , double
    PAREN = 40      # ( big number
    BANG = 33       # ! bulk error
    EQUALS = 61     # = verbatim string
    HASH = 35       # # boolean
    PERCENT = 37    # % map
    TILDE = 126     # ~ set
    PIPE = 124      # | attribute
    GREATER = 62    # > push
    SEMICOLON = 59  # ; chunk of a streamed string
    DOT = 46        # . end of a streamed aggregate


@cython.final
cdef class ReplyReader:
    """`..interface.ReplyReader`, compiled."""

    def __dealloc__(self):
        release_memory(self.start, self.capacity_)

    # ---- receiving ----

    def get_buffer(self, sizehint=-1):
        cdef Py_ssize_t wanted = sizehint
        self.make_room(wanted if wanted > 0 else RECEIVE)
        return PyMemoryView_FromObject(self)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.end == self.capacity_:
            self.make_room(RECEIVE)
        PyBuffer_FillInfo(view, self, self.start + self.end, self.capacity_ - self.end, 0, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.views -= 1

    def buffer_updated(self, nbytes):
        cdef Py_ssize_t received = nbytes
        if received < 0 or received > self.capacity_ - self.end:
            raise ValueError("more bytes than get_buffer() had room for")
        self.end += received

    def feed(self, received):
        cdef Py_buffer view
        PyObject_GetBuffer(received, &view, PyBUF_SIMPLE)
        try:
            self.make_room(view.len)
            memcpy(self.start + self.end, view.buf, view.len)
            self.end += view.len
        finally:
            PyBuffer_Release(&view)

    cdef int make_room(self, Py_ssize_t wanted) except -1:
        cdef Py_ssize_t capacity
        cdef unsigned char *moved
        if self.capacity_ - self.end >= wanted and self.start is not NULL:
            return 0
        if self.views:
            raise BufferError("the reader can't make room while a view of it is held")
        if self.begin:
            memmove(self.start, self.start + self.begin, self.end - self.begin)
            self.end -= self.begin
            self.scanned -= self.begin
            self.searched -= self.begin
            self.begin = 0
        capacity = self.capacity_ or RECEIVE
        if wanted > PY_SSIZE_T_MAX // 2 - self.end:
            raise MemoryError
        while capacity - self.end < wanted:
            capacity *= 2
        if capacity != self.capacity_:
            moved = <unsigned char *>resized_memory(self.start, self.capacity_, capacity)
            if moved is NULL:
                raise MemoryError
            self.start = moved
            self.capacity_ = capacity
        return 0

    @property
    def unread(self):
        return self.end - self.begin

    @property
    def capacity(self):
        return self.capacity_

    def reset(self):
        self.begin = self.end = self.scanned = self.searched = 0
        self.depth = 0
        self.broken = False

    # ---- scanning ----

    cdef int fail(self, error) except -1:
        self.broken = True
        raise error

    cdef bint ready(self) except -1:
        # True if the reply at `begin` has arrived in full; `scanned` is then its end. Skips pushes.
        if self.broken:
            raise decode_errors.reader_broken()
        while self.scan():
            if self.start[self.begin] != GREATER:
                self.at = self.begin
                return True
            self.finish()
        return False

    cdef int scan(self) except -1:
        cdef int state
        if self.begin == self.end:
            return 0
        while True:
            if self.scan_plain():
                return 1
            state = self.scan_element()
            if state <= 0:
                return 0
            if self.depth == 0 and state == 2:
                return 1

    # Passes arrays and strings with a length, of which stream replies are made, as long as they have arrived in full.
    # True at the end of the reply; otherwise `scan_element` has to look at the next element.
    cdef bint scan_plain(self) noexcept:
        cdef const unsigned char *at
        cdef const unsigned char *end = self.start + self.end
        cdef const unsigned char *element = self.start + self.scanned
        cdef int64_t length
        cdef unsigned char digit
        if self.depth and self.missing[self.depth - 1] == STREAMED_BYTES:
            return False
        while end - element > 12 and (element[0] == DOLLAR or element[0] == STAR):
            length = 0
            at = element + 1
            digit = at[0] - 48
            while digit <= 9 and at < element + 9:
                length = 10 * length + digit
                at += 1
                digit = at[0] - 48
            if at == element + 1 or at[0] != 13 or at[1] != 10:
                return False
            at += 2
            if element[0] == DOLLAR:
                if end - at < length + 2 or at[length] != 13 or at[length + 1] != 10:
                    return False
                element = at + length + 2
                self.scanned = element - self.start
                if self.close_element() == 2:
                    return True
            else:
                if length == 0 or self.depth == MAX_REPLY_DEPTH:
                    return False
                element = at
                self.scanned = element - self.start
                self.missing[self.depth] = length
                self.attribute[self.depth] = False
                self.depth += 1
        return False

    # 0: incomplete; 1: an element was passed; 2: an element was passed and no aggregate is open
    cdef int scan_element(self) except -1:
        cdef Py_ssize_t line = self.scanned
        cdef Py_ssize_t after
        cdef const unsigned char *found
        cdef unsigned char marker
        cdef int64_t length
        cdef bint in_chunks = self.depth > 0 and self.missing[self.depth - 1] == STREAMED_BYTES
        if self.searched < line:
            self.searched = line
        found = NULL
        if self.searched < self.end:
            found = <const unsigned char *>memchr(self.start + self.searched, 10, self.end - self.searched)
        if found is NULL:
            self.searched = self.end
            if self.end - line > MAX_LINE:
                self.fail(decode_errors.line_too_long())
            if self.end > line:
                self.check_marker(self.start[line], in_chunks)
            return 0
        after = found - self.start + 1
        marker = self.start[line]
        self.check_marker(marker, in_chunks)
        if after - line < 3 or self.start[after - 2] != 13:
            self.fail(decode_errors.no_line_end("a line"))
        if after - line > MAX_LINE:
            self.fail(decode_errors.line_too_long())
        if marker == DOLLAR or marker == EQUALS or marker == BANG or marker == SEMICOLON:
            length = self.length_in(line + 1, after - 2)
            if length == STREAMED_LENGTH:
                if marker != DOLLAR:
                    self.fail(decode_errors.bad_length(self.start[line:after - 2]))
                self.scanned = after
                self.open_aggregate(STREAMED_BYTES, False)
                return 1
            if length == NULL_LENGTH:
                if marker != DOLLAR:
                    self.fail(decode_errors.bad_length(self.start[line:after - 2]))
                self.scanned = after
                return self.close_element()
            if length > MAX_BULK:
                self.fail(decode_errors.bulk_too_long(length))
            if marker == SEMICOLON and length == 0:
                self.scanned = after
                self.depth -= 1
                return self.close_element()
            if self.end - after < length + 2:
                return 0
            if self.start[after + length] != 13 or self.start[after + length + 1] != 10:
                self.fail(decode_errors.no_line_end("a bulk string"))
            self.scanned = after + length + 2
            return 1 if marker == SEMICOLON else self.close_element()
        if marker == STAR or marker == PERCENT or marker == TILDE or marker == GREATER or marker == PIPE:
            length = self.length_in(line + 1, after - 2)
            if length == STREAMED_LENGTH:
                if marker == GREATER or marker == PIPE:
                    self.fail(decode_errors.bad_length(self.start[line:after - 2]))
                self.scanned = after
                self.open_aggregate(STREAMED_ITEMS, False)
                return 1
            if length == NULL_LENGTH:
                if marker != STAR:
                    self.fail(decode_errors.bad_length(self.start[line:after - 2]))
                self.scanned = after
                return self.close_element()
            if length > MAX_ITEMS:
                self.fail(decode_errors.too_many_items(length))
            if marker == PERCENT or marker == PIPE:
                length *= 2
            self.scanned = after
            if length == 0:
                return 1 if marker == PIPE else self.close_element()
            self.open_aggregate(length, marker == PIPE)
            return 1
        self.scanned = after
        if marker == DOT:
            if after - line != 3 or self.depth == 0 or self.missing[self.depth - 1] != STREAMED_ITEMS:
                self.fail(decode_errors.misplaced_end())
            self.depth -= 1
        return self.close_element()

    cdef int check_marker(self, unsigned char marker, bint in_chunks) except -1:
        if in_chunks != (marker == SEMICOLON):
            self.fail(decode_errors.unknown_type(marker))
        if not memchr(b"+-:$*_,(!=#%~|>;.", marker, 17):
            self.fail(decode_errors.unknown_type(marker))
        return 0

    cdef int open_aggregate(self, int64_t count, bint attribute) except -1:
        if self.depth == MAX_REPLY_DEPTH:
            self.fail(decode_errors.reply_too_deep())
        self.missing[self.depth] = count
        self.attribute[self.depth] = attribute
        self.depth += 1
        return 0

    cdef inline int close_element(self) noexcept:
        # Counts a complete element, and closes the aggregates whose last element it was.
        while self.depth:
            if self.missing[self.depth - 1] < 0:
                return 1
            self.missing[self.depth - 1] -= 1
            if self.missing[self.depth - 1]:
                return 1
            self.depth -= 1
            if self.attribute[self.depth]:
                return 1  # an attribute stands before an element, and does not count as one
        return 2

    cdef int64_t length_in(self, Py_ssize_t line, Py_ssize_t line_end) except? -2:
        # Returns a length, NULL_LENGTH or STREAMED_LENGTH.
        cdef int64_t length = 0
        cdef Py_ssize_t place
        cdef unsigned char digit
        if line_end - line == 1 and self.start[line] == 63:
            return STREAMED_LENGTH
        if line_end - line == 2 and self.start[line] == MINUS and self.start[line + 1] == 49:
            return NULL_LENGTH
        if line == line_end or line_end - line > 18:
            self.fail(decode_errors.bad_length(self.start[line - 1:line_end]))
        for place in range(line, line_end):
            digit = self.start[place] - 48
            if digit > 9:
                self.fail(decode_errors.bad_length(self.start[line - 1:line_end]))
            length = 10 * length + digit
        return length

    cdef int finish(self) except -1:
        # Drops the reply that ends at `scanned`.
        self.begin = self.scanned
        if self.begin == self.end and not self.views:
            self.begin = self.end = self.scanned = self.searched = 0
            if self.capacity_ > KEEP_BUFFER:
                release_memory(self.start, self.capacity_)
                self.start = NULL
                self.capacity_ = 0
        return 0

    # ---- decoding: `at` walks over a well-formed reply ----

    def read(self):
        if not self.ready():
            return INCOMPLETE
        try:
            reply = self.value()
        except ProtocolError:
            self.broken = True
            raise
        self.finish()
        return reply

    def read_id(self):
        cdef Py_ssize_t size
        cdef const unsigned char *id
        if not self.ready():
            return INCOMPLETE
        try:
            reply = self.value()
            if type(reply) is bytes:
                id = <const unsigned char *>PyBytes_AS_STRING(reply)
                size = PyBytes_GET_SIZE(reply)
                if not is_id(id, id + size):
                    raise decode_errors.unexpected_reply("the ID of an entry", reply)
                reply = id[:size].decode("ascii")
            elif type(reply) is not scalars.ErrorReply:
                raise decode_errors.unexpected_reply("the ID of an entry", reply)
        except ProtocolError:
            self.broken = True
            raise
        self.finish()
        return reply

    def read_number(self):
        if not self.ready():
            return INCOMPLETE
        try:
            reply = self.value()
            if type(reply) is not int and type(reply) is not scalars.ErrorReply:
                raise decode_errors.unexpected_reply("a number", reply)
        except ProtocolError:
            self.broken = True
            raise
        self.finish()
        return reply

    cdef Py_ssize_t skip_line(self) noexcept:
        # Moves `at` behind its line, and returns the end of the text of that line.
        cdef const unsigned char *found = <const unsigned char *>memchr(
            self.start + self.at, 10, self.scanned - self.at)
        self.at = found - self.start + 1
        return self.at - 2

    cdef bytes line(self):
        cdef Py_ssize_t begin = self.at + 1
        return self.start[begin:self.skip_line()]

    cdef int64_t count_at(self) except? -2:
        cdef Py_ssize_t begin = self.at + 1
        return self.length_in(begin, self.skip_line())

    cdef inline int64_t plain_count(self) noexcept:
        # Returns the count of the element at `at`, and moves `at` behind it. If there is no count: -1, and `at` stays.
        cdef const unsigned char *place = self.start + self.at + 1
        cdef int64_t count = 0
        if place[0] < 48 or place[0] > 57:
            return -1
        while place[0] != 13:
            count = 10 * count + (place[0] - 48)
            place += 1
        self.at = place + 2 - self.start
        return count

    cdef bytes payload(self):
        # Returns the bytes of a bulk string, or None. The chunks of a streamed one are joined.
        cdef int64_t length = self.count_at()
        cdef Py_ssize_t begin = self.at
        cdef list chunks
        if length == NULL_LENGTH:
            return None
        if length == STREAMED_LENGTH:
            chunks = []
            while True:
                length = self.count_at()
                if length == 0:
                    return b"".join(chunks)
                chunks.append(self.start[self.at:self.at + length])
                self.at += length + 2
        self.at += length + 2
        return PyBytes_FromStringAndSize(<const char *>self.start + begin, length)

    cdef object value(self):
        cdef unsigned char marker = self.next_marker()
        cdef int64_t count
        if marker == DOLLAR:
            return self.payload()
        if marker == PLUS:
            return self.line()
        if marker == COLON:
            return self.integer()
        if marker == STAR or marker == TILDE or marker == GREATER:
            count = self.count_at()
            return None if count == NULL_LENGTH else self.elements(count)
        if marker == PERCENT:
            return self.pairs(self.count_at())
        if marker == MINUS:
            return scalars.error(self.line())
        if marker == BANG:
            return scalars.error(self.payload())
        if marker == UNDERSCORE:
            return scalars.null(self.line())
        if marker == HASH:
            return scalars.boolean(self.line())
        if marker == COMMA:
            return scalars.double(self.line())
        if marker == PAREN:
            return scalars.big_number(self.line())
        return scalars.verbatim(self.payload())

    cdef object integer(self):
        # :<digits>
        cdef Py_ssize_t at = self.at + 1
        cdef int64_t number = 0
        cdef unsigned char digit = self.start[at] - 48
        while digit <= 9 and at < self.at + 19:  # 18 digits fit into 64 bits
            number = 10 * number + digit
            at += 1
            digit = self.start[at] - 48
        if at > self.at + 1 and self.start[at] == 13 and self.start[at + 1] == 10:
            self.at = at + 2
            return number
        return scalars.integer(self.line())

    cdef unsigned char next_marker(self) except 0:
        # Skips the attributes in front of the element at `at`, and returns the marker of its type.
        cdef int64_t count
        while self.start[self.at] == PIPE:
            count = 2 * self.count_at()
            while count:
                self.value()
                count -= 1
        return self.start[self.at]

    cdef list elements(self, int64_t count):
        cdef list items = []
        if count == STREAMED_LENGTH:
            while self.next_marker() != DOT:
                items.append(self.value())
            self.skip_line()
            return items
        while count:
            items.append(self.value())
            count -= 1
        return items

    cdef dict pairs(self, int64_t count):
        cdef dict items = {}
        cdef bint streamed = count == STREAMED_LENGTH
        while streamed or count:
            if streamed and self.next_marker() == DOT:
                self.skip_line()
                break
            key = self.value()
            if streamed and self.next_marker() == DOT:
                raise decode_errors.misplaced_end()
            item = self.value()
            try:
                items[key] = item
            except TypeError:
                raise decode_errors.unhashable_reply_key() from None
            count -= 1
        return items

    # ---- decoding: replies of stream reads ----

    def read_streams(self, acknowledge=None):
        return self.read_batch(STREAMS, None, acknowledge)

    def read_claimed(self, stream, acknowledge=None):
        return self.read_batch(CLAIMED, stream, acknowledge)

    def read_range(self, stream, acknowledge=None):
        return self.read_batch(RANGE, stream, acknowledge)

    cdef object read_batch(self, int kind, str stream, acknowledge):
        cdef unsigned char marker
        if not self.ready():
            return INCOMPLETE
        try:
            marker = self.next_marker()
            if marker == MINUS or marker == BANG:
                batch = self.value()
            else:
                batch = EventBatch()
                self.extra_events = 0
                if self.peek_null():
                    self.take_null()
                elif kind == STREAMS:
                    self.take_streams(batch, acknowledge)
                elif kind == CLAIMED:
                    self.take_claimed(batch, stream, acknowledge)
                else:
                    self.take_entries(batch, stream, acknowledge)
                if self.extra_events:
                    batch.extra = self.extra_events
                    batch.size = self.at - self.begin
        except ProtocolError:
            self.broken = True
            raise
        self.finish()
        return batch

    # Reads the reply to XREADGROUP or XREAD. RESP2: [[stream, entries], ...]; RESP3: {stream: entries, ...}
    cdef int take_streams(self, batch, acknowledge) except -1:
        cdef int64_t count
        cdef Py_ssize_t size
        cdef const unsigned char *name
        cdef bint paired = self.next_marker() == STAR
        if paired:
            count = self.take_array("an array of streams")
        else:
            if self.next_marker() != PERCENT:
                raise self.unexpected("an array or a map of streams")
            count = self.count_at()
        if count < 0:
            raise decode_errors.unexpected_reply("an array or a map of streams", "a streamed aggregate")
        while count:
            count -= 1
            if paired and self.take_array("a stream and its entries") != 2:
                raise decode_errors.unexpected_reply("a stream and its entries", "an array of another length")
            name = self.take_bulk(&size, "the name of a stream")
            stream = name[:size].decode("utf-8", "surrogateescape")
            self.take_entries(batch, stream, acknowledge.get(stream) if type(acknowledge) is dict else acknowledge)
        return 0

    # Reads the reply to XAUTOCLAIM: [cursor, entries] and, since Redis 7.0, the IDs of deleted entries.
    cdef int take_claimed(self, batch, str stream, acknowledge) except -1:
        cdef uint64_t milliseconds, sequence
        cdef int64_t count = self.take_array("a cursor and entries")
        if count != 2 and count != 3:
            raise decode_errors.unexpected_reply("a cursor and entries", "an array of another length")
        self.take_id(&milliseconds, &sequence)
        batch.cursor = f"{milliseconds}-{sequence}"
        self.take_entries(batch, stream, acknowledge)
        if count == 3:
            count = self.take_array("the IDs of deleted entries")
            batch.dropped = count
            while count > 0:
                self.take_id(&milliseconds, &sequence)
                count -= 1
        return 0

    # Reads entries: the whole reply to XRANGE, or a part of the other replies.
    cdef int take_entries(self, batch, str stream, acknowledge) except -1:
        cdef int64_t count
        cdef list events = batch.events
        cdef list deleted = batch.deleted
        if self.peek_null():
            return self.take_null()
        count = self.take_array("an array of entries")
        while count:
            count -= 1
            if self.peek_null():  # XAUTOCLAIM of Redis 6.2 does not even tell the ID of a deleted entry
                self.take_null()
                continue
            self.take_entry(events, deleted, stream, acknowledge)
        return 0

    # Reads [id, fields] or, with CLAIM, [id, fields, idle ms, deliveries]. Fields are null if the entry was deleted.
    cdef int take_entry(self, list events, list deleted, str stream, acknowledge) except -1:
        cdef int64_t parts = self.take_array("an entry")
        cdef int64_t count
        cdef uint64_t milliseconds, sequence
        cdef Py_ssize_t fields, size
        cdef Event event = None
        if parts != 2 and parts != 4:
            raise decode_errors.unexpected_reply("an entry of 2 or 4 elements", "an array of another length")
        self.take_id(&milliseconds, &sequence)
        if self.peek_null():
            self.take_null()
            deleted.append(f"{milliseconds}-{sequence}")
        else:
            count = self.take_array("the fields of an entry")
            if count & 1:
                raise decode_errors.unexpected_reply("names and values in turn", "an odd number of fields")
            fields = self.at
            if count >= 4 and memcmp(self.start + fields, PACKED_FIELD_RESP, PACKED_FIELD_RESP_SIZE) == 0:
                return self.take_packed(events, parts, count, milliseconds, sequence, stream, acknowledge)
            while count:
                self.take_bulk(&size, "a field")
                count -= 1
            event = new_event(milliseconds, sequence, stream, self.start + fields, self.at - fields, acknowledge)
            events.append(event)
        if parts == 4:
            count = self.take_integer("milliseconds of being idle")
            if event is not None:
                event.idle_milliseconds = count
            count = self.take_integer("a number of deliveries")
            if event is not None:
                event.deliveries = count
        return 0

    # Reads the fields of a packed entry, and what stands behind them.
    cdef int take_packed(
        self, list events, int64_t parts, int64_t count, uint64_t milliseconds, uint64_t sequence, str stream,
        acknowledge,
    ) except -1:
        cdef Py_ssize_t fields = self.at
        cdef Py_ssize_t size
        cdef Py_ssize_t first = len(events)
        cdef Event event
        while count:
            self.take_bulk(&size, "a field")
            count -= 1
        event = new_event(milliseconds, sequence, stream, self.start + fields, self.at - fields, acknowledge)
        self.extra_events += split_entry(event, events) - 1
        if parts == 4:
            count = self.take_integer("milliseconds of being idle")
            for event in events[first:]:
                event.idle_milliseconds = count
            count = self.take_integer("a number of deliveries")
            for event in events[first:]:
                event.deliveries = count
        return 0

    cdef bint peek_null(self) except -1:
        # Whether the next element is null: _\r\n, $-1\r\n or *-1\r\n
        cdef unsigned char marker = self.start[self.at]
        if marker == PIPE:
            marker = self.next_marker()
        if marker == UNDERSCORE:
            return True
        return ((marker == DOLLAR or marker == STAR)
                and self.start[self.at + 1] == MINUS and self.start[self.at + 2] == 49)

    cdef int take_null(self) except -1:
        self.value()
        return 0

    cdef int64_t take_array(self, expected) except? -2:
        cdef int64_t count
        if self.start[self.at] != STAR and self.next_marker() != STAR:
            raise self.unexpected(expected)
        count = self.plain_count()
        if count < 0:
            raise decode_errors.unexpected_reply(expected, "an array without a length")
        return count

    cdef const unsigned char *take_bulk(self, Py_ssize_t *size, expected) except NULL:
        cdef int64_t length
        cdef const unsigned char *taken
        if self.start[self.at] != DOLLAR:
            raise self.unexpected(expected)
        length = self.plain_count()
        if length < 0:
            raise decode_errors.unexpected_reply(expected, "a string without a length")
        taken = self.start + self.at
        self.at += length + 2
        size[0] = length
        return taken

    cdef int64_t take_integer(self, expected) except? -1:
        if self.next_marker() != COLON:
            raise self.unexpected(expected)
        return self.integer()

    cdef int take_id(self, uint64_t *milliseconds, uint64_t *sequence) except -1:
        # Reads <milliseconds>-<sequence>, two 64-bit numbers.
        cdef Py_ssize_t size
        cdef const unsigned char *text = self.take_bulk(&size, "the ID of an entry")
        cdef const unsigned char *dash = <const unsigned char *>memchr(text, MINUS, size)
        if dash is NULL or not parse(text, dash, milliseconds) or not parse(dash + 1, text + size, sequence):
            raise decode_errors.not_an_id(text[:size])
        return 0

    cdef object unexpected(self, expected):
        # Returns the error for an element at `at` of a wrong type.
        return decode_errors.unexpected_reply(expected, self.value())


cdef bint is_id(const unsigned char *at, const unsigned char *end) noexcept:
    # Whether it has the form of an entry's ID: <at most 20 digits>-<at most 20 digits>
    cdef int part
    cdef const unsigned char *begin
    for part in range(2):
        begin = at
        while at < end and <unsigned char>(at[0] - 48) <= 9:
            at += 1
        if at == begin or at - begin > 20:
            return False
        if part == 0:
            if at == end or at[0] != MINUS:
                return False
            at += 1
    return at == end


cdef bint parse(const unsigned char *at, const unsigned char *end, uint64_t *number) noexcept nogil:
    cdef uint64_t total = 0
    cdef unsigned char digit
    cdef const unsigned char *safe = at + 19  # 19 digits fit into 64 bits, whatever they are
    if at == end or end - at > 20:
        return False
    while at < end:
        digit = at[0] - 48
        if digit > 9 or (at >= safe and total > (UINT64_MAX - digit) // 10):
            return False
        total = 10 * total + digit
        at += 1
    number[0] = total
    return True


@cython.final
cdef class Confirmations:
    """`..interface.Confirmations`, compiled.

    IDs are kept as runs, because a server numbers the entries of a millisecond: 24 bytes hold hundreds of IDs.
    """

    def __init__(self, expected):
        self.expected = expected
        self.runs = ByteBuffer()
        self.errors = []
        self.nulls = []

    cpdef bint take(self, ReplyReader reader) except -1:
        cdef unsigned char marker
        cdef uint64_t milliseconds, sequence
        while self.received < self.expected:
            if self.take_plain(reader):
                continue
            if not reader.ready():
                return False
            marker = reader.start[reader.begin]
            try:
                if marker == DOLLAR and reader.start[reader.begin + 1] != MINUS:
                    reader.take_id(&milliseconds, &sequence)
                    self.add(milliseconds, sequence)
                else:
                    reply = reader.value()
                    if isinstance(reply, scalars.ErrorReply):
                        self.errors.append((self.received, reply.message))
                    elif reply is None:
                        self.nulls.append(self.received - len(self.errors))
                    else:
                        raise decode_errors.unexpected_reply("the ID of an entry", reply)
            except ProtocolError:
                reader.broken = True
                raise
            self.received += 1
            reader.finish()
        return True

    cdef bint take_plain(self, ReplyReader reader) except -1:
        # Takes plain replies as long as they are there. True if one was.
        self.runs.room(sizeof(Run))
        if not self.take_plain_now(reader):
            return False
        reader.finish()
        return True

    cdef Py_ssize_t take_plain_now(self, ReplyReader reader) noexcept nogil:
        # Takes $<2 digits>\r\n<13 digits>-<at most 18 digits>\r\n as long as such replies are there, and room for their
        # IDs. Returns how many. The reader may have no views, or the caller has to call `finish`.
        cdef const unsigned char *at = reader.start + reader.begin
        cdef const unsigned char *end = reader.start + reader.end
        cdef const unsigned char *id
        cdef const unsigned char *same = NULL   # the milliseconds of the reply before
        cdef uint64_t milliseconds = 0
        cdef uint64_t sequence
        cdef Py_ssize_t size
        cdef Py_ssize_t before = self.received
        if reader.broken or reader.depth or reader.scanned != reader.begin or reader.begin == reader.end:
            return 0
        while self.received < self.expected and end - at >= 5 and at[0] == DOLLAR:
            if at[3] != 13 or at[4] != 10 or <unsigned char>(at[1] - 48) > 9 or <unsigned char>(at[2] - 48) > 9:
                break
            size = 10 * (at[1] - 48) + at[2] - 48
            id = at + 5
            if size < 15 or size > 32 or end - id < size + 2 or id[size] != 13 or id[size + 1] != 10 or id[13] != MINUS:
                break
            if same is NULL or memcmp(same, id, 13) != 0:
                if not parse(id, id + 13, &milliseconds):
                    break
                same = id
            if not parse(id + 14, id + size, &sequence) or not self.add_now(milliseconds, sequence):
                break
            self.received += 1
            at = id + size + 2
        if self.received == before:
            return 0
        reader.begin = reader.scanned = at - reader.start
        if reader.searched < reader.scanned:
            reader.searched = reader.scanned
        return self.received - before

    cdef bint add_now(self, uint64_t milliseconds, uint64_t sequence) noexcept nogil:
        # Returns whether there was room.
        cdef Run run
        if self.runs.length:
            memcpy(&run, self.runs.start + self.runs.length - sizeof(Run), sizeof(Run))
            if run.milliseconds == milliseconds and run.first + run.count == sequence:
                run.count += 1
                memcpy(self.runs.start + self.runs.length - sizeof(Run), &run, sizeof(Run))
                return True
        if self.runs.capacity - self.runs.length < <Py_ssize_t>sizeof(Run):
            return False
        run.milliseconds = milliseconds
        run.first = sequence
        run.count = 1
        memcpy(self.runs.start + self.runs.length, &run, sizeof(Run))
        self.runs.length += sizeof(Run)
        return True

    cdef int add(self, uint64_t milliseconds, uint64_t sequence) except -1:
        self.runs.room(sizeof(Run))
        self.add_now(milliseconds, sequence)
        return 0

    def ids(self):
        cdef Py_ssize_t at = 0
        cdef Run run
        cdef unsigned char text[48]
        cdef int begin, size
        cdef uint64_t place
        cdef list found = []
        while at < self.runs.length:
            memcpy(&run, self.runs.start + at, sizeof(Run))
            at += sizeof(Run)
            begin = store_decimal(text, run.milliseconds) + 1
            text[begin - 1] = MINUS
            for place in range(run.count):
                size = begin + store_decimal(text + begin, run.first + place)
                found.append(text[:size].decode("ascii"))
        for position in self.nulls:
            found.insert(position, None)
        return found
