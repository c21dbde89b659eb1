"""The limits that both implementations keep, once. `compiled/limits.pxd` repeats them; a test compares the two."""

MAX_DEPTH = 512  # containers inside containers in a msgpack body, writing and reading
MAX_BULK = 512 * 1024 * 1024  # bytes; Redis: proto-max-bulk-len, and the largest string a server keeps by default
MAX_ITEMS = 2**31 - 1  # elements of one RESP aggregate; Redis: INT_MAX for multibulk counts
MAX_REPLY_DEPTH = 128  # aggregates inside aggregates in a reply; Redis itself nests about ten
MAX_LINE = 64 * 1024  # bytes of a RESP line; Redis: PROTO_INLINE_MAX_SIZE

# A receive buffer that grew beyond this for one large reply is given back once that reply is read.
KEEP_BUFFER = 1024 * 1024
