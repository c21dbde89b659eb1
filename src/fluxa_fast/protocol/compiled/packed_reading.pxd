from .events cimport Event


cdef Py_ssize_t split_entry(Event entry, list events) except -1
