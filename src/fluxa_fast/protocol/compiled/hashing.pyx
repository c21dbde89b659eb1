"""The hash of a Redis key, which gives its cluster slot, and the hash of a partition key, which gives the partition."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memchr

from .buffer cimport FLUXA_FAST_VERSION
from .endian cimport store_decimal
from .values cimport fluxa_ascii, fluxa_short_int

from ..hashing import SLOTS as _SLOTS, key_bytes

cdef extern from "Python.h":
    bint PyLong_CheckExact(object)

cdef extern from *:
    """
    /* Half a byte at a time: that takes small tables only, and keys are short. */
    static const uint16_t fluxa_crc16_table[16] = {
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
        0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    static const uint32_t fluxa_crc32_table[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u, 0x4db26158u, 0x5005713cu,
        0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu, 0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};

    static uint16_t fluxa_crc16(const unsigned char *data, Py_ssize_t size) {
        uint16_t crc = 0;
        for (; size > 0; size--, data++) {
            crc = (uint16_t)(crc << 4) ^ fluxa_crc16_table[(crc >> 12) ^ (*data >> 4)];
            crc = (uint16_t)(crc << 4) ^ fluxa_crc16_table[(crc >> 12) ^ (*data & 15)];
        }
        return crc;
    }

    static uint32_t fluxa_crc32(const unsigned char *data, Py_ssize_t size) {
        uint32_t crc = 0xffffffffu;
        for (; size > 0; size--, data++) {
            crc ^= *data;
            crc = (crc >> 4) ^ fluxa_crc32_table[crc & 15];
            crc = (crc >> 4) ^ fluxa_crc32_table[crc & 15];
        }
        return ~crc;
    }
    """
    uint16_t crc16 "fluxa_crc16"(const unsigned char *, Py_ssize_t) noexcept nogil
    uint32_t crc32 "fluxa_crc32"(const unsigned char *, Py_ssize_t) noexcept nogil

built_for = FLUXA_FAST_VERSION.decode()


def key_slot(key):
    cdef bytes data = key_bytes(key)
    cdef const unsigned char *begin = <const unsigned char *>PyBytes_AS_STRING(data)
    cdef const unsigned char *end = begin + PyBytes_GET_SIZE(data)
    cdef const unsigned char *tag = <const unsigned char *>memchr(begin, 123, end - begin)  # {
    cdef const unsigned char *after
    if tag != NULL:
        after = <const unsigned char *>memchr(tag + 1, 125, end - tag - 1)  # }
        if after > tag + 1:
            begin = tag + 1
            end = after
    return crc16(begin, end - begin) % <int>_SLOTS


cdef uint32_t hash_of(object key) except? 0:
    # str and int take the short way. All other keys go through `key_bytes`, which also raises the errors.
    cdef Py_ssize_t size
    cdef const char *text
    cdef long long number
    cdef unsigned char digits[24]
    cdef bytes data
    if PyUnicode_CheckExact(key):
        text = fluxa_ascii(<PyObject *>key, &size)
        if text != NULL:
            return crc32(<const unsigned char *>text, size)
    elif PyLong_CheckExact(key) and fluxa_short_int(<PyObject *>key, &number):
        digits[0] = 45  # -
        size = store_decimal(digits + 1, <uint64_t>(-number if number < 0 else number))
        return crc32(digits, size + 1) if number < 0 else crc32(digits + 1, size)
    data = key_bytes(key)
    return crc32(<const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def key_hash(key):
    return hash_of(key)
