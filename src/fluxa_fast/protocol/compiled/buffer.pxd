from cpython.object cimport PyObject
from libc.string cimport memcpy

from .endian cimport store_decimal

cdef extern from *:
    """
    static CYTHON_INLINE int fluxa_pending_exception(void) { return -1; }
    #define fluxa_owned(reference) (reference)
    """
    # Raises the pending exception of a call whose result the caller has checked.
    int pending_exception "fluxa_pending_exception"() except -1
    # Takes over a new reference that a call returned as a pointer.
    object owned "fluxa_owned"(PyObject *)

cdef extern from *:
    """
    #ifndef FLUXA_FAST_VERSION
      #error "setup.py defines FLUXA_FAST_VERSION"
    #endif
    #ifndef FLUXA_FAST_FLAGS
      #define FLUXA_FAST_FLAGS ""
    #endif

    #define FLUXA_SHOWN(value) FLUXA_QUOTED(value)
    #define FLUXA_QUOTED(value) #value
    #if defined(__clang__)
      #define FLUXA_COMPILER "Clang " __clang_version__
    #elif defined(__GNUC__)
      #define FLUXA_COMPILER "GCC " __VERSION__
    #elif defined(_MSC_FULL_VER)
      #define FLUXA_COMPILER "MSVC " FLUXA_SHOWN(_MSC_FULL_VER)
    #else
      #define FLUXA_COMPILER "unknown"
    #endif
    """
    const char *FLUXA_FAST_VERSION
    const char *FLUXA_FAST_FLAGS
    const char *FLUXA_COMPILER
    const unsigned long CYTHON_HEX_VERSION  # 0x030201F0: 3.2.1, final


cdef class ByteBuffer:
    cdef unsigned char *start
    cdef readonly Py_ssize_t length
    cdef Py_ssize_t capacity
    cdef int views

    cdef int grow(self, Py_ssize_t needed) except -1
    cdef int check_unseen(self) except -1
    cdef int exchange(self, ByteBuffer other) except -1
    cdef bint shrink(self, Py_ssize_t most) except -1
    cdef int empty(self) except -1

    # Returns the write pointer, with room for `needed` bytes. Fetch it again after any call that may write.
    cdef inline unsigned char *room(self, Py_ssize_t needed) except NULL:
        if self.views or self.capacity - self.length < needed:
            self.grow(needed)
        return self.start + self.length

    cdef inline int write(self, const void *source, Py_ssize_t size) except -1:
        memcpy(self.room(size), source, size)
        self.length += size
        return 0

    # RESP: <marker><number>\r\n
    cdef inline int write_header(self, unsigned char marker, Py_ssize_t number) except -1:
        cdef unsigned char *at = self.room(24)
        at[0] = marker
        cdef int digits = store_decimal(at + 1, number)
        at[1 + digits] = 13
        at[2 + digits] = 10
        self.length += 3 + digits
        return 0

    # RESP: $<size>\r\n<bytes>\r\n
    cdef inline int write_bulk(self, const void *source, Py_ssize_t size) except -1:
        cdef unsigned char *at = self.room(26 + size)
        at[0] = 36
        cdef int digits = store_decimal(at + 1, size)
        at += 1 + digits
        at[0] = 13
        at[1] = 10
        memcpy(at + 2, source, size)
        at[2 + size] = 13
        at[3 + size] = 10
        self.length += 5 + digits + size
        return 0
