"""Sends and receives over a plain TCP or unix socket, without Python's lock and without a view of the buffers.

One call sends a whole buffer and waits for the first bytes of the reply, or goes on until all replies to a pipeline are
there. Python's signal handlers run while it waits. `fluxa_fast.transport.blocking.wire` has the contract, and the same
in Python for every other socket. There is nothing of this on Windows.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from libc.errno cimport EINTR, errno
from libc.stdint cimport INT32_MAX

from .buffer cimport FLUXA_FAST_VERSION
from .commands cimport CommandCore
from .replies cimport Confirmations, ReplyReader

cdef extern from *:
    """
    #ifdef _WIN32
      #include <errno.h>
      #define FLUXA_HAS_SOCKETS 0
      #define FLUXA_READABLE 0
      #define FLUXA_WRITABLE 0
      #define fluxa_send(fd, data, size) (-1)
      #define fluxa_receive(fd, room, size, blocks) (-1)
      #define fluxa_poll(fd, events, milliseconds) (-1)
      #define fluxa_block(fd, seconds) (-1)
      #define fluxa_unblock(fd) ((void)0)
      #define fluxa_now() (0.0)
      #define fluxa_watch_forks() (0)
      static const int fluxa_forks = 0;
      #define fluxa_would_block(code) ((code) == EAGAIN)
    #else
      #include <errno.h>
      #include <fcntl.h>
      #include <poll.h>
      #include <pthread.h>
      #include <sys/socket.h>
      #include <sys/time.h>
      #include <time.h>
      #define FLUXA_HAS_SOCKETS 1
      #define FLUXA_READABLE POLLIN
      #define FLUXA_WRITABLE POLLOUT
      #ifdef MSG_NOSIGNAL
        #define FLUXA_NO_SIGNAL MSG_NOSIGNAL
      #else
        #define FLUXA_NO_SIGNAL 0  /* macOS: Python ignores SIGPIPE */
      #endif

      /* How often this process was forked. getpid() would be a system call. */
      static int fluxa_forks = 0;

      static void fluxa_forked(void) {
        fluxa_forks++;
      }

      static int fluxa_watch_forks(void) {
        return pthread_atfork(NULL, NULL, fluxa_forked);
      }

      static Py_ssize_t fluxa_send(int fd, const void *data, Py_ssize_t size) {
        return send(fd, data, (size_t)size, MSG_DONTWAIT | FLUXA_NO_SIGNAL);
      }

      static Py_ssize_t fluxa_receive(int fd, void *room, Py_ssize_t size, int blocks) {
        return recv(fd, room, (size_t)size, blocks ? 0 : MSG_DONTWAIT);
      }

      static int fluxa_poll(int fd, short events, int milliseconds) {
        struct pollfd waited_for = {fd, events, 0};
        return poll(&waited_for, 1, milliseconds);
      }

      /* Lets a receive block for that many seconds at most. */
      static int fluxa_block(int fd, double seconds) {
        int flags = fcntl(fd, F_GETFL);
        struct timeval limit;
        limit.tv_sec = (time_t)seconds;
        limit.tv_usec = (suseconds_t)((seconds - (double)limit.tv_sec) * 1e6);
        if (flags < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0) return -1;
        return fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
      }

      static void fluxa_unblock(int fd) {
        struct timeval none = {0, 0};
        int flags = fcntl(fd, F_GETFL);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none);
        if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
      }

      static int fluxa_would_block(int code) {
        return code == EAGAIN || code == EWOULDBLOCK;
      }

      static double fluxa_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
      }
    #endif

    static void fluxa_set_errno(int code) {
      errno = code;
    }
    """
    const bint FLUXA_HAS_SOCKETS
    const int fluxa_forks
    int fluxa_watch_forks()
    const short FLUXA_READABLE
    const short FLUXA_WRITABLE
    Py_ssize_t fluxa_send(int, const void *, Py_ssize_t) noexcept nogil
    Py_ssize_t fluxa_receive(int, void *, Py_ssize_t, bint) noexcept nogil
    int fluxa_poll(int, short, int) noexcept nogil
    int fluxa_block(int, double) noexcept nogil
    void fluxa_unblock(int) noexcept nogil
    double fluxa_now() noexcept nogil
    bint fluxa_would_block(int) noexcept nogil
    void fluxa_set_errno(int) noexcept nogil

built_for = FLUXA_FAST_VERSION.decode()
supported = bool(FLUXA_HAS_SOCKETS) and fluxa_watch_forks() == 0

cdef enum:
    WINDOW = 128 * 1024     # as `pool_base.WINDOW`, which a test compares
    RECEIVE = 64 * 1024     # bytes: the least room of a receive
    LEAST_ROOM = 4 * 1024   # and while Python's lock is not held
    RUNS = 4 * 1024         # bytes for IDs
    DOLLAR = 36

cdef enum Outcome:
    DONE
    TIMED_OUT
    CLOSED          # by the other side
    FAILED          # `code` says why
    NOT_PLAIN       # Python has to read the replies that are there

cdef struct Transfer:
    # What is to be sent, and then received in one piece.
    int fd
    const unsigned char *data
    Py_ssize_t left         # to send
    unsigned char *room
    Py_ssize_t size         # of the room; 0: nothing is received
    Py_ssize_t received
    double patience         # seconds without a byte; negative: any number of them
    double deadline         # monotonic seconds; 0: the wait has not begun
    bint blocks             # a receive blocks, for the patience
    int code                # errno


cdef Outcome transfer(Transfer *this) noexcept nogil:
    # Goes on where it was interrupted, if it is called again.
    cdef Py_ssize_t done
    cdef Outcome outcome
    while this.left:
        done = fluxa_send(this.fd, this.data, this.left)
        if done >= 0:
            this.data += done
            this.left -= done
            if not this.left:
                this.deadline = 0
            continue
        outcome = after_error(this, FLUXA_WRITABLE)
        if outcome != DONE:
            return outcome
    while this.size:
        if not this.blocks:
            outcome = wait(this, FLUXA_READABLE)
            if outcome != DONE:
                return outcome
        elif this.deadline == 0 and this.patience >= 0:
            this.deadline = fluxa_now() + this.patience
        done = fluxa_receive(this.fd, this.room, this.size, this.blocks)
        if done > 0:
            this.received = done
            return DONE
        if done == 0:
            return CLOSED
        outcome = after_error(this, FLUXA_READABLE)
        if outcome != DONE:
            return outcome
        this.blocks = False
    return DONE


cdef Outcome after_error(Transfer *this, short events) noexcept nogil:
    # The call would have had to wait, or its time was over, or it has failed.
    this.code = errno
    if fluxa_would_block(this.code):
        return wait(this, events)
    return FAILED


cdef Outcome wait(Transfer *this, short events) noexcept nogil:
    cdef double left
    cdef int milliseconds = -1
    cdef int ready
    if this.patience >= 0:
        if this.deadline == 0:
            this.deadline = fluxa_now() + this.patience
        left = this.deadline - fluxa_now()
        if left <= 0:
            return TIMED_OUT
        # The last millisecond counts in full: the time-out is never early.
        milliseconds = INT32_MAX if left > 2e6 else <int>(left * 1000) + 1
    ready = fluxa_poll(this.fd, events, milliseconds)
    if ready > 0:
        return DONE
    if ready == 0:
        return TIMED_OUT if milliseconds < INT32_MAX else DONE
    this.code = errno
    return FAILED


@cython.final
cdef class PlainSocket:
    """A connected socket whose bytes are ours for a while."""

    cdef object sock
    cdef double usual       # the patience of most calls: for that the socket itself can block
    cdef bint blocks        # it does
    cdef int forks          # when it was made

    def __init__(self, sock, timeout):
        self.sock = sock
        self.forks = fluxa_forks
        self.usual = patience_of(timeout)

    cdef int descriptor(self) except -1:
        # Asked each time: another thread may have closed the socket, and its number may be another socket's by now.
        cdef int fd = self.sock.fileno()
        if fd < 0:
            raise OSError(9, "the socket is closed")
        return fd

    cdef int begin(self, Transfer *this, double patience) except -1:
        this.fd = self.descriptor()
        this.left = this.size = this.received = 0
        this.patience = patience
        this.deadline = 0
        this.code = 0
        if patience != self.usual or patience <= 0:
            this.blocks = False
            return 0
        if not self.blocks:
            self.blocks = fluxa_block(this.fd, patience) == 0
        this.blocks = self.blocks
        return 0

    cdef int finish(self, Transfer *this) except -1:
        cdef Outcome outcome
        while True:
            with nogil:
                outcome = transfer(this)
            if outcome == DONE:
                return 0
            self.after(this, outcome)

    cdef int after(self, Transfer *this, Outcome outcome) except -1:
        # Returns if the transfer can go on: a signal was handled.
        if outcome == FAILED and this.code == EINTR:
            PyErr_CheckSignals()
            this.blocks = False  # a part of the time is over
            return 0
        if outcome == TIMED_OUT:
            raise TimeoutError("timed out")
        if outcome == CLOSED:
            raise ConnectionResetError("the server closed the connection")
        fluxa_set_errno(this.code)
        PyErr_SetFromErrno(OSError)

    # Receives into the reader, behind what is to be sent.
    cdef int fill(self, Transfer *this, ReplyReader reader) except -1:
        reader.make_room(RECEIVE)
        this.room = reader.start + reader.end
        this.size = reader.capacity_ - reader.end
        reader.views += 1
        try:
            self.finish(this)
        finally:
            reader.views -= 1
        reader.end += this.received
        return 0

    @property
    def mine(self):
        return self.forks == fluxa_forks

    @property
    def arrived(self):
        return fluxa_poll(self.descriptor(), FLUXA_READABLE, 0) != 0

    @property
    def ready(self):
        return self.forks == fluxa_forks and fluxa_poll(self.descriptor(), FLUXA_READABLE, 0) == 0

    def restore(self):
        """Leave the socket as it was."""
        if self.blocks:
            self.blocks = False
            fluxa_unblock(self.descriptor())

    def receive(self, ReplyReader reader not None, timeout):
        cdef Transfer this
        self.begin(&this, patience_of(timeout))
        self.fill(&this, reader)

    def receive_now(self, ReplyReader reader not None):
        cdef Py_ssize_t received
        cdef int fd = self.descriptor()
        reader.make_room(RECEIVE)
        received = fluxa_receive(fd, reader.start + reader.end, reader.capacity_ - reader.end, False)
        if received > 0:
            reader.end += received
            return True
        if received == 0:
            raise ConnectionResetError("the server closed the connection")
        if fluxa_would_block(errno) or errno == EINTR:
            return False
        PyErr_SetFromErrno(OSError)

    def send(self, CommandCore commands not None, timeout):
        self.exchange(commands, None, timeout)

    def ask(self, CommandCore commands not None, ReplyReader reader not None, timeout):
        self.exchange(commands, reader, timeout)

    cdef int exchange(self, CommandCore commands, ReplyReader reader, timeout) except -1:
        cdef Transfer this
        self.begin(&this, patience_of(timeout))
        hold(commands)
        try:
            this.data = commands.start
            this.left = commands.length
            if reader is None:
                self.finish(&this)
            else:
                self.fill(&this, reader)
        finally:
            let_go(commands)
        return 0

    def send_now(self, CommandCore commands not None, begin):
        cdef Py_ssize_t at = begin
        cdef Py_ssize_t sent
        cdef int fd = self.descriptor()
        hold(commands)
        try:
            while at < commands.length:
                sent = fluxa_send(fd, commands.start + at, commands.length - at)
                if sent >= 0:
                    at += sent
                elif errno == EINTR:
                    PyErr_CheckSignals()
                elif fluxa_would_block(errno):
                    break
                else:
                    PyErr_SetFromErrno(OSError)
        finally:
            let_go(commands)
        return at

    def pipeline(
        self, CommandCore commands not None, begin, replies not None, ReplyReader reader not None, timeout
    ):
        cdef Transfer this
        cdef Py_ssize_t at = begin
        cdef bint goes_on = True
        hold(commands)
        try:
            self.begin(&this, patience_of(timeout))
            if type(replies) is Confirmations:
                goes_on = not self.confirm_all(&this, commands, &at, <Confirmations>replies, reader)
            while goes_on:
                if not this.left and at < commands.length:
                    next_window(&this, commands, &at)
                this.size = 0
                self.finish(&this)
                while at == commands.length or fluxa_poll(this.fd, FLUXA_READABLE, 0) > 0:
                    if replies.take(reader):
                        goes_on = at < commands.length
                        break
                    self.fill(&this, reader)
                    this.deadline = 0
        finally:
            let_go(commands)

    cdef bint confirm_all(
        self, Transfer *this, CommandCore commands, Py_ssize_t *at, Confirmations replies, ReplyReader reader
    ) except -1:
        # The same without Python's lock, for all windows together, as long as the replies are plain IDs.
        cdef Outcome outcome
        while True:
            replies.runs.room(RUNS)
            reader.make_room(RECEIVE)
            reader.views += 1
            try:
                with nogil:
                    outcome = confirm(this, commands, at, replies, reader)
            finally:
                reader.views -= 1
            if outcome == DONE:
                reader.finish()
                return True
            if outcome == NOT_PLAIN:
                if not replies.take(reader) and reader.end > reader.begin:
                    self.fill(this, reader)  # the rest of a long reply
                    this.deadline = 0
            else:
                self.after(this, outcome)

cdef inline void next_window(Transfer *this, CommandCore commands, Py_ssize_t *at) noexcept nogil:
    this.data = commands.start + at[0]
    this.left = min(WINDOW, commands.length - at[0])
    at[0] += this.left


cdef Outcome confirm(
    Transfer *this, CommandCore commands, Py_ssize_t *at, Confirmations replies, ReplyReader reader
) noexcept nogil:
    # Goes on where it was interrupted, if it is called again.
    cdef Outcome outcome
    while this.left or at[0] < commands.length:
        if not this.left:
            next_window(this, commands, at)
        this.size = 0
        outcome = transfer(this)
        if outcome != DONE:
            return outcome
        while at[0] < commands.length and fluxa_poll(this.fd, FLUXA_READABLE, 0) > 0:
            if replies.received == replies.expected:
                break
            outcome = receive_plain(this, replies, reader)
            if outcome != DONE:
                return outcome
    while replies.received < replies.expected:
        outcome = receive_plain(this, replies, reader)
        if outcome != DONE:
            return outcome
    return DONE


cdef bint is_part(const unsigned char *reply, Py_ssize_t size) noexcept nogil:
    # Whether this is the beginning of a reply, which is not all there: of $<2 digits>\r\n<ID>\r\n at least.
    if reply[0] != DOLLAR:
        return False
    if size < 5:
        return True
    if reply[3] != 13 or reply[4] != 10 or <unsigned char>(reply[1] - 48) > 9 or <unsigned char>(reply[2] - 48) > 9:
        return False
    return size < 5 + 10 * (reply[1] - 48) + (reply[2] - 48) + 2


cdef Outcome receive_plain(Transfer *this, Confirmations replies, ReplyReader reader) noexcept nogil:
    cdef Outcome outcome
    replies.take_plain_now(reader)  # of bytes that were there before
    if replies.received == replies.expected:
        return DONE
    if reader.end > reader.begin and not is_part(reader.start + reader.begin, reader.end - reader.begin):
        return NOT_PLAIN  # or there is no room for more IDs
    if reader.begin == reader.end:
        reader.begin = reader.end = reader.scanned = reader.searched = 0
    if reader.capacity_ - reader.end < LEAST_ROOM:
        return NOT_PLAIN
    this.room = reader.start + reader.end
    this.size = reader.capacity_ - reader.end
    outcome = transfer(this)
    if outcome != DONE:
        return outcome
    reader.end += this.received
    this.deadline = 0
    replies.take_plain_now(reader)
    return DONE


cdef int hold(CommandCore commands) except -1:
    # As a view does: a write into the buffer, which could move it, is refused.
    with cython.critical_section(commands):
        commands.check_idle()
        commands.views += 1
    return 0


cdef void let_go(CommandCore commands) noexcept:
    with cython.critical_section(commands):
        commands.views -= 1


cdef inline double patience_of(timeout) except? -2:
    return -1.0 if timeout is None else timeout
