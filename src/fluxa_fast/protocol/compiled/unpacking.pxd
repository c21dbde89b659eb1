cdef object unpack_bytes(const unsigned char *start, Py_ssize_t size)
