# Makes str objects of UTF-8 bytes.
#
# Short keys of maps are shared by all events: that saves a decode, an allocation and a hash per key.
#
# The table has a place for each hash; a new key replaces the key that has its place. It holds at most KEY_PLACES keys
# of FLUXA_KEY_LONGEST bytes. On free-threaded Python it stays empty, because reading it would need a lock.

from cpython.object cimport PyObject

cdef extern from *:
    """
    #include <string.h>

    #define FLUXA_KEY_PLACES 1024  /* 2 ** 10: the hash has as many bits */
    #define FLUXA_KEY_LONGEST 32

    #ifndef Py_GIL_DISABLED
    static CYTHON_INLINE size_t fluxa_key_place(const unsigned char *text, Py_ssize_t size) {
        uint64_t head = 0, tail = 0;
        if (size >= 8) {
            memcpy(&head, text, 8);
            memcpy(&tail, text + size - 8, 8);
        } else if (size >= 4) {
            memcpy(&head, text, 4);
            memcpy(&tail, text + size - 4, 4);
        } else {
            head = text[0];
            tail = ((uint64_t)text[size / 2] << 8) | text[size - 1];
        }
        head = (head ^ (uint64_t)size) * UINT64_C(0x9E3779B97F4A7C15);
        head = (head ^ tail ^ (head >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
        return (size_t)(head >> 54);
    }
    #endif

    static CYTHON_INLINE PyObject *fluxa_key(PyObject **keys, const unsigned char *text, Py_ssize_t size) {
    #ifdef Py_GIL_DISABLED
        (void)keys;
        return PyUnicode_DecodeUTF8((const char *)text, size, NULL);
    #else
        PyObject **place, *known, *made;
        if (size == 0 || size > FLUXA_KEY_LONGEST) return PyUnicode_DecodeUTF8((const char *)text, size, NULL);
        place = &keys[fluxa_key_place(text, size)];
        known = *place;
        if (known != NULL && PyUnicode_GET_LENGTH(known) == size
            && !memcmp(PyUnicode_DATA(known), text, (size_t)size)) {
            Py_INCREF(known);
            return known;
        }
        made = PyUnicode_DecodeUTF8((const char *)text, size, NULL);
        if (made != NULL && PyUnicode_IS_COMPACT_ASCII(made)) {
            Py_INCREF(made);
            *place = made;
            Py_XDECREF(known);
        }
        return made;
    #endif
    }

    /* Makes a str of UTF-8 bytes; ASCII takes the short way. */
    static CYTHON_INLINE PyObject *fluxa_text(const unsigned char *text, Py_ssize_t size) {
        uint64_t high = 0, eight;
        Py_ssize_t at = 0;
        PyObject *made;
        if (size < 2 || size > 64) return PyUnicode_DecodeUTF8((const char *)text, size, NULL);
        for (; at + 8 <= size; at += 8) {
            memcpy(&eight, text + at, 8);
            high |= eight;
        }
        for (; at < size; at++) high |= text[at];
        if (high & UINT64_C(0x8080808080808080)) return PyUnicode_DecodeUTF8((const char *)text, size, NULL);
        made = PyUnicode_New(size, 127);
        if (made != NULL) memcpy(PyUnicode_DATA(made), text, (size_t)size);
        return made;
    }
    """
    enum: KEY_PLACES "FLUXA_KEY_PLACES"
    # Both return a new reference, or NULL with an exception set. The first one uses a table of KEY_PLACES.
    PyObject *key_text "fluxa_key"(PyObject **keys, const unsigned char *, Py_ssize_t) noexcept
    PyObject *short_text "fluxa_text"(const unsigned char *, Py_ssize_t) noexcept
