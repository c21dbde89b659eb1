"""The writer of a producer: events of all threads, sealed into batches. It needs no Python code for an event.

Everything that changes the batch is done in here, by one thread at a time: no signal handler of Python runs in between,
and no exception can come between two halves of a change. Python's lock (GIL) sees to that, unless a hook runs Python
code in the middle of an event; `holder` then keeps other threads out. A Python without that lock has one of ours.
"""

cimport cython
from cpython.pythread cimport (
    NOWAIT_LOCK,
    WAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
)

from .buffer cimport FLUXA_FAST_VERSION
from .commands cimport EventWriter, Route

import threading
from _thread import LockType
from collections import deque
from time import monotonic

from .. import encode_errors
from ..sealed_batch import SealedBatch

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
      #define FLUXA_HAS_GIL 0
    #else
      #define FLUXA_HAS_GIL 1
    #endif
    """
    const bint HAS_GIL "FLUXA_HAS_GIL"
    void *PyThreadState_Get()
    int PyThread_acquire_lock_timed(PyThread_type_lock, long long, int) noexcept nogil

built_for = FLUXA_FAST_VERSION.decode()

cdef enum:
    PAUSE = 50  # microseconds

cdef enum:
    ADDED = 0
    NOTED = 1  # and the sender is to be told
    NO_ROOM = 2

cdef enum:
    EMPTY = 0    # no event waits
    FILLING = 1  # the first event has come
    READY = 2    # there are enough for a batch


@cython.final
cdef class BatchWriter:
    """`..interface.BatchWriter`, compiled."""

    cdef EventWriter writer
    cdef object heads
    cdef object open_target
    cdef object on_batch
    cdef object on_full
    cdef object accepted
    cdef object lock                # of Python, where threads are not the system's; or None
    cdef object owner               # of `lock`: the thread that holds it
    cdef void *holder               # without `lock`: the thread that is in a change. Python's own lock guards it;
    cdef PyThread_type_lock native  # or, where there is none, this one; else it only serves to wait a little
    cdef int state
    cdef Py_ssize_t next_note       # the size at which the sender is told again
    cdef object receipts            # a list of (place, receipt)
    cdef Py_ssize_t ready_size
    cdef Py_ssize_t batch_size
    cdef Py_ssize_t most_events
    cdef Py_ssize_t most_size
    cdef Py_ssize_t size            # of the events that are not sealed
    cdef Py_ssize_t held_events
    cdef Py_ssize_t held_size
    cdef readonly long long total
    cdef readonly long long dropped
    cdef readonly object began
    cdef readonly object sealed
    cdef readonly bint closed

    def __init__(self, heads, open_target, limits, on_batch, on_full, *, lock=None, accepted=None):
        self.heads = heads
        self.open_target = open_target
        self.ready_size, self.batch_size, self.most_events, self.most_size = limits
        self.on_batch = on_batch
        self.on_full = on_full
        self.accepted = accepted
        self.sealed = deque()
        self.renew(lock)

    def __dealloc__(self):
        if self.native != NULL:
            PyThread_free_lock(self.native)

    def renew(self, lock=None):
        if type(lock) is LockType:
            lock = None
        self.native = PyThread_allocate_lock()  # a child leaves its parent's: another thread may hold it for ever
        if self.native == NULL:
            raise MemoryError
        if HAS_GIL:
            PyThread_acquire_lock(self.native, NOWAIT_LOCK)
        self.holder = NULL
        self.lock = lock
        self.owner = None
        self.writer = EventWriter(self.heads, self.open_target)
        self.sealed.clear()
        self.held_events = self.held_size = self.total = self.dropped = 0
        self.start_batch()

    cdef int start_batch(self) except -1:
        self.receipts = []
        self.size = 0
        self.began = None
        self.state = EMPTY
        self.next_note = self.ready_size
        return 0

    # ---- the lock ----

    cdef inline int enter(self) except -1:
        if HAS_GIL and self.lock is None and self.holder == NULL:
            self.holder = PyThreadState_Get()
            return 0
        return self.enter_slowly()

    cdef int enter_slowly(self) except -1:
        cdef void *me = PyThreadState_Get()
        if self.lock is not None:
            thread = threading.get_ident()
            if self.owner == thread:
                raise encode_errors.in_use()
            self.lock.acquire()
            self.owner = thread
            return 0
        if self.holder == me:
            raise encode_errors.in_use()
        if HAS_GIL:
            while self.holder != NULL:  # a hook runs Python code in another thread, which takes its time
                with nogil:
                    PyThread_acquire_lock_timed(self.native, PAUSE, 0)  # nothing releases it
        elif not PyThread_acquire_lock(self.native, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self.native, WAIT_LOCK)
        self.holder = me
        return 0

    cdef inline int leave(self) except -1:
        # After a fork in a hook, the lock is another one, which this thread does not hold.
        if self.lock is not None:
            if self.owner == threading.get_ident():
                self.owner = None
                self.lock.release()
        elif HAS_GIL:
            self.holder = NULL
        elif self.holder == PyThreadState_Get():
            self.holder = NULL
            PyThread_release_lock(self.native)
        return 0

    # ---- adding ----

    def publish(self, stream, body=None, tags=None, key=None, id=None):
        cdef int outcome = self.add_one(stream, body, tags, key, id, None, False)
        if outcome == ADDED:
            return self.accepted
        if outcome == NOTED:
            return self.note()
        return self.on_full(stream, body, tags, key, id)

    def add(self, stream, body, tags, key, id, receipt, beyond):
        cdef int outcome = self.add_one(stream, body, tags, key, id, receipt, beyond)
        if outcome == NOTED:
            self.note()
        return outcome != NO_ROOM

    def add_many(self, stream, bodies, tags, first, key, beyond):
        cdef Py_ssize_t before, count
        cdef int outcome = NO_ROOM
        cdef EventWriter writer
        cdef Route route
        self.enter()
        try:
            if not self.closed and (beyond or self.has_room()):
                writer = self.writer
                route = writer.route_of(stream, key)
                before = size_of(route)
                count = writer.publish_many_to(route, stream, bodies, tags, first)
                outcome = self.added(count, size_of(route) - before)
        finally:
            self.leave()
        if outcome == NOTED:
            self.note()
        return outcome != NO_ROOM

    cdef object note(self):
        try:
            return self.on_batch()
        except BaseException:  # a signal handler has raised it, and the sender may not know
            self.note_again()
            raise

    def note_again(self):
        self.next_note = 0
        if self.state == READY:
            self.state = FILLING

    cdef int add_one(
        self, object stream, object body, object tags, object key, object id, object receipt, bint beyond
    ) except -1:
        cdef Py_ssize_t before
        cdef EventWriter writer
        cdef Route route
        self.enter()
        try:
            if self.closed or not (beyond or self.has_room()):
                return NO_ROOM
            writer = self.writer
            route = writer.route_of(stream, key)
            before = size_of(route)
            writer.publish_to(route, stream, body, tags, id)
            if receipt is not None:
                self.receipts.append((writer.runs.total - 1, receipt))
                self.next_note = 0  # the publisher may wait for it
            return self.added(1, size_of(route) - before)
        finally:
            self.leave()

    cdef bint has_room(self) noexcept:
        if self.held_events + self.writer.runs.total >= self.most_events:
            return False
        return self.held_size + self.size < self.most_size

    cdef int added(self, Py_ssize_t events, Py_ssize_t size) except -1:
        # Counts them. Returns whether the sender is to be told.
        if not events:
            return ADDED
        self.total += events
        self.size += size
        if self.state == EMPTY:
            self.began = monotonic()
        if self.size >= self.batch_size:
            self.seal_now()
            return NOTED
        if self.size >= self.next_note or (self.state != READY and not self.has_room()):
            self.next_note = self.size + self.ready_size
            if self.state == READY and self.size < self.ready_size:
                return ADDED
            self.state = READY
            return NOTED
        if self.state == EMPTY:
            self.state = FILLING
            return NOTED
        return ADDED

    # ---- batches ----

    def seal(self):
        self.enter()
        try:
            self.seal_now()
        finally:
            self.leave()

    cdef int seal_now(self) except -1:
        cdef EventWriter writer = self.writer
        cdef Py_ssize_t events = writer.runs.total
        cdef Py_ssize_t size = 0
        cdef dict buffers
        if not events:
            return 0
        writer.close_all()
        buffers = writer.take_buffers()
        for buffer in buffers.values():
            size += len(buffer)
        parts = (writer.runs, buffers, self.receipts, events, size, self.began)
        self.sealed.append(tuple.__new__(SealedBatch, parts))  # its own constructor would be Python code
        writer.start_order(())
        self.held_events += events
        self.held_size += size
        return self.start_batch()

    def drop(self, Py_ssize_t events):
        cdef long long before
        self.enter()
        before = self.dropped
        self.dropped += events
        self.leave()
        return before

    def let_go(self, Py_ssize_t events, Py_ssize_t size):
        self.enter()
        self.held_events -= events
        self.held_size -= size
        self.leave()

    def check_idle(self):
        self.enter()
        self.leave()

    def close(self):
        self.enter()
        self.closed = True
        self.leave()

    @property
    def ready(self):
        return self.state == READY or (self.state != EMPTY and not self.has_room())

    @property
    def room(self):
        return self.has_room()

    @property
    def count(self):
        return self.held_events + self.writer.runs.total

    @property
    def waiting(self):
        return self.writer.runs.total

    @property
    def buffered(self):
        return self.held_size + self.size


cdef Py_ssize_t size_of(Route route) noexcept:
    # Bytes in the buffer that the route leads to, and in its open entry.
    cdef Py_ssize_t size = route.buffer.length
    if route.open is not None:
        size += route.open.length + route.open.tag_bytes
    return size
