# The limits of ../limits.py, for C. A test compares the two.

cdef enum:
    MAX_DEPTH = 512
    MAX_BULK = 512 * 1024 * 1024
    MAX_REPLY_DEPTH = 128
    MAX_LINE = 64 * 1024
    MOST_PACKED = 65535
    KEEP_BUFFER = 1024 * 1024

cdef extern from *:
    """
    #define FLUXA_MAX_ITEMS 2147483647LL
    """
    const long long MAX_ITEMS "FLUXA_MAX_ITEMS"
