# Looks into Python values, where Python's own functions are slow.

from cpython.object cimport PyObject

cdef extern from *:
    """
    /* Returns the bytes of a str of ASCII characters, which it holds; NULL for another str. */
    static CYTHON_INLINE const char *fluxa_ascii(PyObject *text, Py_ssize_t *size) {
        if (!PyUnicode_IS_COMPACT_ASCII(text)) return NULL;
        *size = PyUnicode_GET_LENGTH(text);
        return (const char *)PyUnicode_DATA(text);
    }

    /* Stores the value of an int of one (internal) digit; false for a longer int. */
    static CYTHON_INLINE int fluxa_short_int(PyObject *number, long long *value) {
    #if PY_VERSION_HEX >= 0x030C0000
        if (!PyUnstable_Long_IsCompact((PyLongObject *)number)) return 0;
        *value = PyUnstable_Long_CompactValue((PyLongObject *)number);
    #else
        Py_ssize_t digits = Py_SIZE(number);
        if (digits < -1 || digits > 1) return 0;
        *value = digits == 0 ? 0 : digits * (long long)((PyLongObject *)number)->ob_digit[0];
    #endif
        return 1;
    }
    """
    const char *fluxa_ascii(PyObject *, Py_ssize_t *) noexcept
    bint fluxa_short_int(PyObject *, long long *) noexcept
