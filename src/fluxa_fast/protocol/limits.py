"""The limits of both implementations. `compiled/limits.pxd` repeats them for C; a test compares the two."""

MAX_DEPTH = 512  # levels of nested containers in a msgpack body
MAX_BULK = 512 * 1024 * 1024  # bytes; Redis: proto-max-bulk-len, and the largest string a server keeps by default
MAX_ITEMS = 2**31 - 1  # elements of one RESP aggregate; Redis: INT_MAX for multibulk counts
MAX_REPLY_DEPTH = 128  # levels of nested aggregates in a reply; Redis itself nests about ten
MAX_LINE = 64 * 1024  # bytes of a RESP line; Redis: PROTO_INLINE_MAX_SIZE
MOST_PACKED = 65_535  # events in one entry
MAX_UNPACKED = 16 * 1024 * 1024  # bytes that a compressed field of an entry may have when it is decompressed

# A buffer that grew beyond this many bytes is released once it is empty.
KEEP_BUFFER = 1024 * 1024
